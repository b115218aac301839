package cachefetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/guard"
	"github.com/freshet-go/freshet/internal/inbound"
)

// start describes a flight that runs load and stores what it returns. inner is
// the work that waits for it, or nil. done is called when the run is over,
// however it ends.
func (c *Cache[V]) start(l lookup[V], load LoadFunc[V], inner *work, done func()) engine.Start[*answer[V]] {
	return engine.Start[*answer[V]]{
		Timeout: c.opts.LoadTimeout,
		Keep:    true, // nearly every result is worth storing
		Gen:     c.store.Generation,
		State: func(*flight[V]) *answer[V] {
			a := &answer[V]{work: &work{cache: c, keys: []string{l.key}, outer: inner}}
			inner.await(a.work) // which waits for nothing yet
			return a
		},
		Joins: func(f *flight[V]) bool {
			return !c.store.Superseded(f.Gen, c.store.Newest(), &item[V]{key: l.key}, nil)
		},
		Run: func(f *flight[V]) {
			defer done()
			defer f.State.work.end()
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
	inTime := c.backOffAtDeadline(f, prev)
	began := c.store.Now()
	out := outcome[V]{failed: true}
	guard.Catch(func() {
		c.watch.loadBegins(f.Context, l.key)
		it, err := load(f.State.work.context(f.Context), old(prev))
		out = c.settle(f, l, prev, it, err, birth{gen: f.Gen, stamp: second.stamp, took: c.store.Now().Sub(began)})
	}, func(crash *guard.Crash) {
		late := !inTime()
		if out.failed && second.stale != nil && c.usable(l) == nil {
			prev = c.askL2Again(f, l, second.stale)
		}
		if out.failed && !late {
			c.backOff(f, l.key, prev)
		}
		c.ended(f, l.key, c.store.Now().Sub(began), out, second, crash)
		if crash != nil {
			panic(crash)
		}
	})
}

// backOffAtDeadline has prev left alone for a while if the load that is to
// replace it does not return in time. The load calls inTime when it does.
func (c *Cache[V]) backOffAtDeadline(f *flight[V], prev *entry[V]) (inTime func() bool) {
	if prev == nil {
		return func() bool { return true }
	}
	return f.Context.AfterFunc(func() {
		if f.Context.Cause() == context.DeadlineExceeded {
			c.backOff(f, prev.Value.key, prev)
		}
	})
}

// backOff has a key left alone for a while after a load of it has failed: its
// old value, which may be nil, is not refreshed, and if it cannot be returned,
// the error of the load is.
func (c *Cache[V]) backOff(f *flight[V], key string, prev *entry[V]) {
	now := c.store.Now()
	if prev != nil {
		prev.Failed(now, c.opts.RefreshBackoff, min(c.opts.RefreshBackoff, engine.ForEver/maxBackoffFactor)*maxBackoffFactor)
		if prev.Usable(now) {
			return
		}
	}
	f.Publish(func() { // not if the key was deleted, nor if the load was late
		// ErrNested is about who waits for whom: the next load need not have it.
		if err := f.State.err; err != nil && !errors.Is(err, ErrNested) {
			c.failures.note(key, failure{err, f.Gen, now.Add(c.opts.FailureTTL)}, now)
		}
	})
}

// ended counts and shows what has become of a load.
func (c *Cache[V]) ended(f *flight[V], key string, took time.Duration, out outcome[V], second l2Load[V], crash *guard.Crash) {
	err := f.State.err
	if crash != nil {
		p := panicError(key, crash)
		if err = p; f.Waiters() == 0 {
			c.opts.Logger.ErrorContext(f.Context, "cachefetch: a load crashed that nobody waits for", "error", p, "stack", string(p.Stack))
		}
	}
	if out.failed {
		c.stats.loadErrors.Add(1)
	}
	c.settleL2(second, key, out)
	c.metrics.load(took, out.failed, err)
	c.watch.loadEnds(f.Context, key, took, err)
}

// An outcome is what has become of a load.
type outcome[V any] struct {
	failed bool
	none   bool      // there is nothing of the key to be stored any more
	entry  *entry[V] // of what was loaded, also if it was not stored here since all is being looked up again; or nil
}

// settle stores what a load has returned, and hands it to those who wait.
func (c *Cache[V]) settle(f *flight[V], l lookup[V], prev *entry[V], it Item[V], err error, from birth) outcome[V] {
	same := err == nil && it.NotModified
	if same {
		if it, err = renewed(l.key, prev, it); err == nil {
			c.stats.notModified.Add(1)
		}
	}
	err = loadError(f.Context, l.key, err)
	_, notFound := err.(*absence)
	stores := err == nil && !it.NoStore || notFound && orDefault(it.TTL, c.opts.NegativeTTL) > 0
	if same && err == nil {
		from.size = prev.Value.size
	} else if stores && err == nil {
		from.size = c.size(it.Value) // with the room that clip takes, which it keeps alive
	}
	clip(&it.Value)
	f.State.reply = reply[V]{value: it.Value, err: err, at: c.store.Now(), tags: it.Tags}
	switch {
	case err != nil && !notFound:
		return outcome[V]{failed: true}
	case !stores:
		published := f.Publish(func() { c.store.Delete(l.hash, l.key) })
		return outcome[V]{none: published}
	}
	return c.publish(f, l, c.entry(l.key, &it, err, from))
}

// publish stores e, the result of a load, unless the load was overtaken.
func (c *Cache[V]) publish(f *flight[V], l lookup[V], e *entry[V]) outcome[V] {
	stored, notFound := false, e.Value.err != nil
	published := f.Publish(func() { stored = c.put(l.hash, e) })
	if !stored {
		c.stats.drops.Add(1)
	}
	if !published || c.cost(e) > c.store.MaxEntry() {
		return outcome[V]{none: published && notFound}
	}
	return outcome[V]{none: notFound, entry: e}
}

// loadError returns err, with which a load of key has ended, as those who wait
// get it.
func loadError(ctx *engine.Detached, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case isAbsence(err):
		return &absence{err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return loadTimeout(key, err)
	case errors.Is(ctx.Cause(), engine.ErrClosed):
		return ErrClosed
	case errors.Is(err, ErrNotFound):
		return &foreign{err}
	}
	return err
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
// busy, they are left to a later caller, and so they are if this one's context
// has ended.
func (c *Cache[V]) refresh(ctx context.Context, ls []lookup[V], of loadOf[V]) {
	if ctx.Err() != nil {
		return
	}
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
		for _, l := range due { // only now: it may panic
			c.watch.refreshSkipped(ctx, l.key)
		}
		return
	}
	ctx = inbound.Without(ctx) // who asked has an answer already
	left := new(atomic.Int64)
	left.Store(int64(len(due)))
	for _, l := range due {
		load, done := of(l.key)
		c.refreshOne(ctx, l, load, done, func() {
			l.old.EndRefresh()
			if left.Add(-1) == 0 {
				c.pool.Release()
			}
		})
	}
}

// refreshOne calls done when the load is over, or was not begun because somebody
// waits for one of the key as it is. It calls free when the worker is needed no
// longer: then, or at the deadline of a load that does not heed it.
func (c *Cache[V]) refreshOne(ctx context.Context, l lookup[V], load LoadFunc[V], done, free func()) {
	t, err := c.flights.Join(ctx, l.hash, l.key, c.start(l, load, nil, done))
	if err != nil || !t.Leader {
		done()
		free()
	} else {
		c.stats.refreshes.Add(1)
		if l.old.State(c.store.Now()) == engine.Fresh {
			c.stats.earlyRefreshes.Add(1)
		}
		t.Context.AfterFunc(func() { // it ends when the load is over, too
			if t.Context.Cause() != context.DeadlineExceeded {
				<-t.Over() // Close waits for it
			}
			free()
		})
	}
	if err == nil {
		t.Leave() // the flight is kept without waiters
	}
}
