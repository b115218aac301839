package cachefetch

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/level2"
)

// openL2 gives c its second level, if its options have one.
func (c *Cache[V]) openL2() {
	o := &c.opts
	if o.Backend == nil {
		return
	}
	c.l2 = level2.New(level2.Config[V]{
		Backend: o.Backend, Codec: o.Codec, Prefix: o.BackendPrefix,
		Timeout: o.BackendTimeout, LeaseWait: o.LeaseWait,
		MaxOps: o.BackendQueue, MaxBytes: o.BackendQueueBytes,
		Clock: c.clock,
		Purged: func(key string, tags []string, at int64) bool {
			gone, _ := c.store.PurgedAt(at, &item[V]{key: key}, tags)
			return gone
		},
		Forgotten: c.store.Forgotten,
		Apply:     c.applyPurge,
		Resync:    c.store.Forget,
	})
	c.l2.Begin() // when c knows it
}

// An l2Load is the part that the second level has in one load. The zero value
// is that of a cache without one.
type l2Load[V any] struct {
	stamp level2.Stamp // of the load
	claim level2.Claim // to be given back when it is over
	stale *entry[V]    // may be validated by the load, or returned if that fails, if it is still Usable; or nil
}

// askL2 looks for the value of a key in the second level, before it is loaded.
// It returns an entry, now put, that takes the place of loading, or nil. old
// is what is held here, or nil.
func (c *Cache[V]) askL2(f *flight[V], l lookup[V], old *entry[V]) (*entry[V], l2Load[V]) {
	if c.l2 == nil {
		return nil, l2Load[V]{}
	}
	var stale *level2.Record[V]
	ask := c.l2.ReadOrClaim
	if l.together {
		ask = c.l2.Read
	}
	r, claim := ask(f.Context, l.key, func(r *level2.Record[V]) bool {
		use := c.useOf(l.key, r, old)
		if use == forLoad {
			stale = r
		}
		return use == inPlaceOfLoad
	})
	second := l2Load[V]{stamp: c.clock.Next(), claim: claim}
	if r != nil {
		return c.putRecord(f, l, r, f.Gen), second
	}
	if stale != nil {
		second.stale = c.putRecord(f, l, stale, f.Gen)
	}
	return nil, second
}

// A use is what a load has of a record that it has found.
type use int

const (
	useless       use = iota
	forLoad           // to validate, or to be returned if it fails
	inPlaceOfLoad     // it need not load
)

// useOf returns of what use r is to a load of key, for which old is held here,
// or nil.
func (c *Cache[V]) useOf(key string, r *level2.Record[V], old *entry[V]) use {
	if old != nil && r.Stamp.At < old.Value.stamp.At {
		return useless // the newest wins
	}
	times, now := c.timesOf(key, r), c.store.Now()
	switch times.State(now) {
	case engine.Fresh:
		// What is fresh here is to be refreshed early, and this may be it.
		if old == nil || r.Stamp.At > old.Value.stamp.At || old.State(now) != engine.Fresh {
			return inPlaceOfLoad
		}
		return useless
	case engine.StaleWhileRevalidate:
		if old == nil || old.State(now) == engine.Gone {
			return inPlaceOfLoad // the next Fetch has it refreshed
		}
	}
	if times.Usable(now) || r.ETag != "" || r.LastModified != "" {
		return forLoad
	}
	return useless
}

// askL2Again looks once more for a value that may be returned since the load
// has failed: stale, which was found before it, is not here any more, perhaps
// only because all is being looked up again. It returns what is here then.
func (c *Cache[V]) askL2Again(f *flight[V], l lookup[V], stale *entry[V]) *entry[V] {
	gen := c.store.Generation()
	r, _ := c.l2.Read(f.Context, l.key, func(r *level2.Record[V]) bool {
		times := c.timesOf(l.key, r)
		return times.Usable(c.store.Now())
	})
	if r == nil {
		return stale
	}
	return c.putRecord(f, l, r, gen)
}

// putRecord puts r as an entry here, as one that was looked for since gen, and
// returns it.
func (c *Cache[V]) putRecord(f *flight[V], l lookup[V], r *level2.Record[V], gen uint64) *entry[V] {
	e := &entry[V]{
		Value: item[V]{
			key: l.key, value: r.Value, stamp: r.Stamp, etag: r.ETag, lastModified: r.LastModified,
			earlyFrom: math.MaxInt64, // how long it took to load is not known
		},
		Times: c.timesOf(l.key, r), Tags: r.Tags, Gen: gen,
	}
	e.Value.size = c.size(r.Value)
	f.Publish(func() { c.put(l.hash, e) })
	return e
}

// timesOf returns the times of r on this cache's clock: fresh no longer than
// TTL, with the windows it was written with.
func (c *Cache[V]) timesOf(key string, r *level2.Record[V]) engine.Times {
	now, wall := c.store.Now(), time.Now().UnixNano()
	left := func(until int64) time.Duration { return time.Duration(until - wall) }
	window := func(until int64) time.Duration { return time.Duration(max(until-r.FreshUntil, 0)) }
	fresh := min(left(r.FreshUntil), engine.Jitter(c.opts.TTL, c.opts.Jitter))
	until := now.Add(fresh)
	times := engine.Times{
		Stored:          now.Add(min(left(r.Stamp.At), 0)),
		FreshUntil:      until,
		RevalidateUntil: until.Add(window(r.RevalidateUntil)),
		ErrorUntil:      until.Add(window(r.ErrorUntil)),
	}
	if r.KeepUntil != 0 {
		times.KeepUntil = until.Add(window(r.KeepUntil))
	}
	if _, stale := c.store.PurgedAt(c.clock.Earliest(r.Stamp), &item[V]{key: key}, r.Tags); stale != 0 {
		times = times.Soften(stale)
	}
	if left := c.l2.Unsettled(); left > 0 {
		times = times.EndBy(now.Add(left))
	}
	return times
}

// recordOf returns e as it is written to the second level: fresh there for
// Options.BackendTTL, unless its loader gave it a lifetime of its own.
func (c *Cache[V]) recordOf(e *entry[V]) *level2.Record[V] {
	t, it := e.Times, &e.Value
	fresh := engine.Instant(time.Now().UnixNano()).Add(orDefault(it.lifetimes.ttl, c.opts.BackendTTL))
	until := func(end engine.Instant) int64 { return int64(fresh.Add(max(end.Sub(t.FreshUntil), 0))) } // or for ever
	r := &level2.Record[V]{
		Value: it.value, Stamp: it.stamp, Tags: e.Tags, Cost: c.cost(e),
		ETag: it.etag, LastModified: it.lastModified,
		FreshUntil:      int64(fresh),
		RevalidateUntil: until(t.RevalidateUntil),
		ErrorUntil:      until(t.ErrorUntil),
	}
	if t.KeepUntil != 0 {
		r.KeepUntil = until(t.KeepUntil)
	}
	return r
}

// settleL2 takes the result of a load to the second level, behind. There may be
// nothing of the key any more.
func (c *Cache[V]) settleL2(l l2Load[V], key string, out outcome[V]) {
	switch {
	case c.l2 == nil:
	case out.entry != nil && out.entry.Value.err == nil:
		c.l2.Write(key, c.recordOf(out.entry), l.claim, false)
	case out.none && !l.claim.Absent:
		c.l2.Remove(key, l.stamp, l.claim, false)
	default:
		c.l2.Release(l.claim)
	}
}

// setL2 takes a value that was set to the second level, or removes what is
// there if it is too large. That it was not stored here says nothing: if it was
// purged, or a newer one has come, the second level knows that too, and if all
// is being looked up again it must be found there.
func (c *Cache[V]) setL2(e *entry[V]) {
	switch it := &e.Value; {
	case c.l2 == nil:
	case c.cost(e) <= c.store.MaxEntry():
		c.l2.Write(it.key, c.recordOf(e), level2.Claim{}, true)
	default:
		c.l2.Remove(it.key, it.stamp, level2.Claim{}, true)
	}
}

// removeOlder removes what is here of a key that another process has removed or
// set, if b says that it is too old.
func (c *Cache[V]) removeOlder(key string, b level2.Bound) {
	hash := maphash.String(c.seed, key)
	c.flights.DoomThen(hash, key, func() {
		if e := c.store.Peek(hash, key); e != nil && !b.Allows(e.Value.stamp) {
			c.store.Delete(hash, key)
		}
		c.failures.forget(key)
	})
}

// applyPurge does here what this or another process has purged. heard is the
// stamp at which that was heard of.
func (c *Cache[V]) applyPurge(p level2.Purge, heard level2.Stamp) {
	mode := engine.Hard
	if p.Soft {
		mode = engine.Soft
	}
	switch p.Kind {
	case level2.PurgeKey, level2.PurgeOlder:
		c.removeOlder(p.Name, c.l2.Supersede(p, heard))
	case level2.PurgeTag:
		c.store.PurgeTag(p.Name, mode)
	case level2.PurgePrefix:
		c.store.PurgePrefix(p.Name, mode)
	case level2.PurgeFlush:
		c.store.Flush(mode)
	}
}
