package cachefetch

// What ristretto by itself gets wrong as a cache, one test for each.

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// Ristretto's Set is asynchronous: a Get right after it misses.
func TestR1VisibleAtOnce(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 16 << 20}, func(t *testing.T, c *Cache[string]) {
		var l loader
		for i := range 5000 {
			set(t, c, fmt.Sprint("set", i), "v")
			wantGet(t, c, fmt.Sprint("set", i), "v")
			wantFetch(t, c, fmt.Sprint("fetched", i), l.returns("v", nil, 0), "v", nil)
			wantGet(t, c, fmt.Sprint("fetched", i), "v")
		}
		l.want(t, 5000)
	})
}

// Its Set drops what does not fit its queue: 76 % in such a flood.
func TestR2FloodLosesNothing(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 64 << 20}, func(t *testing.T, c *Cache[string]) {
		const writers, each = 16, 1000
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					set(t, c, fmt.Sprint(w, "/", i), "v")
				}
			})
		}
		wg.Wait()
		for w := range writers {
			for i := range each {
				wantGet(t, c, fmt.Sprint(w, "/", i), "v")
			}
		}
		if s := c.Stats(); s.Entries != writers*each || s.Evictions != 0 {
			t.Errorf("%d entries, %d evictions", s.Entries, s.Evictions)
		}
	})
}

// A dropped Set means a second load: 2,394 instead of 300.
func TestR3SixteenWritersThreeHundredLoads(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 64 << 20}, func(t *testing.T, c *Cache[string]) {
		var l loader
		var done atomic.Bool
		var writers, clients sync.WaitGroup
		for w := range 16 {
			writers.Go(func() {
				for i := 0; !done.Load(); i++ {
					set(t, c, fmt.Sprint("written", w, "/", i%500), "v")
					runtime.Gosched()
				}
			})
		}
		for range 8 {
			clients.Go(func() {
				for i := range 300 {
					wantFetch(t, c, fmt.Sprint("key", i), l.returns("v", nil, 0), "v", nil)
				}
			})
		}
		clients.Wait()
		done.Store(true)
		writers.Wait()
		l.want(t, 300)
	})
}

// Waiting for it must not happen under a lock, nor on a hit: a load that hangs
// and a Cost that is slow delay nobody else.
func TestR4R15SlowCallbacksDelayNobody(t *testing.T) {
	release := make(chan struct{})
	cost := func(v string) int64 {
		if v == "slow" {
			<-release
		}
		return int64(len(v))
	}
	c := newTest(t, Options[string]{Cost: cost})
	var slow sync.WaitGroup
	slow.Go(func() { set(t, c, "slow", "slow") })
	slow.Go(func() {
		wantFetch(t, c, "loaded", func(context.Context) (string, error) { return "slow", nil }, "slow", nil)
	})
	for i := range 2000 {
		key := fmt.Sprint("key", i)
		set(t, c, key, "v")
		wantGet(t, c, key, "v")
	}
	wantGet(t, c, "slow", "")
	close(release)
	slow.Wait()
	wantGet(t, c, "slow", "slow")
	wantGet(t, c, "loaded", "slow")
}

// Of two Sets of a new key the older one wins there, for the whole TTL.
func TestR5NewestWins(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 16 << 20}, func(t *testing.T, c *Cache[string]) {
		for i := range 5000 {
			key := fmt.Sprint("key", i)
			set(t, c, key, "old")
			set(t, c, key, "new")
		}
		for i := range 5000 {
			wantGet(t, c, fmt.Sprint("key", i), "new")
		}
	})
}

// What was deleted reappears there for a moment, from the queue.
func TestR6DeleteThenOldNeverReappears(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 16 << 20}, func(t *testing.T, c *Cache[string]) {
		var deleted atomic.Int64
		var wg sync.WaitGroup
		for range 2 { // watch the keys already deleted
			wg.Go(func() {
				for n := int64(0); n < 3000; n = deleted.Load() {
					for i := max(0, n-50); i < n; i++ {
						wantGet(t, c, fmt.Sprint("key", i), "")
					}
					runtime.Gosched()
				}
			})
		}
		for i := range 3000 {
			set(t, c, fmt.Sprint("key", i), "old")
			if err := c.Delete(t.Context(), fmt.Sprint("key", i)); err != nil {
				t.Fatal(err)
			}
			deleted.Store(int64(i + 1))
		}
		wg.Wait()
		if s := c.Stats(); s.Entries != 0 {
			t.Errorf("%d entries are left", s.Entries)
		}
	})
}

// Updates never evict there: values that grow go past the budget.
func TestR7UpdateGrowthStaysInBudget(t *testing.T) {
	bubble(t, Options[string]{MaxBytes: 64 << 10}, func(t *testing.T, c *Cache[string]) {
		for size := 100; size < 12<<10; size += 500 {
			for k := range 10 {
				key := fmt.Sprint("key", k)
				err := c.Set(t.Context(), key, strings.Repeat("x", size))
				if fits := size < 7<<10; fits && err != nil || !fits && size > 11<<10 && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("Set of %d bytes: %v", size, err)
				}
				if v, ok := c.Get(key); ok && len(v) != size {
					t.Fatalf("%d bytes are stored where %d were set", len(v), size)
				} else if ok == errors.Is(err, ErrTooLarge) {
					t.Fatalf("Set of %d bytes: %v, stored %v", size, err, ok)
				}
				if s := c.Stats(); s.Bytes > s.MaxBytes {
					t.Fatalf("%d bytes held of %d", s.Bytes, s.MaxBytes)
				}
			}
		}
	})
}

// Cost is bytes, all of them, and a cost function cannot break the account.
func TestR8CostIsBytes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cost     func(string) int64
		min, max int64 // for a value of 1000 bytes under a key of 500
		err      error
	}{
		{"estimated, with key and bookkeeping", nil, 1500, 2100, nil},
		{"given", func(s string) int64 { return int64(len(s)) }, 1500, 2100, nil},
		{"zero: key and bookkeeping still count", func(string) int64 { return 0 }, 501, 1000, nil},
		{"negative counts as zero", func(string) int64 { return math.MinInt64 }, 501, 1000, nil},
		{"more than there is", func(string) int64 { return 1 << 30 }, 0, 0, ErrTooLarge},
		{"as much as a number can hold", func(string) int64 { return math.MaxInt64 }, 0, 0, ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newTest(t, Options[string]{Cost: tt.cost})
			key := strings.Repeat("k", 500)
			if err := c.Set(t.Context(), key, strings.Repeat("v", 1000)); !errors.Is(err, tt.err) {
				t.Fatalf("Set: %v, want %v", err, tt.err)
			}
			if s := c.Stats(); s.Bytes < tt.min || s.Bytes > tt.max {
				t.Errorf("%d bytes are held, want between %d and %d", s.Bytes, tt.min, tt.max)
			}
			if err := c.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if s := c.Stats(); s.Bytes != 0 || s.WindowBytes != 0 {
				t.Errorf("empty, it holds %d bytes", s.Bytes)
			}
		})
	}
}

// Expired entries keep their memory there, and a key can become immortal.
func TestR10TTL(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Minute, MaxBytes: 16 << 20}, func(t *testing.T, c *Cache[string]) {
		var l loader
		wantFetch(t, c, "key", l.returns("first", nil, 0), "first", nil)
		time.Sleep(time.Minute - 1)
		wantFetch(t, c, "key", l.returns("second", nil, 0), "first", nil)
		time.Sleep(time.Nanosecond) // age equals lifetime
		wantGet(t, c, "key", "")
		wantFetch(t, c, "key", l.returns("second", nil, 0), "second", nil)
		set(t, c, "key", "third") // an update gets a lifetime too
		time.Sleep(time.Minute)
		wantGet(t, c, "key", "")
		l.want(t, 2)

		for i := range 1000 {
			set(t, c, fmt.Sprint("key", i), "v")
		}
		time.Sleep(time.Minute)
		for range 1000 {
			set(t, c, "other", "v")
		}
		if s := c.Stats(); s.Entries > 1 {
			t.Errorf("%d entries are held of which one is of use", s.Entries)
		}
	})
}

func TestR10TTLWithoutEnd(t *testing.T) {
	bubble(t, Options[string]{TTL: math.MaxInt64, StaleIfError: math.MaxInt64}, func(t *testing.T, c *Cache[string]) {
		set(t, c, "key", "v")
		time.Sleep(time.Hour)
		wantGet(t, c, "key", "v")
	})
}

// Entries vanish there at their TTL, so it has to be the end of all windows.
func TestR11StaleHorizon(t *testing.T) {
	o := Options[string]{TTL: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: 2 * time.Minute}
	for _, tt := range []struct {
		name string
		age  time.Duration
		want string
		err  error
	}{
		{"fresh", time.Minute - 1, "old", nil},
		{"revalidating", time.Minute, "old", nil},
		{"end of revalidating", 2*time.Minute - 1, "old", nil},
		{"only after an error", 2 * time.Minute, "old", nil},
		{"end of the error window", 3*time.Minute - 1, "old", nil},
		{"gone", 3 * time.Minute, "", errUpstream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, c *Cache[string]) {
				var l loader
				set(t, c, "key", "old")
				time.Sleep(tt.age)
				wantFetch(t, c, "key", l.returns("", errUpstream, 0), tt.want, tt.err)
				synctest.Wait()
			})
		})
	}
}

// Set, Wait and Del racing Close panic or hang there.
func TestR12CloseRaces(t *testing.T) {
	for range 30 {
		c, err := New(Options[string]{MaxBytes: 64 << 10, TTL: 1, StaleWhileRevalidate: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var l loader
		start := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				<-start
				for i := range 200 {
					key := fmt.Sprint("key", (w+i)%20)
					for _, err := range []error{
						c.Set(t.Context(), key, "v"),
						c.Delete(t.Context(), fmt.Sprint("key", i%7)),
						fetchError(c, t.Context(), key, l.returns("v", nil, 0)),
					} {
						if err != nil && !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
					}
					c.Get(key)
					c.Stats()
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				<-start
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if err := c.Set(t.Context(), "key", "v"); !errors.Is(err, ErrClosed) {
			t.Fatalf("Set after Close: %v", err)
		}
		if err := fetchError(c, t.Context(), "key", l.returns("v", nil, 0)); !errors.Is(err, ErrClosed) {
			t.Fatalf("Fetch after Close: %v", err)
		}
		if err := c.Delete(t.Context(), "key"); !errors.Is(err, ErrClosed) {
			t.Fatalf("Delete after Close: %v", err)
		}
		wantGet(t, c, "key", "")
	}
}

func fetchError(c *Cache[string], ctx context.Context, key string, load func(context.Context) (string, error)) error {
	_, err := c.Fetch(ctx, key, load)
	return err
}

// It keeps hashes, not keys. Here another key is put where "bob" belongs.
func TestR14R18FullKeyCompared(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		collide := func() {
			c.store.Put(maphash.String(c.seed, "bob"), &engine.Entry[item[string]]{
				Value: item[string]{key: "alice", value: "alice's"},
				Times: engine.NewTimes(c.store.Now(), time.Hour, time.Hour, time.Hour),
				Gen:   c.store.Generation(),
			}, 500, 0)
		}
		collide()
		wantGet(t, c, "bob", "")
		wantFetch(t, c, "bob", l.returns("bob's", nil, 0), "bob's", nil)
		wantGet(t, c, "bob", "bob's")
		collide()
		wantFetch(t, c, "bob", l.returns("", errUpstream, 0), "", errUpstream)
		l.want(t, 2)
	})
}

// Its shards and counters take the low bits of the hash as they are, and a
// hash without a seed can be flooded.
func TestR17HashIsSeededAndMixed(t *testing.T) {
	a, b := newTest(t, Options[string]{}), newTest(t, Options[string]{})
	if maphash.String(a.seed, "key") == maphash.String(b.seed, "key") {
		t.Error("two caches hash a key alike")
	}
	const n, buckets = 64_000, 64
	var low, high [buckets]int
	for i := range n {
		h := maphash.String(a.seed, fmt.Sprint("/products/", i))
		low[h%buckets]++
		high[h>>58]++
	}
	for i := range buckets { // 8 standard deviations of a fair hash are 250
		if d := low[i] - n/buckets; max(d, -d) > 250 {
			t.Errorf("low bits %d: %d of %d keys", i, low[i], n)
		}
		if d := high[i] - n/buckets; max(d, -d) > 250 {
			t.Errorf("high bits %d: %d of %d keys", i, high[i], n)
		}
	}
}
