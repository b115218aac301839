package cachefetch_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// slowly returns a load that takes a while and counts itself.
func slowly(loads *atomic.Int32, v string, err error, d time.Duration) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		loads.Add(1)
		time.Sleep(d)
		return v, err
	}
}

// Ten processes ask for one key at once: one loads it.
func TestLeaseOneLoadInTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		var loads atomic.Int32
		var wg sync.WaitGroup
		for range 10 {
			c := node(t, b)
			for range 10 {
				wg.Go(func() {
					v, err := c.Fetch(t.Context(), "a", slowly(&loads, "Alice", nil, 3*time.Second))
					if v != "Alice" || err != nil {
						t.Errorf("got %q, %v", v, err)
					}
				})
			}
		}
		start := time.Now()
		wg.Wait()
		if n := loads.Load(); n != 1 {
			t.Errorf("%d loads, want 1", n)
		}
		if took := time.Since(start); took > 3500*time.Millisecond {
			t.Errorf("took %v for a load of 3 s", took)
		}
	})
}

// A failed load gives its lease back, so that the next process tries at once.
func TestLeaseOfFailedLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		first, second := node(t, b), node(t, b)
		var loads atomic.Int32
		go first.Fetch(t.Context(), "a", slowly(&loads, "", errUpstream, time.Second))
		time.Sleep(time.Millisecond)
		start := time.Now()
		v, err := second.Fetch(t.Context(), "a", slowly(&loads, "Bob", nil, 0))
		if v != "Bob" || err != nil || loads.Load() != 2 {
			t.Errorf("got %q, %v after %d loads", v, err, loads.Load())
		}
		if took := time.Since(start); took < 900*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("took %v, want little more than the failed load of a second", took)
		}
	})
}

// A process that has died with its lease, or hangs, delays others by LeaseWait
// and no more.
func TestLeaseOfDeadProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		if token, err := b.Acquire(t.Context(), "v:a", time.Hour); token == "" || err != nil {
			t.Fatalf("Acquire = %q, %v", token, err)
		}
		c := node(t, b, func(o *cachefetch.Options[string]) { o.LeaseWait = 2 * time.Second })
		start := time.Now()
		wantLoad(t, c, "a", "Alice", nil, "Alice", true)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v, want LeaseWait", took)
		}
		synctest.Wait()
		if b.Len() != 1 {
			t.Error("loaded without a lease, and not written")
		}
	})
}

// When leases fail, or do not answer, nothing waits for them.
func TestLeaseFails(t *testing.T) {
	for name, acquire := range map[string]func(context.Context) (string, error){
		"error": func(context.Context) (string, error) { return "", errUpstream },
		"hang": func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		},
		"panic": func(context.Context) (string, error) { panic("lease") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := node(t, &badLease{acquire: acquire})
				start := time.Now()
				wantLoad(t, c, "a", "Alice", nil, "Alice", true)
				if took := time.Since(start); took > 50*time.Millisecond {
					t.Errorf("took %v, want the budget of a call at most", took)
				}
			})
		})
	}
}

type badLease struct {
	backendtest.Memory
	acquire func(context.Context) (string, error)
}

func (b *badLease) Acquire(ctx context.Context, _ string, _ time.Duration) (string, error) {
	return b.acquire(ctx)
}

// A waiter that leaves is not held by another process's lease.
func TestLeaseWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		if _, err := b.Acquire(t.Context(), "v:a", time.Hour); err != nil {
			t.Fatal(err)
		}
		c := node(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.Fetch(ctx, "a", func(context.Context) (string, error) { return "Alice", nil })
		if took := time.Since(start); err == nil || took != 100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// Two processes that each load what the other waits for would wait for each
// other: FetchMany does not wait.
func TestLeaseNotForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		for _, key := range []string{"v:a", "v:b"} {
			if _, err := b.Acquire(t.Context(), key, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		results, err := node(t, b).FetchMany(t.Context(), []string{"a", "b", "c"}, func(_ context.Context, keys []string) (map[string]string, error) {
			return map[string]string{"a": "Alice", "b": "Bob", "c": "Carol"}, nil
		})
		if err != nil || results[1].Value != "Bob" {
			t.Errorf("got %+v, %v", results, err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// What is not written, because a Set has come meanwhile, gives its lease back
// all the same.
func TestLeaseOfOutdatedLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		c := node(t, b)
		var loads atomic.Int32
		go c.Fetch(t.Context(), "a", slowly(&loads, "old", nil, time.Second))
		time.Sleep(time.Second / 2)
		if err := c.Set(t.Context(), "a", "new"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if token, err := b.Acquire(t.Context(), "v:a", time.Hour); token == "" || err != nil {
			t.Errorf("the lease is still held: %v", err)
		}
	})
}
