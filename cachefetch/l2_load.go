package cachefetch

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// openL2 gives c its second level, if its options have one.
func (c *Cache[V]) openL2() {
	o := &c.opts
	if o.Backend == nil {
		return
	}
	c.l2 = newL2(l2Config[V]{
		backend: o.Backend, codec: o.Codec, prefix: o.BackendPrefix,
		budget: o.BackendTimeout, leaseWait: o.LeaseWait,
		maxOps: o.BackendQueue, maxBytes: o.BackendQueueBytes,
		clock: &c.clock,
		purged: func(key string, tags []string, at int64) bool {
			gone, _ := c.store.PurgedAt(at, &item[V]{key: key}, tags)
			return gone
		},
		forgotten:  c.store.Forgotten,
		applyPurge: c.applyPurge,
		resync:     c.store.Forget,
	})
	c.l2.begin() // when c knows it
}

// An l2Load is the part that the second level has in one load. The zero value
// is that of a cache without one.
type l2Load[V any] struct {
	stamp stamp     // of the load
	claim claim     // to be given back when it is over
	stale *entry[V] // may be validated by the load, or returned if that fails, if it is still Usable; or nil
}

// askL2 looks for the value of a key in the second level, before it is loaded.
// It returns an entry, now put, that takes the place of loading, or nil. old
// is what is held here, or nil.
func (c *Cache[V]) askL2(f *flight[V], l lookup[V], old *entry[V]) (*entry[V], l2Load[V]) {
	if c.l2 == nil {
		return nil, l2Load[V]{}
	}
	var stale *record[V]
	ask := c.l2.readOrClaim
	if l.together {
		ask = c.l2.read
	}
	r, claim := ask(f.Context, l.key, func(r *record[V]) bool {
		if old != nil && r.stamp.at < old.Value.stamp.at {
			return false // the newest wins
		}
		times, now := c.timesOf(l.key, r), c.store.Now()
		switch times.State(now) {
		case engine.Fresh:
			// What is fresh here is to be refreshed early, and this may be it.
			return old == nil || r.stamp.at > old.Value.stamp.at || old.State(now) != engine.Fresh
		case engine.StaleWhileRevalidate:
			if old == nil || old.State(now) == engine.Gone {
				return true // the next Fetch has it refreshed
			}
		}
		if times.Usable(now) || r.etag != "" || r.lastModified != "" {
			stale = r // perhaps only for the load to validate
		}
		return false
	})
	second := l2Load[V]{stamp: c.clock.next(), claim: claim}
	if r != nil {
		return c.putRecord(f, l, r, f.Gen), second
	}
	if stale != nil {
		second.stale = c.putRecord(f, l, stale, f.Gen)
	}
	return nil, second
}

// askL2Again looks once more for a value that may be returned since the load
// has failed: stale, which was found before it, is not here any more, perhaps
// only because all is being looked up again. It returns what is here then.
func (c *Cache[V]) askL2Again(f *flight[V], l lookup[V], stale *entry[V]) *entry[V] {
	gen := c.store.Generation()
	r, _ := c.l2.read(f.Context, l.key, func(r *record[V]) bool {
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
func (c *Cache[V]) putRecord(f *flight[V], l lookup[V], r *record[V], gen uint64) *entry[V] {
	e := &entry[V]{
		Value: item[V]{
			key: l.key, value: r.value, stamp: r.stamp, etag: r.etag, lastModified: r.lastModified,
			earlyFrom: math.MaxInt64, // how long it took to load is not known
		},
		Times: c.timesOf(l.key, r), Tags: r.tags, Gen: gen,
	}
	e.Value.size = c.size(r.value)
	f.Publish(func() { c.put(l.hash, e) })
	return e
}

// timesOf returns the times of r on this cache's clock: fresh no longer than
// TTL, with the windows it was written with.
func (c *Cache[V]) timesOf(key string, r *record[V]) engine.Times {
	now, wall := c.store.Now(), time.Now().UnixNano()
	left := func(until int64) time.Duration { return time.Duration(until - wall) }
	window := func(until int64) time.Duration { return time.Duration(max(until-r.freshUntil, 0)) }
	fresh := min(left(r.freshUntil), engine.Jitter(c.opts.TTL, c.opts.Jitter))
	until := now.Add(fresh)
	times := engine.Times{
		Stored:          now.Add(min(left(r.stamp.at), 0)),
		FreshUntil:      until,
		RevalidateUntil: until.Add(window(r.revalidateUntil)),
		ErrorUntil:      until.Add(window(r.errorUntil)),
	}
	if r.keepUntil != 0 {
		times.KeepUntil = until.Add(window(r.keepUntil))
	}
	if _, stale := c.store.PurgedAt(c.clock.earliest(r.stamp), &item[V]{key: key}, r.tags); stale != 0 {
		times = times.Soften(stale)
	}
	if left := c.l2.unsettled(); left > 0 {
		times = times.EndBy(now.Add(left))
	}
	return times
}

// recordOf returns e as it is written to the second level: fresh there for
// Options.BackendTTL, unless its loader gave it a lifetime of its own.
func (c *Cache[V]) recordOf(e *entry[V]) *record[V] {
	t, it := e.Times, &e.Value
	fresh := engine.Instant(time.Now().UnixNano()).Add(orDefault(it.lifetimes.ttl, c.opts.BackendTTL))
	until := func(end engine.Instant) int64 { return int64(fresh.Add(max(end.Sub(t.FreshUntil), 0))) } // or for ever
	r := &record[V]{
		value: it.value, stamp: it.stamp, tags: e.Tags, cost: c.cost(e),
		etag: it.etag, lastModified: it.lastModified,
		freshUntil:      int64(fresh),
		revalidateUntil: until(t.RevalidateUntil),
		errorUntil:      until(t.ErrorUntil),
	}
	if t.KeepUntil != 0 {
		r.keepUntil = until(t.KeepUntil)
	}
	return r
}

// settleL2 takes the result of a load to the second level, behind. There may be
// nothing of the key any more.
func (c *Cache[V]) settleL2(l l2Load[V], key string, out outcome[V]) {
	switch {
	case c.l2 == nil:
	case out.entry != nil && out.entry.Value.err == nil:
		c.l2.write(key, c.recordOf(out.entry), l.claim, false)
	case out.none && !l.claim.absent:
		c.l2.remove(key, l.stamp, l.claim, false)
	default:
		c.l2.release(l.claim)
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
		c.l2.write(it.key, c.recordOf(e), claim{}, true)
	default:
		c.l2.remove(it.key, it.stamp, claim{}, true)
	}
}

// removeOlder removes what is here of a key that another process has removed or
// set, if b says that it is too old.
func (c *Cache[V]) removeOlder(key string, b bound) {
	hash := maphash.String(c.seed, key)
	c.flights.DoomThen(hash, key, func() {
		if e := c.store.Peek(hash, key); e != nil && !b.allows(e.Value.stamp) {
			c.store.Delete(hash, key)
		}
		c.failures.forget(key)
	})
}

// applyPurge does here what this or another process has purged. heard is the
// stamp at which that was heard of.
func (c *Cache[V]) applyPurge(p purge, heard stamp) {
	mode := engine.Hard
	if p.soft {
		mode = engine.Soft
	}
	switch p.kind {
	case purgeKey, purgeOlder:
		c.removeOlder(p.name, c.l2.supersede(p, heard))
	case purgeTag:
		c.store.PurgeTag(p.name, mode)
	case purgePrefix:
		c.store.PurgePrefix(p.name, mode)
	case purgeFlush:
		c.store.Flush(mode)
	}
}
