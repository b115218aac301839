package cachefetch

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/level2"
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
	stamp              level2.Stamp // of the beginning of its load
	size               int64        // of the value, see Cache.size
}

// lifetimes are those of an [Item] as its loader gave them.
type lifetimes struct{ ttl, whileRevalidate, ifError time.Duration }

// An answer is what the callers of one load share.
type answer[V any] struct {
	work *work // the load

	reply[V] // written before the flight is over and only read afterwards
}

// A reply is what a load has brought.
type reply[V any] struct {
	value V
	err   error
	at    engine.Instant // when it was loaded or validated
	tags  []string

	found *entry[V] // it was stored after all, here or in the second level
}

// find makes a the answer that is stored in e.
func (a *answer[V]) find(e *entry[V]) {
	a.reply = reply[V]{value: e.Value.value, err: e.Value.err, at: e.Times.Stored, tags: e.Tags, found: e}
}

type (
	entry[V any]  = engine.Entry[item[V]]
	flight[V any] = engine.Flight[*answer[V]]
	ticket[V any] = engine.Ticket[*answer[V]]
)

// keepForValidation is how long a value that can be validated is kept after
// it may not be returned any more. It has to stand its ground against others.
const keepForValidation = time.Hour

// A birth says when a value was loaded, how long that took, and how large the
// value is.
type birth struct {
	gen   uint64
	stamp level2.Stamp
	took  time.Duration
	size  int64
}

// entry returns the entry for what a load of key has brought: it, or if err is
// not nil the news that there is nothing.
func (c *Cache[V]) entry(key string, it *Item[V], err error, from birth) *entry[V] {
	e := &entry[V]{Gen: from.gen, Tags: slices.Clone(it.Tags), Value: item[V]{
		key: key, value: it.Value, err: err, etag: it.ETag, lastModified: it.LastModified,
		lifetimes: lifetimes{it.TTL, it.StaleWhileRevalidate, it.StaleIfError},
		loadTime:  from.took, stamp: from.stamp, size: from.size,
	}}
	ttl := orDefault(it.TTL, c.opts.TTL)
	var whileRevalidate, ifError time.Duration
	if err == nil {
		whileRevalidate = orDefault(it.StaleWhileRevalidate, c.opts.StaleWhileRevalidate)
		ifError = orDefault(it.StaleIfError, c.opts.StaleIfError)
	} else { // is not worth keeping beyond its time
		var none V
		ttl = orDefault(it.TTL, c.opts.NegativeTTL)
		e.Value.value, e.Value.size, e.Value.etag, e.Value.lastModified = none, 0, "", ""
	}
	e.Times = engine.NewTimes(c.store.Now(), engine.Jitter(ttl, c.opts.Jitter), whileRevalidate, ifError)
	if e.Value.etag != "" || e.Value.lastModified != "" {
		e.Times = e.Times.Keep(keepForValidation)
	}
	e.Value.earlyFrom = earlyFrom(e.Times.FreshUntil, from.took, c.opts.EarlyRefresh)
	return e
}

// orDefault returns d, or what an option says if it is zero: no less than
// nothing, and no more than what any sum can bear.
func orDefault(d, option time.Duration) time.Duration {
	return min(max(cmp.Or(d, option), 0), engine.ForEver)
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

// size asks Options.Cost for the size of a value. It is asked once a value, with
// no lock held: it is the program's own, and may take long or wait.
func (c *Cache[V]) size(v V) int64 {
	// A value that costs all there is or more is not stored in any case, and
	// sums of it must not overflow.
	return min(max(c.opts.Cost(v), 0), c.opts.MaxBytes)
}

// cost is the number of bytes that e counts against the budget.
func (c *Cache[V]) cost(e *entry[V]) int64 {
	it := &e.Value
	cost := c.store.Overhead() + int64(len(it.key)+len(it.etag)+len(it.lastModified)) + it.size
	for _, tag := range e.Tags {
		cost += int64(len(tag)) + 16 // of its header
	}
	return cost
}

// clip takes from a value that is a slice the room behind its end: who appends
// to what is shared must not write there.
func clip[V any](v *V) {
	switch v := any(v).(type) {
	case *string:
	case *[]byte:
		*v = slices.Clip(*v)
	default:
		if s := reflect.ValueOf(v).Elem(); s.Kind() == reflect.Slice {
			s.SetCap(s.Len())
		}
	}
}

// age is how long ago something was that has not always been seen to be before
// now.
func age(now, then engine.Instant) time.Duration { return max(now.Sub(then), 0) }

// put stores e and reports whether it could.
func (c *Cache[V]) put(hash uint64, e *entry[V]) bool {
	return c.store.Put(hash, e, c.cost(e), 0)
}
