package cachefetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/freshet-go/freshet/internal/engine"
)

// start describes a flight that runs load and stores what it returns. done is
// called when the run is over, however it ends.
func (c *Cache[V]) start(l lookup[V], load LoadFunc[V], done func()) engine.Start[*answer[V]] {
	return engine.Start[*answer[V]]{
		Timeout: c.opts.LoadTimeout,
		Keep:    true, // nearly every result is worth storing
		Gen:     c.store.Generation,
		State:   func(*flight[V]) *answer[V] { return new(answer[V]) },
		Joins: func(f *flight[V]) bool {
			return !c.store.Superseded(f.Gen, c.store.Newest(), &item[V]{key: l.key}, nil)
		},
		Run: func(f *flight[V]) {
			defer done()
			c.run(f, l, load)
		},
	}
}

// run is one load, on its own goroutine.
func (c *Cache[V]) run(f *flight[V], l lookup[V], load LoadFunc[V]) {
	// Look again: another load may have ended between this caller's look at
	// the store and its joining. What is there now is also what this load may
	// validate: it was not purged before f.Gen was drawn.
	prev := c.store.Get(l.hash, l.key)
	if prev != nil && prev != l.old && prev.State(c.store.Now()) == engine.Fresh {
		f.State.find(prev)
		return
	}
	found, second := c.askL2(f, l, prev)
	if found != nil {
		f.State.find(found)
		return
	}
	if second.stale != nil {
		prev = second.stale
	}
	c.stats.loads.Add(1)
	began := c.store.Now()
	out := outcome[V]{failed: true}
	defer func() { // also after a panic
		if out.failed {
			c.stats.loadErrors.Add(1)
			if prev != nil {
				prev.Failed(c.store.Now(), c.opts.RefreshBackoff, c.opts.RefreshBackoff*maxBackoffFactor)
			}
		}
		took := c.store.Now().Sub(began)
		c.settleL2(second, l.key, out)
		c.metrics.load(took, out.failed, f.State.err)
		c.watch.loadEnds(f.Context, l.key, took, f.State.err)
	}()
	c.watch.loadBegins(f.Context, l.key) // which may panic too
	began = c.store.Now()
	it, err := load(withLoading(f.Context, c, l.key), old(prev))
	out = c.settle(f, l, prev, it, err, birth{f.Gen, second.stamp, c.store.Now().Sub(began)})
	if out.failed && second.stale != nil && c.usable(l) == nil {
		prev = c.askL2Again(f, l, second.stale)
	}
}

// An outcome is what has become of a load.
type outcome[V any] struct {
	failed bool
	none   bool      // there is nothing of the key to be stored any more
	entry  *entry[V] // of what was loaded, also if it was not stored here since all is being looked up again; or nil
}

// settle stores what a load has returned, and hands it to those who wait.
func (c *Cache[V]) settle(f *flight[V], l lookup[V], prev *entry[V], it Item[V], err error, from birth) outcome[V] {
	if err == nil && it.NotModified {
		if it, err = renewed(l.key, prev, it); err == nil {
			c.stats.notModified.Add(1)
		}
	}
	notFound := errors.Is(err, ErrNotFound)
	switch {
	case err == nil || notFound:
	case errors.Is(f.Context.Err(), context.DeadlineExceeded):
		err = loadTimeout(l.key, err)
	case errors.Is(f.Context.Cause(), engine.ErrClosed):
		err = ErrClosed
	}
	*f.State = answer[V]{value: it.Value, err: err, at: c.store.Now(), tags: it.Tags}
	if err != nil && !notFound {
		return outcome[V]{failed: true}
	}
	if it.NoStore || notFound && orDefault(it.TTL, c.opts.NegativeTTL) == 0 {
		f.Publish(func() { c.store.Delete(l.hash, l.key) })
		return outcome[V]{none: true}
	}
	e := c.entry(l.key, &it, err, from)
	stored := false
	published := f.Publish(func() { stored = c.put(l.hash, e) })
	if !stored {
		c.stats.drops.Add(1)
		if !published || e.Value.cost > c.store.MaxEntry() {
			return outcome[V]{none: notFound}
		}
	}
	return outcome[V]{none: notFound, entry: e}
}

// renewed returns prev as a load has found it not to be modified: what the load
// does not say of it is as it was.
func renewed[V any](key string, prev *entry[V], it Item[V]) (Item[V], error) {
	was := old(prev)
	if was == nil {
		return it, fmt.Errorf("cachefetch: load of key %q returned NotModified, but was given no old value", key)
	}
	was.NoStore = it.NoStore
	was.ETag = cmp.Or(it.ETag, was.ETag)
	was.LastModified = cmp.Or(it.LastModified, was.LastModified)
	was.TTL = cmp.Or(it.TTL, was.TTL)
	was.StaleWhileRevalidate = cmp.Or(it.StaleWhileRevalidate, was.StaleWhileRevalidate)
	was.StaleIfError = cmp.Or(it.StaleIfError, was.StaleIfError)
	if it.Tags != nil {
		was.Tags = it.Tags
	}
	return *was, nil
}

// refresh has stored values loaded anew behind, except for those for which that
// is being done or has just failed. They take one worker together; if all are
// busy, they are left to a later caller.
func (c *Cache[V]) refresh(ctx context.Context, ls []lookup[V], of loadOf[V]) {
	now := c.store.Now()
	due := ls[:0]
	for _, l := range ls {
		if l.old.BeginRefresh(now) {
			due = append(due, l)
		}
	}
	if len(due) == 0 {
		return
	}
	if !c.pool.Acquire() {
		for _, l := range due {
			c.stats.refreshSkips.Add(1)
			l.old.EndRefresh()
		}
		for _, l := range due { // which may panic
			c.watch.refreshSkipped(ctx, l.key)
		}
		return
	}
	left := new(atomic.Int64)
	left.Store(int64(len(due)))
	for _, l := range due {
		load, done := of(l.key)
		c.refreshOne(ctx, l, load, func() {
			done()
			l.old.EndRefresh()
			if left.Add(-1) == 0 {
				c.pool.Release()
			}
		})
	}
}

// refreshOne calls done when the refresh is over, or was not begun because
// somebody waits for a load of the key as it is.
func (c *Cache[V]) refreshOne(ctx context.Context, l lookup[V], load LoadFunc[V], done func()) {
	// Nobody waits for it, so it is not nested in the load that caused it.
	t, err := c.flights.Join(withoutLoading(ctx), l.hash, l.key, c.start(l, load, done))
	if err != nil || !t.Leader {
		done()
	} else {
		c.stats.refreshes.Add(1)
		if l.old.State(c.store.Now()) == engine.Fresh {
			c.stats.earlyRefreshes.Add(1)
		}
	}
	if err == nil {
		t.Leave() // the flight is kept without waiters
	}
}
