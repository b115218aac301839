package cachefetch

import (
	"slices"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// An item is what is stored under a key: a value, or the news that there is
// none.
type item[V any] struct {
	key       string
	earlyFrom engine.Instant // from here on, a hit may ask for a refresh
	value     V
	err       error // ErrNotFound or wrapping it, or nil

	etag, lastModified string
	lifetimes          lifetimes
	loadTime           time.Duration
	stamp              stamp // of the beginning of its load
	cost               int64 // bytes, as counted against the budget
}

// lifetimes are those of an [Item] as its loader gave them.
type lifetimes struct{ ttl, whileRevalidate, ifError time.Duration }

// An answer is what the callers of one load share. It is written before the
// flight is over and only read afterwards.
type answer[V any] struct {
	value V
	err   error
	at    engine.Instant // when it was loaded or validated
	tags  []string

	found *entry[V] // it was stored after all, here or in the second level
}

// find makes a the answer that is stored in e.
func (a *answer[V]) find(e *entry[V]) {
	*a = answer[V]{value: e.Value.value, err: e.Value.err, at: e.Times.Stored, tags: e.Tags, found: e}
}

type (
	entry[V any]  = engine.Entry[item[V]]
	flight[V any] = engine.Flight[*answer[V]]
	ticket[V any] = engine.Ticket[*answer[V]]
)

// keepForValidation is how long a value that can be validated is kept after
// it may not be returned any more. It has to stand its ground against others.
const keepForValidation = time.Hour

// A birth says when a value was loaded, and how long that took.
type birth struct {
	gen   uint64
	stamp stamp
	took  time.Duration
}

// entry returns the entry for what a load of key has brought: it, or if err is
// not nil the news that there is nothing.
func (c *Cache[V]) entry(key string, it *Item[V], err error, from birth) *entry[V] {
	e := &entry[V]{Gen: from.gen, Tags: slices.Clone(it.Tags), Value: item[V]{
		key: key, value: it.Value, err: err, etag: it.ETag, lastModified: it.LastModified,
		lifetimes: lifetimes{it.TTL, it.StaleWhileRevalidate, it.StaleIfError},
		loadTime:  from.took, stamp: from.stamp,
	}}
	ttl := orDefault(it.TTL, c.opts.TTL)
	var whileRevalidate, ifError time.Duration
	if err == nil {
		whileRevalidate = orDefault(it.StaleWhileRevalidate, c.opts.StaleWhileRevalidate)
		ifError = orDefault(it.StaleIfError, c.opts.StaleIfError)
	} else { // is not worth keeping beyond its time
		var none V
		ttl = orDefault(it.TTL, c.opts.NegativeTTL)
		e.Value.value, e.Value.etag, e.Value.lastModified = none, "", ""
	}
	e.Times = engine.NewTimes(c.store.Now(), engine.Jitter(ttl, c.opts.Jitter), whileRevalidate, ifError)
	if e.Value.etag != "" || e.Value.lastModified != "" {
		e.Times = e.Times.Keep(keepForValidation)
	}
	e.Value.earlyFrom = earlyFrom(e.Times.FreshUntil, from.took, c.opts.EarlyRefresh)
	e.Value.cost = c.cost(e)
	return e
}

// orDefault returns d, or what an option says if it is zero.
func orDefault(d, option time.Duration) time.Duration {
	if d == 0 {
		return option
	}
	return max(d, 0)
}

// old returns what a load is given as the old value of e.
func old[V any](e *entry[V]) *Item[V] {
	if e == nil || e.Value.err != nil {
		return nil
	}
	it := &e.Value
	return &Item[V]{
		Value: it.value, ETag: it.etag, LastModified: it.lastModified, Tags: slices.Clone(e.Tags),
		TTL: it.lifetimes.ttl, StaleWhileRevalidate: it.lifetimes.whileRevalidate, StaleIfError: it.lifetimes.ifError,
	}
}

// cost is the number of bytes that e counts against the budget. It is asked for
// once, with no lock held: Options.Cost may take its time, and take locks.
func (c *Cache[V]) cost(e *entry[V]) int64 {
	it := &e.Value
	cost := c.store.Overhead() + int64(len(it.key)+len(it.etag)+len(it.lastModified))
	for _, tag := range e.Tags {
		cost += int64(len(tag)) + 16 // of its header
	}
	if it.err == nil {
		// A value that costs all there is or more is not stored in any case,
		// and the sum must not overflow.
		cost += min(max(c.opts.Cost(it.value), 0), c.opts.MaxBytes)
	}
	return cost
}

// put stores e and reports whether it could.
func (c *Cache[V]) put(hash uint64, e *entry[V]) bool {
	return c.store.Put(hash, e, e.Value.cost, 0)
}
