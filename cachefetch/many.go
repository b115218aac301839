package cachefetch

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// maxBatches is how many calls of its load one FetchMany makes side by side.
const maxBatches = 4

// A BatchFunc loads the values of several keys, which are all different and in
// the order in which FetchMany was given them. The slice is its own. Keys that
// are not in the map it returns have no value, as [ErrNotFound] says; if it
// also returns an error, that is what became of them: a [KeyErrors] says it of
// each, any other error of all. Values beside an error count.
type BatchFunc[V any] func(ctx context.Context, keys []string) (map[string]V, error)

// KeyErrors is an error for a [BatchFunc] to return that failed for some keys.
type KeyErrors map[string]error

// Error implements error.
func (e KeyErrors) Error() string {
	for key, err := range e {
		if len(e) == 1 {
			return fmt.Sprintf("key %q: %v", key, err)
		}
		return fmt.Sprintf("%d keys, such as %q: %v", len(e), key, err)
	}
	return "no key"
}

// FetchMany is Fetch for many keys. What is missing is loaded in as few calls
// as Options.BatchSize allows, except for keys that are being loaded already, by
// whatever method: those it joins. Of the calls that one FetchMany begins, four
// run at a time at most, also when it has returned: keys whose turn has not come
// by SoftTimeout or before ctx ends are not loaded. Refreshes behind are bounded
// by Options.RefreshWorkers in place of that.
//
// There is one result for each of keys, in their order. Those that have no
// value say why in Err; if there are any, the error that FetchMany returns wraps
// that of the first. The others are as good as without it.
func (c *Cache[V]) FetchMany(ctx context.Context, keys []string, load BatchFunc[V]) ([]Result[V], error) {
	began := c.store.Now()
	first := make(map[string]int, len(keys)) // of each key, its place in all
	all := make([]arrival[V], 0, len(keys))
	var stale []lookup[V]
	for _, key := range keys {
		if _, dup := first[key]; dup {
			continue
		}
		first[key] = len(all)
		hash := maphash.String(c.seed, key)
		a := arrival[V]{lookup: lookup[V]{hash: hash, key: key, old: c.store.Get(hash, key), together: true}}
		now := c.store.Now() // after the look, as in Fetch
		served, refresh := c.serve(a.lookup, now)
		if refresh {
			stale = append(stale, a.lookup)
		}
		if served {
			a.arrive(c.stored(a.old, now, nil), now)
		}
		all = append(all, a)
	}
	for some := range slices.Chunk(stale, c.opts.BatchSize) {
		b := newBatch(c, load)
		c.refresh(ctx, some, b.expect)
		b.seal()
	}
	crash := c.waitMany(ctx, all, load)
	infos := make([]FetchInfo, len(all))
	for i, a := range all {
		c.stats.answer(a.Source, a.hash)
		infos[i] = infoOf(a.lookup, a.Result, a.at.Sub(began))
	}
	c.watch.fetched(ctx, infos)
	if crash != nil {
		crash.raise()
	}
	var failed error
	results := make([]Result[V], len(keys))
	for i, key := range keys {
		results[i] = all[first[key]].Result
		if r := &results[i]; r.Source == None && failed == nil {
			failed = fmt.Errorf("cachefetch: key %q: %w", key, r.Err)
		}
	}
	return results, failed
}

// An arrival is what a FetchMany gets for one key.
type arrival[V any] struct {
	lookup[V]
	Result[V]
	at   engine.Instant // when it came
	here bool
}

func (a *arrival[V]) arrive(r Result[V], at engine.Instant) { a.Result, a.at, a.here = r, at, true }

// A manyWait is what a FetchMany waits for.
type manyWait[V any] struct {
	cache  *Cache[V]
	ctx    context.Context
	load   BatchFunc[V]
	called call

	waits sync.WaitGroup
	mu    sync.Mutex
	crash *PanicError // guarded by mu; of a load that it began
}

// waitMany waits for what of all is not here yet, in batches of which few are
// under way at a time. It returns how a load that it began has crashed.
func (c *Cache[V]) waitMany(ctx context.Context, all []arrival[V], load BatchFunc[V]) *PanicError {
	m := &manyWait[V]{cache: c, ctx: ctx, load: load, called: c.call()}
	var missing []*arrival[V]
	for i := range all {
		if !all[i].here {
			missing = append(missing, &all[i])
		}
	}
	var soft <-chan time.Time
	if d := c.opts.SoftTimeout; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		soft = timer.C
	}
	turns := make(chan struct{}, maxBatches)
	for len(missing) > 0 {
		select {
		case turns <- struct{}{}:
			some := missing[:min(c.opts.BatchSize, len(missing))]
			missing = missing[len(some):]
			m.waits.Add(1)
			go m.turn(some, turns)
		case <-soft:
			missing = slices.DeleteFunc(missing, m.softly)
		case <-ctx.Done():
			for _, a := range missing {
				a.arrive(Result[V]{Err: ctx.Err()}, c.store.Now())
			}
			missing = nil
		}
	}
	m.waits.Wait()
	return m.crash
}

// softly has the old value of a arrive, if it may be returned, and reports
// whether it has.
func (m *manyWait[V]) softly(a *arrival[V]) bool {
	e, now := m.cache.usable(a.lookup), m.cache.store.Now()
	if e != nil {
		a.arrive(m.cache.stored(e, now, m.cache.waitError(m.ctx, a.key, engine.ErrWaitTimeout)), now)
	}
	return e != nil
}

// turn waits for some keys. It takes up one of turns until the calls that were
// begun for them are over, whether or not anyone waits for that.
func (m *manyWait[V]) turn(some []*arrival[V], turns <-chan struct{}) {
	var calls []*batch[V]
	for len(some) > 0 {
		b := newBatch(m.cache, m.load)
		calls = append(calls, b)
		some = m.wait(some, b)
	}
	m.waits.Done()
	for _, b := range calls {
		<-b.done
	}
	<-turns
}

// wait joins the loads of some keys or begins them by one batch, and waits for
// them. It returns those for which it has to be asked again: what it joined has
// been purged.
func (m *manyWait[V]) wait(some []*arrival[V], b *batch[V]) (again []*arrival[V]) {
	c := m.cache
	shares := make([]share[V], len(some))
	for i, a := range some {
		var err error
		if shares[i], err = c.join(m.ctx, a.lookup, b.expect); err != nil {
			a.arrive(Result[V]{Err: err}, c.store.Now())
		}
	}
	b.seal()
	for i, a := range some {
		if a.here {
			continue
		}
		r, crash, ok := c.await(m.ctx, shares[i], a.lookup, m.called)
		if !ok {
			again = append(again, a)
			continue
		}
		a.arrive(r, c.store.Now())
		if crash != nil {
			m.mu.Lock()
			m.crash = crash
			m.mu.Unlock()
		}
	}
	return again
}
