// Package cachefetch is a typed cache for values that take long to load, such
// as answers of upstream HTTP services. It loads each missing value once,
// however many callers ask for it at the same time, keeps it for a while
// within a budget in bytes, and can go on returning an old value while a new
// one is loaded or cannot be.
//
//	users, err := cachefetch.New(cachefetch.Options[User]{
//		MaxBytes:             64 << 20,
//		TTL:                  time.Minute,
//		StaleWhileRevalidate: 10 * time.Minute,
//	})
//	...
//	user, err := users.Fetch(ctx, id, func(ctx context.Context) (User, error) {
//		return client.User(ctx, id)
//	})
//
// [Cache.FetchItem] is the rich form: its load sees the old value with its
// validator, so that an upstream can answer 304, chooses how long the new one
// is kept and which tags it has, and its caller sees what it got.
// [Cache.FetchMany] loads what is missing of many keys in one call.
//
// # What a load may rely on
//
// A load runs on a goroutine of its own, with a context that keeps every value
// of the context of the Fetch that began it, and ends at Options.LoadTimeout.
// It does not end when that Fetch leaves: others may be waiting, and the value
// is worth storing. While a load is under way, no second one of its key is
// begun, unless the key is set, deleted or purged meanwhile.
//
// # What a caller may rely on
//
// Once any Fetch has returned a loaded value, every later one sees it or a
// newer one, until it expires, is removed, or has to make room. The newest
// write of a key wins: a Set, Delete or purge that returns while a load is
// under way is not undone by that load. Values are shared by all callers and
// must not be modified.
//
// What is said of Fetch goes for all three forms. They share loads: a Fetch
// joins the load of a FetchMany, and the other way round.
//
// # A second level
//
// With Options.Backend, processes share what they load: a load asks there
// first, and what was loaded or set is written there behind. A
// [backend.Backend] that is slow, down or wrong costs time, never an error or a
// wrong value. Deletes and purges reach the other processes by way of it.
//
// # Upstreams
//
// Package upstream, beside this one, makes an [http.RoundTripper] for what loads
// call, sized and bounded. Package fanout calls side by side.
package cachefetch

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/level2"
)

// A Cache holds values of one type under string keys. It is made by [New] and
// must be closed after use. All methods may be called concurrently.
type Cache[V any] struct {
	opts    Options[V]
	seed    maphash.Seed
	store   *engine.Cache[string, item[V]]
	flights engine.Flights[*answer[V]]
	pool    *engine.Pool
	stats   counters
	metrics *cacheMetrics

	failures failures
	watch    Observer // Options.Observer, or all nil
	clock    *level2.Clock
	l2       *level2.Level[V] // nil if there is no second level

	closing sync.Once
	closed  atomic.Bool
	closeOK error // written in closing
}

// New returns an empty cache, or an error that names each bad option.
func New[V any](o Options[V]) (*Cache[V], error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	c := &Cache[V]{opts: o, seed: maphash.MakeSeed(), pool: engine.NewPool(o.RefreshWorkers), clock: level2.NewClock()}
	c.store, err = engine.New(engine.Config[string, item[V]]{
		MaxBytes:    o.MaxBytes,
		LimitMemory: o.LimitMemory,
		Match:       func(key string, it *item[V]) bool { return it.key == key },
		HasPrefix:   func(it *item[V], prefix string) bool { return strings.HasPrefix(it.key, prefix) },
		Wall:        func() int64 { return c.clock.Next().At },
	})
	if err != nil {
		return nil, fmt.Errorf("cachefetch: Options.%w", err)
	}
	if o.Observer != nil {
		c.watch = *o.Observer
	}
	c.openL2()
	var ofBackend func() backend.Stats
	if c.l2 != nil {
		ofBackend = c.l2.Stats
	}
	c.metrics = newCacheMetrics(o.Name, &c.stats, c.Stats, ofBackend)
	if o.Name != "" && !c.metrics.group.Register() {
		_ = c.Close()
		return nil, &OptionError{Of: "cachefetch: Options", Field: "Name", Value: o.Name, Reason: "another cache has this name"}
	}
	return c, nil
}

// Fetch returns the value of key. If there is a fresh one, it returns that at
// once and without allocating. If there is a stale one inside
// Options.StaleWhileRevalidate, it returns that at once as well and has load
// run behind. Otherwise it joins the load of key that is under way, or begins
// one, and waits for it, but no longer than until ctx ends.
//
// An error of load is returned to all who waited for it, unless an old value
// inside Options.StaleIfError can be returned instead. Where there is none, it
// is remembered for Options.FailureTTL; [ErrNotFound] is remembered for
// Options.NegativeTTL. A load that panics panics in the Fetch that began it; the
// others get a [*PanicError].
//
// Further errors are ctx.Err(), [ErrLoadTimeout], [ErrWaitTimeout],
// [ErrNested] and [ErrClosed]. If ctx has ended already, no load is begun or
// joined.
func (c *Cache[V]) Fetch(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	hash := maphash.String(c.seed, key)
	e := c.store.Get(hash, key)
	now := c.store.Now() // not before: a purge may have made e stale meanwhile
	if e != nil && c.plain(e, now) {
		c.stats.hit(hash)
		return e.Value.value, nil
	}
	// Outlined, so that a hit needs no memory for what follows.
	return c.fetchSimply(ctx, lookup[V]{hash: hash, key: key, old: e}, now, load)
}

func (c *Cache[V]) fetchSimply(ctx context.Context, l lookup[V], now engine.Instant, load func(context.Context) (V, error)) (V, error) {
	r, err := c.fetch(ctx, l, now, func(ctx context.Context, _ *Item[V]) (Item[V], error) {
		v, err := load(ctx)
		return Item[V]{Value: v}, err
	})
	return r.Value, err
}

// FetchItem is Fetch for loads that can validate an old value, or know how
// long a new one is good for: see [LoadFunc]. Its result says where the value
// comes from and how old it is. The result's Err is the error returned, or,
// beside a stale value, why there is no newer one.
func (c *Cache[V]) FetchItem(ctx context.Context, key string, load LoadFunc[V]) (Result[V], error) {
	hash := maphash.String(c.seed, key)
	e := c.store.Get(hash, key)
	now := c.store.Now() // not before: a purge may have made e stale meanwhile
	if e != nil && c.plain(e, now) {
		c.stats.hit(hash)
		return Result[V]{Value: e.Value.value, Source: Fresh, Age: age(now, e.Times.Stored)}, nil
	}
	return c.fetch(ctx, lookup[V]{hash: hash, key: key, old: e}, now, load)
}

// plain reports whether e is returned without anything else to be done: it is a
// fresh value, no early refresh is in question, and nobody watches.
func (c *Cache[V]) plain(e *entry[V], now engine.Instant) bool {
	return e.Value.err == nil && now < e.Value.earlyFrom && c.watch.Fetched == nil && e.State(now) == engine.Fresh
}

// Get returns the value of key if there is a fresh one. It never loads.
func (c *Cache[V]) Get(key string) (V, bool) {
	hash := maphash.String(c.seed, key)
	e := c.store.Get(hash, key)
	now := c.store.Now() // not before: a purge may have made e stale meanwhile
	if e == nil || e.Value.err != nil || e.State(now) != engine.Fresh {
		var none V
		return none, false
	}
	c.stats.hit(hash)
	return e.Value.value, true
}

// Set stores v under key for Options.TTL. A load of the key that is under way
// will not replace it. Its errors are [ErrTooLarge] and [ErrClosed].
func (c *Cache[V]) Set(ctx context.Context, key string, v V) error {
	return c.SetItem(ctx, key, Item[V]{Value: v})
}

// SetItem is Set with all that a load may say of a value. NotModified and
// NoStore are of no use here and ignored.
func (c *Cache[V]) SetItem(ctx context.Context, key string, it Item[V]) error {
	if c.closed.Load() {
		return ErrClosed
	}
	hash := maphash.String(c.seed, key)
	size := c.size(it.Value)
	clip(&it.Value)
	var e *entry[V]
	stored := false
	c.flights.DoomThen(hash, key, func() {
		e = c.entry(key, &it, nil, birth{gen: c.store.Generation(), stamp: c.clock.Next(), size: size})
		stored = c.put(hash, e)
		c.setL2(e)
		c.failures.forget(key)
	})
	if stored {
		return nil
	}
	if c.closed.Load() {
		return ErrClosed
	}
	if cost := c.cost(e); cost > c.store.MaxEntry() {
		return fmt.Errorf("%w: key %q: %d bytes, at most %d", ErrTooLarge, key, cost, c.store.MaxEntry())
	}
	// Overtaken by a purge, it is as if this one had come first.
	return nil
}

// Stats returns a snapshot.
func (c *Cache[V]) Stats() Stats {
	u := c.store.Usage()
	var second backend.Stats
	if c.l2 != nil {
		second = c.l2.Stats()
	}
	return Stats{
		Backend:        second,
		Hits:           c.stats.hits(),
		Stale:          c.stats.answers(Stale),
		Loaded:         c.stats.answers(Loaded),
		Errors:         c.stats.answers(None),
		Coalesced:      c.stats.coalesced.Load(),
		Loads:          c.stats.loads.Load(),
		LoadErrors:     c.stats.loadErrors.Load(),
		Refreshes:      c.stats.refreshes.Load(),
		EarlyRefreshes: c.stats.earlyRefreshes.Load(),
		NotModified:    c.stats.notModified.Load(),
		RefreshSkips:   c.stats.refreshSkips.Load(),
		Drops:          c.stats.drops.Load(),
		Purges:         c.stats.purges.Load(),
		Evictions:      u.Evictions,
		Refusals:       u.Refusals,
		Entries:        u.Entries,
		Bytes:          u.Bytes,
		WindowBytes:    u.WindowBytes,
		MaxBytes:       u.MaxBytes,
	}
}

// WriteMetrics writes the cache's metrics to w in the Prometheus text format,
// each family with HELP and TYPE. [WriteMetrics] writes those of several caches
// and transports.
func (c *Cache[V]) WriteMetrics(w io.Writer) { c.metrics.group.WriteMetrics(w) }

// Close ends all loads, waits up to five seconds for refreshes to return, up to
// two for what is queued for Options.Backend to be written, and frees the
// values. Its error says that some refreshes did not return. Close may be called more
// than once, and concurrently with all other methods, which return ErrClosed
// from then on.
func (c *Cache[V]) Close() error {
	c.closing.Do(func() {
		c.closed.Store(true)
		c.metrics.group.Unregister()
		c.flights.Close()
		if err := c.pool.Close(); err != nil {
			c.closeOK = fmt.Errorf("cachefetch: %w", err)
		}
		if c.l2 != nil {
			c.l2.Close()
		}
		c.store.Close()
	})
	return c.closeOK
}
