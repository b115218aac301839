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
// # What a load may rely on
//
// A load runs on a goroutine of its own, with a context that keeps every value
// of the context of the Fetch that began it, and ends at Options.LoadTimeout.
// It does not end when that Fetch leaves: others may be waiting, and the value
// is worth storing. While a load is under way, no second one of its key is
// begun, unless the key is set or deleted meanwhile.
//
// # What a caller may rely on
//
// Once any Fetch has returned a loaded value, every later one sees it or a
// newer one, until it expires, is removed, or has to make room. The newest
// write of a key wins: a Set or Delete that returns while a load is under way
// is not undone by that load. Values are shared by all callers and must not be
// modified.
package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// A Cache holds values of one type under string keys. It is made by [New] and
// must be closed after use. All methods may be called concurrently.
type Cache[V any] struct {
	opts    Options[V]
	seed    maphash.Seed
	store   *engine.Cache[string, item[V]]
	flights engine.Flights[*result[V]]
	pool    *engine.Pool
	stats   counters
	clock   stampClock
	l2      *l2[V] // nil if there is no second level

	closing sync.Once
	closed  atomic.Bool
	closeOK error // written in closing
}

// An item is what is stored under a key: a value, or the news that there is
// none.
type item[V any] struct {
	key   string
	value V
	err   error // ErrNotFound or wrapping it, or nil
	stamp int64 // when its load began, see stampClock
}

// A result is what the callers of one load share. It is written before the
// flight is over and only read afterwards.
type result[V any] struct {
	value V
	err   error
}

// New returns an empty cache, or an error that names each bad option.
func New[V any](o Options[V]) (*Cache[V], error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	c := &Cache[V]{opts: o, seed: maphash.MakeSeed(), pool: engine.NewPool(o.RefreshWorkers)}
	c.store, err = engine.New(engine.Config[string, item[V]]{
		MaxBytes:  o.MaxBytes,
		Match:     func(key string, it *item[V]) bool { return it.key == key },
		HasPrefix: func(it *item[V], prefix string) bool { return strings.HasPrefix(it.key, prefix) },
		Wall:      c.clock.next,
	})
	if err != nil {
		return nil, fmt.Errorf("cachefetch: Options.%w", err)
	}
	c.openL2()
	return c, nil
}

// Fetch returns the value of key. If there is a fresh one, it returns that at
// once and without allocating. If there is a stale one inside
// Options.StaleWhileRevalidate, it returns that at once as well and has load
// run behind. Otherwise it joins the load of key that is under way, or begins
// one, and waits for it, but no longer than until ctx ends.
//
// An error of load is returned as it is to all who waited for it, unless an
// old value inside Options.StaleIfError can be returned instead. Errors are
// not stored, but see Options.NegativeTTL. A load that panics panics in the
// Fetch that began it; the others get a [*PanicError].
//
// Further errors are ctx.Err(), [ErrLoadTimeout], [ErrWaitTimeout],
// [ErrNested] and [ErrClosed].
func (c *Cache[V]) Fetch(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	hash := maphash.String(c.seed, key)
	now := c.store.Now()
	e := c.store.GetAt(hash, key, now)
	if e != nil {
		switch e.State(now) {
		case engine.Fresh:
			c.stats.hit(hash)
			return e.Value.value, e.Value.err
		case engine.StaleWhileRevalidate:
			c.stats.stale.Add(1)
			c.refresh(ctx, hash, key, e, now, load)
			return e.Value.value, e.Value.err
		case engine.StaleIfError:
			if e.Backoff(now) {
				c.stats.stale.Add(1)
				return e.Value.value, e.Value.err
			}
		case engine.Gone:
			e = nil
		}
	}
	return c.wait(ctx, hash, key, e, load)
}

// wait is the slow path of Fetch. old is a stale value that may be returned
// if there is no better one, or nil.
func (c *Cache[V]) wait(ctx context.Context, hash uint64, key string, old *engine.Entry[item[V]], load func(context.Context) (V, error)) (V, error) {
	var none V
	if isLoading(ctx, c, key) {
		return none, fmt.Errorf("%w: %q", ErrNested, key)
	}
	t, err := c.flights.Join(ctx, hash, key, c.start(hash, key, old, load, nil))
	if err != nil {
		return none, ErrClosed
	}
	defer t.Leave()
	limit := c.opts.WaitTimeout
	if t.Leader {
		limit = 0
	} else {
		c.stats.coalesced.Add(1)
	}
	if soft := c.opts.SoftTimeout; old != nil && soft > 0 && (limit == 0 || soft < limit) && old.Usable(c.store.Now().Add(soft)) {
		limit = soft
	}
	err = t.Wait(ctx, limit)
	if err == nil {
		if crash := t.Crash(); crash != nil {
			if t.Leader {
				crash.Raise()
			}
			err = &PanicError{Key: key, Value: crash.Value, Stack: crash.Stack}
		} else if err = t.State.err; err == nil || errors.Is(err, ErrNotFound) {
			return t.State.value, err
		}
	} else {
		err = c.waitError(ctx, key, err)
	}
	if old != nil && ctx.Err() == nil && old.Usable(c.store.Now()) {
		c.stats.stale.Add(1)
		return old.Value.value, old.Value.err
	}
	return none, err
}

// waitError says in this package's words why a wait ended before the load.
func (c *Cache[V]) waitError(ctx context.Context, key string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, engine.ErrClosed):
		return ErrClosed
	case errors.Is(err, engine.ErrWaitTimeout):
		return fmt.Errorf("%w: key %q", ErrWaitTimeout, key)
	}
	return loadTimeout(key, err)
}

func loadTimeout(key string, err error) error {
	return fmt.Errorf("%w: key %q: %w", ErrLoadTimeout, key, err)
}

// refresh has load run behind for the stale entry old, unless that is being
// done, has just failed, or all workers are busy.
func (c *Cache[V]) refresh(ctx context.Context, hash uint64, key string, old *engine.Entry[item[V]], now engine.Instant, load func(context.Context) (V, error)) {
	if !old.BeginRefresh(now) {
		return
	}
	if !c.pool.Acquire() {
		c.stats.refreshSkips.Add(1)
		old.EndRefresh()
		return
	}
	done := func() {
		old.EndRefresh()
		c.pool.Release()
	}
	t, err := c.flights.Join(ctx, hash, key, c.start(hash, key, old, load, done))
	switch {
	case err != nil:
		done()
	case !t.Leader: // somebody waits for a load of the key as it is
		done()
		t.Leave()
	default:
		c.stats.refreshes.Add(1)
		t.Leave() // the flight is kept without waiters
	}
}

// start describes a flight that runs load and stores what it returns. done,
// if not nil, is called when the run is over, however it ends.
func (c *Cache[V]) start(hash uint64, key string, old *engine.Entry[item[V]], load func(context.Context) (V, error), done func()) engine.Start[*result[V]] {
	return engine.Start[*result[V]]{
		Timeout: c.opts.LoadTimeout,
		// Every result is worth storing: TTL is never zero.
		Keep:  true,
		Gen:   c.store.Generation,
		State: func(*engine.Flight[*result[V]]) *result[V] { return new(result[V]) },
		Joins: func(f *engine.Flight[*result[V]]) bool {
			return !c.store.Superseded(f.Gen, c.store.Newest(), &item[V]{key: key}, nil)
		},
		Run: func(f *engine.Flight[*result[V]]) {
			if done != nil {
				defer done()
			}
			c.run(f, hash, key, old, load)
		},
	}
}

// run is one load, on its own goroutine.
func (c *Cache[V]) run(f *engine.Flight[*result[V]], hash uint64, key string, old *engine.Entry[item[V]], load func(context.Context) (V, error)) {
	// Look again: another load may have ended between this caller's look at
	// the store and its joining.
	if e := c.store.Get(hash, key); e != nil && e.State(c.store.Now()) == engine.Fresh {
		f.State.value, f.State.err = e.Value.value, e.Value.err
		return
	}
	found, l2 := c.askL2(f, hash, key, old)
	if found != nil {
		f.State.value = found.Value.value
		return
	}
	if old == nil {
		old = l2.stale
	}
	c.stats.loads.Add(1)
	failed, none := true, false
	var stored *engine.Entry[item[V]]
	defer func() {
		if failed {
			c.stats.loadErrors.Add(1)
			if old != nil {
				old.Failed(c.store.Now(), c.opts.RefreshBackoff, c.opts.RefreshBackoff*maxBackoffFactor)
			}
		}
		c.settleL2(l2, key, stored, none)
	}()
	value, err := load(withLoading(f.Context, c, key))
	ttl := c.opts.TTL
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		none = true
		if ttl = c.opts.NegativeTTL; ttl == 0 {
			failed = false
			f.Publish(func() { c.store.Delete(hash, key) })
		}
	case errors.Is(f.Context.Err(), context.DeadlineExceeded):
		err = loadTimeout(key, err)
	case errors.Is(f.Context.Err(), engine.ErrClosed):
		err = ErrClosed
	}
	f.State.value, f.State.err = value, err
	if err != nil && !none && l2.stale != nil && l2.stale.Usable(c.store.Now()) {
		f.State.value, f.State.err = l2.stale.Value.value, nil
	}
	if err != nil && (!none || ttl == 0) {
		return
	}
	failed = false
	f.Publish(func() { stored = c.put(hash, item[V]{key: key, value: value, err: err, stamp: l2.stamp}, ttl, f.Gen) })
}

// cost is the number of bytes that it counts against the budget.
func (c *Cache[V]) cost(it item[V]) int64 {
	cost := c.store.Overhead() + int64(len(it.key))
	if it.err == nil {
		// A value that costs all there is or more is not stored in any case,
		// and the sum must not overflow.
		cost += min(max(c.opts.Cost(it.value), 0), c.opts.MaxBytes)
	}
	return cost
}

// put stores it and returns the entry, or nil if it could not.
func (c *Cache[V]) put(hash uint64, it item[V], ttl time.Duration, gen uint64) *engine.Entry[item[V]] {
	cost := c.cost(it)
	fresh := engine.Jitter(ttl, c.opts.Jitter)
	swr, sie := c.opts.StaleWhileRevalidate, c.opts.StaleIfError
	if it.err != nil { // "not found" is not worth keeping beyond its time
		swr, sie = 0, 0
	}
	e := &engine.Entry[item[V]]{
		Value: it,
		Times: engine.NewTimes(c.store.Now(), fresh, swr, sie),
		Gen:   gen,
	}
	if !c.store.Put(hash, e, cost, 0) {
		return nil
	}
	return e
}

// Get returns the value of key if there is a fresh one. It never loads.
func (c *Cache[V]) Get(key string) (V, bool) {
	hash := maphash.String(c.seed, key)
	now := c.store.Now()
	e := c.store.GetAt(hash, key, now)
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
	if c.closed.Load() {
		return ErrClosed
	}
	hash := maphash.String(c.seed, key)
	c.flights.Doom(hash, key) // its "not found" would remove v
	it := item[V]{key: key, value: v, stamp: c.clock.next()}
	stored := c.put(hash, it, c.opts.TTL, c.store.Generation())
	c.flights.Doom(hash, key) // begun meanwhile, it has a later generation
	if c.l2 != nil {
		c.setL2(it, stored)
	}
	if stored == nil {
		return c.setError(it)
	}
	return nil
}

// setError says why a Set stored nothing. That a newer Set overtook it is no
// error: it is as if this one had come first.
func (c *Cache[V]) setError(it item[V]) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if cost := c.cost(it); cost > c.store.MaxEntry() {
		return fmt.Errorf("%w: key %q: %d bytes, at most %d", ErrTooLarge, it.key, cost, c.store.MaxEntry())
	}
	return nil
}

// Delete removes the value of key. What a load that is under way returns goes
// to those who wait for it now and is not stored. Its only error is
// [ErrClosed].
func (c *Cache[V]) Delete(ctx context.Context, key string) error {
	if c.closed.Load() {
		return ErrClosed
	}
	hash := maphash.String(c.seed, key)
	var behind <-chan struct{}
	if c.l2 != nil { // first: who looks there from now on must not find it
		behind = c.l2.remove(key, c.clock.next(), claim{}, true)
	}
	c.flights.Doom(hash, key) // first: what it has published is deleted below
	c.store.Delete(hash, key)
	c.flights.Doom(hash, key) // begun meanwhile, it would outlive this call
	if c.l2 != nil {
		c.l2.wait(ctx, behind)
	}
	return nil
}

// closeTimeout is how long Close waits for refreshes that are under way. Their
// contexts have ended by then.
const closeTimeout = 5 * time.Second

// Close ends all loads, waits up to five seconds for refreshes to return, and
// frees the values. Its error says that some did not. Close may be called more
// than once, and concurrently with all other methods, which return ErrClosed
// from then on.
func (c *Cache[V]) Close() error {
	c.closing.Do(func() {
		c.closed.Store(true)
		c.flights.Close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := c.pool.Close(ctx); err != nil {
			c.closeOK = fmt.Errorf("cachefetch: refreshes still running %v after Close: %w", closeTimeout, err)
		}
		if c.l2 != nil {
			c.l2.close()
		}
		c.store.Close()
	})
	return c.closeOK
}

// loading is found in the context of a load. It makes a chain of the loads
// that a load is nested in.
type loading struct {
	cache  any
	key    string
	parent *loading
}

type loadingKey struct{}

func withLoading(ctx context.Context, cache any, key string) context.Context {
	parent, _ := ctx.Value(loadingKey{}).(*loading)
	return context.WithValue(ctx, loadingKey{}, &loading{cache: cache, key: key, parent: parent})
}

func isLoading(ctx context.Context, cache any, key string) bool {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	for ; l != nil; l = l.parent {
		if l.cache == cache && l.key == key {
			return true
		}
	}
	return false
}
