package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sideBySide counts how many calls of a BatchFunc run at once.
type sideBySide struct{ now, most, calls atomic.Int64 }

// slow returns a load that takes a while, whatever its context says.
func (s *sideBySide) slow(took time.Duration) BatchFunc[string] {
	return func(_ context.Context, keys []string) (map[string]string, error) {
		s.calls.Add(1)
		n := s.now.Add(1)
		defer s.now.Add(-1)
		for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
		}
		time.Sleep(took)
		values := make(map[string]string)
		for _, key := range keys {
			values[key] = "v"
		}
		return values, nil
	}
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	return keys
}

// What a FetchMany has under way is bounded by the calls of its load, not by who
// waits for them.
func TestFetchManyIsBoundedWhateverItsCallerDoes(t *testing.T) {
	o := Options[string]{MaxBytes: 16 << 20, BatchSize: 10, TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 50 * time.Millisecond}
	for name, call := range map[string]func(t *testing.T, c *Cache[string], keys []string, load BatchFunc[string]){
		"leaves": func(t *testing.T, c *Cache[string], keys []string, load BatchFunc[string]) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := c.FetchMany(ctx, keys, load); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		},
		"leaves again and again": func(t *testing.T, c *Cache[string], keys []string, load BatchFunc[string]) {
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				_, _ = c.FetchMany(ctx, keys, load)
				cancel()
			}
		},
		"had left before it came": func(t *testing.T, c *Cache[string], keys []string, load BatchFunc[string]) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = c.FetchMany(ctx, keys, load)
		},
		"has old values and no patience": func(t *testing.T, c *Cache[string], keys []string, load BatchFunc[string]) {
			for _, key := range keys {
				set(t, c, key, "old")
			}
			time.Sleep(2 * time.Second)
			began := time.Now()
			results, err := c.FetchMany(t.Context(), keys, load)
			if took := time.Since(began).Round(time.Microsecond); err != nil || took != 50*time.Millisecond {
				t.Errorf("%v after %v", err, took)
			}
			for i, r := range results {
				if r.Value != "old" || r.Source != Stale || !errors.Is(r.Err, ErrWaitTimeout) {
					t.Fatalf("%d: %+v", i, r)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, c *Cache[string]) {
				var s sideBySide
				call(t, c, numbered(1000), s.slow(time.Second))
				synctest.Wait()
				if n := s.most.Load(); n > maxBatches {
					t.Errorf("%d calls at once", n)
				}
				time.Sleep(time.Minute)
				if n := s.calls.Load(); n > maxBatches {
					t.Errorf("%d calls for nobody", n)
				}
			})
		})
	}
}

// Of keys that wait for their turn, those without an old value go on waiting.
func TestFetchManySoftTimeoutIsForThoseWithOldValues(t *testing.T) {
	o := Options[string]{BatchSize: 1, TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 50 * time.Millisecond}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		keys := numbered(10)
		for _, key := range keys[5:] {
			set(t, c, key, "old")
		}
		time.Sleep(2 * time.Second)
		var s sideBySide
		results, err := c.FetchMany(t.Context(), keys, s.slow(time.Second))
		for i, r := range results {
			if want := map[bool]string{true: "v", false: "old"}[i < 5]; r.Value != want {
				t.Errorf("%d: %+v, want %q", i, r, want)
			}
		}
		if err != nil || s.calls.Load() != 5 {
			t.Errorf("%v, %d calls", err, s.calls.Load())
		}
	})
}

func TestAContextThatHasEndedBeginsNoLoad(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleWhileRevalidate: time.Minute}, func(t *testing.T, c *Cache[string]) {
		set(t, c, "stale", "old")
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var l loader
		load := l.returns("v", nil, 0)
		many := func(ctx context.Context, keys []string) (map[string]string, error) {
			_, err := load(ctx)
			return nil, err
		}
		if err := fetchError(c, ctx, "key", load); err != context.Canceled {
			t.Errorf("Fetch: %v", err)
		}
		if v, err := c.Fetch(ctx, "stale", load); v != "old" || err != nil {
			t.Errorf("Fetch of what is stale: %q, %v", v, err)
		}
		rs, err := c.FetchMany(ctx, []string{"key", "stale"}, many)
		if !errors.Is(err, context.Canceled) || rs[1].Value != "old" {
			t.Errorf("FetchMany: %+v, %v", rs, err)
		}
		synctest.Wait()
		l.want(t, 0)
	})
}

func TestABatchFuncGetsASliceOfItsOwnInTheCallersOrder(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		keys := []string{"d", "b", "c", "b", "a"}
		var got []string
		_, err := c.FetchMany(t.Context(), keys, func(ctx context.Context, keys []string) (map[string]string, error) {
			got = slices.Clone(keys)
			values := make(map[string]string)
			for _, key := range keys {
				values[key] = key
			}
			clear(keys)
			if err := fetchError(c, ctx, "a", nil); !errors.Is(err, ErrNested) {
				t.Errorf("a fetch of one of its keys: %v", err)
			}
			return values, nil
		})
		if want := []string{"d", "b", "c", "a"}; !slices.Equal(got, want) || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		if want := []string{"d", "b", "c", "b", "a"}; !slices.Equal(keys, want) {
			t.Errorf("the caller's keys are %q now", keys)
		}
	})
}

// What a FetchMany joined and was purged meanwhile is loaded again together.
func TestFetchManyLoadsWhatWasPurgedInOneBatch(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		keys := numbered(50)
		wait := together(1, func(int) {
			var wg sync.WaitGroup
			for _, key := range keys[:40] {
				wg.Go(func() {
					_, _ = c.FetchItem(t.Context(), key, func(context.Context, *Item[string]) (Item[string], error) {
						time.Sleep(time.Second)
						return Item[string]{Value: "old", Tags: []string{"tag"}}, nil
					})
				})
			}
			wg.Wait()
		})
		if err := c.PurgeTag(t.Context(), "tag", Hard); err != nil {
			t.Fatal(err)
		}
		var s sideBySide
		began := time.Now()
		results, err := c.FetchMany(t.Context(), keys, s.slow(time.Second))
		for i, r := range results {
			if r.Value != "v" {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if took := time.Since(began); err != nil || took != 2*time.Second || s.calls.Load() != 2 {
			t.Errorf("%v, %d calls after %v, want 2 calls and 2s", err, s.calls.Load(), took)
		}
		wait()
	})
}

// An Observer that crashes costs no result, and nobody else anything: Fetch and
// FetchMany panic in the caller, and Goexit stays where it is.
func TestAnObserverThatCrashes(t *testing.T) {
	values := func(context.Context, []string) (map[string]string, error) {
		return map[string]string{"a": "v", "b": "v"}, nil
	}
	var told atomic.Int64
	exits := &Observer{Fetched: func(context.Context, FetchInfo) { told.Add(1); runtime.Goexit() }}
	bubble(t, Options[string]{Observer: exits}, func(t *testing.T, c *Cache[string]) {
		wantMany(t, c, "a b", values, "v:loaded v:loaded")
		if told.Load() != 2 {
			t.Errorf("told of %d keys, want 2", told.Load())
		}
	})
	bad := errors.New("observer")
	panics := &Observer{Fetched: func(context.Context, FetchInfo) { panic(bad) }}
	bubble(t, Options[string]{Observer: panics}, func(t *testing.T, c *Cache[string]) {
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, bad) {
					t.Errorf("recovered %v", err)
				}
			}()
			_, _ = c.FetchMany(t.Context(), []string{"a", "b"}, values)
		}()
		wantGet(t, c, "a", "v")
	})
	skipped := &Observer{RefreshSkipped: func(context.Context, string) { panic(bad) }}
	o := Options[string]{TTL: time.Second, StaleWhileRevalidate: time.Hour, RefreshWorkers: 1, BatchSize: 2, Observer: skipped}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		for _, key := range []string{"a", "b", "busy"} {
			set(t, c, key, "old")
		}
		time.Sleep(2 * time.Second)
		var l loader
		wantFetch(t, c, "busy", l.returns("new", nil, time.Second), "old", nil)
		func() {
			defer func() { _ = recover() }()
			_, _ = c.FetchMany(t.Context(), []string{"a", "b"}, values)
		}()
		time.Sleep(2 * time.Second)
		wantMany(t, c, "a b", values, "old:stale old:stale") // both may be refreshed
		synctest.Wait()
		wantMany(t, c, "a b", values, "v:fresh v:fresh")
	})
	ends := &Observer{LoadEnds: func(context.Context, string, time.Duration, error) { runtime.Goexit() }}
	bubble(t, Options[string]{Observer: ends}, func(t *testing.T, c *Cache[string]) {
		together(2, func(int) { _, _ = c.FetchMany(t.Context(), []string{"a", "b"}, values) })()
		wantGet(t, c, "a", "v")
	})
}

// Who would have got an old value at SoftTimeout waits on if that was removed.
func TestSoftTimeoutWithoutTheOldValue(t *testing.T) {
	o := Options[string]{TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 2 * time.Second, BatchSize: 1}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		keys := numbered(6) // two more than run at a time
		for _, key := range keys {
			set(t, c, key, "old")
		}
		time.Sleep(2 * time.Second)
		time.AfterFunc(time.Second, func() {
			if err := c.Flush(t.Context(), Hard); err != nil {
				t.Error(err)
			}
		})
		var s sideBySide
		results, err := c.FetchMany(t.Context(), keys, s.slow(3*time.Second))
		for i, r := range results {
			if r.Value != "v" || r.Source != Loaded {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}
