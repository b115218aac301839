package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// A lookup is a key and what was stored under it when it was asked for.
type lookup[V any] struct {
	hash uint64
	key  string
	old  *entry[V] // in whatever state, or nil

	together bool // with others, which would wait if this one's load waited for a lease
}

// A loadOf returns the load of a key, and what is to be called when it is over
// or, as it turns out, not begun.
type loadOf[V any] func(key string) (load LoadFunc[V], done func())

// always is the loadOf of one key.
func always[V any](load LoadFunc[V]) loadOf[V] {
	return func(string) (LoadFunc[V], func()) { return load, func() {} }
}

// fetch answers one caller.
func (c *Cache[V]) fetch(ctx context.Context, l lookup[V], now engine.Instant, load LoadFunc[V]) (Result[V], error) {
	served, refresh := c.serve(l, now)
	if refresh {
		c.refresh(ctx, []lookup[V]{l}, always(load))
	}
	if served {
		return c.answered(ctx, l, now, c.stored(l.old, now, nil))
	}
	r, crash := c.wait(ctx, l, always(load), c.call())
	if crash != nil {
		crash.raise()
	}
	return c.answered(ctx, l, now, r)
}

// serve reports whether a caller is answered with what is stored, and whether
// that is to be refreshed behind.
func (c *Cache[V]) serve(l lookup[V], now engine.Instant) (served, refresh bool) {
	if l.old == nil {
		return false, false
	}
	switch l.old.State(now) {
	case engine.Fresh:
		it := &l.old.Value
		early := now >= it.earlyFrom && refreshesEarly(l.old.Times.FreshUntil.Sub(now), it.loadTime, c.opts.EarlyRefresh)
		return true, early
	case engine.StaleWhileRevalidate:
		return true, true
	case engine.StaleIfError:
		return l.old.Backoff(now), false
	}
	return false, false
}

// stored makes a result of a stored value. err is why there is no newer one.
func (c *Cache[V]) stored(e *entry[V], now engine.Instant, err error) Result[V] {
	it := &e.Value
	r := Result[V]{Value: it.value, Source: Fresh, Age: age(now, e.Times.Stored), Err: err}
	if err != nil || e.State(now) != engine.Fresh {
		r.Source = Stale
	}
	if it.err != nil {
		r.Source, r.Err = None, it.err
	}
	return r
}

// answered counts and shows what a caller gets. What it returns as an error is
// that of a result without a value.
func (c *Cache[V]) answered(ctx context.Context, l lookup[V], began engine.Instant, r Result[V]) (Result[V], error) {
	c.stats.answer(r.Source, l.hash)
	if f := c.watch.Fetched; f != nil {
		f(ctx, infoOf(l, r, c.store.Now().Sub(began)))
	}
	if r.Source == None {
		return r, r.Err
	}
	return r, nil
}

func infoOf[V any](l lookup[V], r Result[V], wait time.Duration) FetchInfo {
	return FetchInfo{Key: l.key, Source: r.Source, Age: r.Age, Wait: wait, Err: r.Err}
}

// A call is when a caller came.
type call struct {
	gen uint64 // all that was purged before has this generation or an older one
	at  engine.Instant
}

func (c *Cache[V]) call() call { return call{c.store.Newest(), c.store.Now()} }

// wait joins or begins the load of a key, for a call that came before, and
// waits for it. A panic is to be raised by the caller: it began the load.
func (c *Cache[V]) wait(ctx context.Context, l lookup[V], load loadOf[V], called call) (Result[V], *PanicError) {
	for {
		s, err := c.join(ctx, l, load)
		if err != nil {
			return Result[V]{Err: err}, nil
		}
		// A load that began after the call is always good enough, so there is
		// no third round.
		if r, crash, ok := c.await(ctx, s, l, called); ok {
			return r, crash
		}
	}
}

// A share is a caller's part in the load of a key.
type share[V any] struct {
	*ticket[V]
	inner *work // that the caller belongs to, and that now waits for the load; or nil
}

func (s share[V]) leave() {
	s.inner.leave(s.State.work)
	s.Leave()
}

// join joins or begins the load of a key, unless its context has ended, the
// load is known to fail, or it would wait for the caller.
func (c *Cache[V]) join(ctx context.Context, l lookup[V], of loadOf[V]) (share[V], error) {
	if err := ctx.Err(); err != nil {
		return share[V]{}, err
	}
	inner, itself := workOf(ctx, c, l.key)
	if itself {
		return share[V]{}, fmt.Errorf("%w: key %q", ErrNested, l.key)
	}
	if err := c.failed(l.key); err != nil {
		return share[V]{}, err
	}
	load, done := of(l.key)
	t, err := c.flights.Join(ctx, l.hash, l.key, c.start(l, load, inner, done))
	if err != nil {
		done()
		return share[V]{}, ErrClosed
	}
	if !t.Leader {
		done()
		c.stats.coalesced.Add(1)
		if !inner.await(t.State.work) {
			t.Leave()
			return share[V]{}, fmt.Errorf("%w: key %q", ErrNested, l.key)
		}
	}
	return share[V]{t, inner}, nil
}

// failed returns the error that the load of a key has just ended with.
func (c *Cache[V]) failed(key string) error {
	f := c.failures.of(key, c.store.Now())
	if f.err != nil && c.store.Superseded(f.gen, c.store.Newest(), &item[V]{key: key}, nil) {
		return nil // purged: who asks again wants another answer
	}
	return f.err
}

// await waits for the load that s is a share in, and gives s back. It returns
// false if what came was purged after the load had begun and before the call:
// then the caller must ask again. Tags are known no sooner than that.
func (c *Cache[V]) await(ctx context.Context, s share[V], l lookup[V], called call) (r Result[V], crash *PanicError, ok bool) {
	defer s.leave()
	err := s.Wait(ctx, c.limit(s.Leader, l.old, called.at))
	if errors.Is(err, engine.ErrWaitTimeout) && c.usable(l) == nil {
		// The old value that was to be returned after SoftTimeout is gone.
		if rest := c.limit(s.Leader, nil, called.at); rest != 1 {
			err = s.Wait(ctx, rest)
		}
	}
	now := c.store.Now()
	if err == nil {
		a := &s.State.reply
		switch crash := s.Crash(); {
		case crash != nil:
			p := panicError(l.key, crash)
			if s.Leader {
				return Result[V]{Err: p}, p, true
			}
			err = p
		case !s.Leader && c.store.Superseded(s.Gen, called.gen, &item[V]{key: l.key}, a.tags):
			s.Disown()
			return Result[V]{}, nil, false
		case a.found != nil:
			return c.stored(a.found, now, nil), nil, true
		case a.err == nil:
			return Result[V]{Value: a.value, Source: source(s.Leader), Age: age(now, a.at)}, nil, true
		case errors.Is(a.err, ErrNotFound):
			return Result[V]{Err: a.err}, nil, true
		default:
			err = a.err
		}
	} else {
		err = c.waitError(ctx, l.key, err)
	}
	if ctx.Err() == nil {
		if e := c.usable(l); e != nil {
			return c.stored(e, now, err), nil, true
		}
	}
	return Result[V]{Err: err}, nil, true
}

// usable returns what is stored under a key now, if it may be returned in place
// of what could not be had. What was stored when the caller came may have been
// purged since.
func (c *Cache[V]) usable(l lookup[V]) *entry[V] {
	if e := c.store.Peek(l.hash, l.key); e != nil && e.Usable(c.store.Now()) {
		return e
	}
	return nil
}

// limit returns how long a caller that came at some instant waits for a load
// yet, 1 if not any more, or 0 if that is up to the load.
func (c *Cache[V]) limit(leader bool, old *entry[V], called engine.Instant) time.Duration {
	var limit time.Duration
	if !leader {
		limit = c.opts.WaitTimeout
	}
	if c.soft(old, called) && (limit == 0 || c.opts.SoftTimeout < limit) {
		limit = c.opts.SoftTimeout
	}
	if limit == 0 {
		return 0
	}
	return max(limit-c.store.Now().Sub(called), 1)
}

// soft reports whether a caller that came at some instant waits no longer than
// SoftTimeout, since it can then have an old value, which may be nil.
func (c *Cache[V]) soft(old *entry[V], called engine.Instant) bool {
	return c.opts.SoftTimeout > 0 && old != nil && old.Usable(called.Add(c.opts.SoftTimeout))
}

func source(leader bool) Source {
	if leader {
		return Loaded
	}
	return Coalesced
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
