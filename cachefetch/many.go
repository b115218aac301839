package cachefetch

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/guard"
)

// maxBatches is how many calls of its load one FetchMany makes side by side.
const maxBatches = 4

// A BatchFunc loads the values of several keys, which are all different. Keys
// that are not in the map it returns have no value, as [ErrNotFound] says; if it
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
// as Options.BatchSize allows, four of them at most at a time, except for keys
// that are being loaded already, by whatever method: those it joins.
//
// There is one result for each of keys, in their order. Those that have no
// value say why in Err; if there are any, the error that FetchMany returns wraps
// that of the first. The others are as good as without it.
func (c *Cache[V]) FetchMany(ctx context.Context, keys []string, load BatchFunc[V]) ([]Result[V], error) {
	began := c.store.Now()
	results := make([]Result[V], len(keys))
	first := make(map[string]int, len(keys))
	var shown []FetchInfo // to the Observer, when all is done: it may panic
	answer := func(l lookup[V], r Result[V]) {
		results[first[l.key]] = r
		c.stats.answer(r.Source, l.hash)
		if c.watch.Fetched != nil {
			shown = append(shown, FetchInfo{Key: l.key, Source: r.Source, Age: r.Age, Wait: c.store.Now().Sub(began), Err: r.Err})
		}
	}
	var stale, missing []lookup[V]
	for i, key := range keys {
		if _, dup := first[key]; dup {
			continue
		}
		first[key] = i
		hash := maphash.String(c.seed, key)
		l := lookup[V]{hash: hash, key: key, old: c.store.Get(hash, key), together: true}
		served, refresh := c.serve(l, began)
		if refresh {
			stale = append(stale, l)
		}
		if served {
			answer(l, c.stored(l.old, began, nil))
		} else {
			missing = append(missing, l)
		}
	}
	for some := range slices.Chunk(stale, c.opts.BatchSize) {
		b := newBatch(c, load)
		c.refresh(ctx, some, b.expect)
		b.seal()
	}
	crash := c.waitMany(ctx, missing, load, answer)
	c.show(ctx, shown)
	if crash != nil {
		crash.Raise()
	}
	var failed error
	for i, key := range keys {
		results[i] = results[first[key]]
		if r := &results[i]; r.Source == None && failed == nil {
			failed = fmt.Errorf("cachefetch: key %q: %w", key, r.Err)
		}
	}
	return results, failed
}

// show tells the Observer of the keys of one FetchMany. A panic of it is the
// caller's, as in Fetch; but that it ends its goroutine must not leave the
// caller without its results.
func (c *Cache[V]) show(ctx context.Context, infos []FetchInfo) {
	if len(infos) == 0 {
		return
	}
	crash := guard.Run(func() {
		for _, info := range infos {
			c.watch.Fetched(ctx, info)
		}
	})
	if crash != nil && crash.Value != nil {
		crash.Raise()
	}
}

// waitMany waits for the loads of different keys, and calls answer for each of
// them, by one goroutine at a time. It returns how load has crashed, if it has.
func (c *Cache[V]) waitMany(ctx context.Context, ls []lookup[V], load BatchFunc[V], answer func(lookup[V], Result[V])) (crash *engine.Crash) {
	var (
		mu    sync.Mutex // held to call answer
		group errgroup.Group
	)
	group.SetLimit(maxBatches)
	for some := range slices.Chunk(ls, c.opts.BatchSize) {
		group.Go(func() error {
			results, crashed := c.waitBatch(ctx, some, load)
			mu.Lock()
			defer mu.Unlock()
			for i, r := range results {
				answer(some[i], r)
			}
			if crashed != nil {
				crash = crashed
			}
			return nil
		})
	}
	_ = group.Wait() // it has no errors
	return crash
}

// waitBatch joins or begins the loads of keys that make one batch, and waits
// for them. Those of what it has joined that do not do, since they were purged
// before the call, make one batch again. That is good enough for all of them:
// it begins after the call.
func (c *Cache[V]) waitBatch(ctx context.Context, ls []lookup[V], load BatchFunc[V]) (results []Result[V], crash *engine.Crash) {
	called := c.call()
	results = make([]Result[V], len(ls))
	left := make([]int, len(ls)) // of ls
	for i := range ls {
		left[i] = i
	}
	for len(left) > 0 {
		tickets := make([]*ticket[V], len(left))
		b := newBatch(c, load)
		for n, i := range left {
			tickets[n], results[i].Err = c.join(ctx, ls[i], b.expect)
		}
		b.seal()
		var again []int
		for n, i := range left {
			if tickets[n] == nil {
				continue
			}
			r, crashed, ok := c.await(ctx, tickets[n], ls[i], called)
			if !ok {
				again = append(again, i)
			} else if results[i] = r; crashed != nil {
				crash = crashed
			}
		}
		left = again
	}
	return results, crash
}
