package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// stale runs f with a cache that holds "old" under key, just past its TTL.
func stale(t *testing.T, o Options[string], f func(t *testing.T, c *Cache[string], l *loader)) {
	t.Helper()
	o.TTL = time.Minute
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		set(t, c, "key", "old")
		time.Sleep(time.Minute)
		f(t, c, new(loader))
	})
}

// Also L1: refreshes do not run on the contexts of those who ask.
func TestL1StaleWhileRevalidateOneRefresh(t *testing.T) {
	stale(t, Options[string]{StaleWhileRevalidate: time.Hour}, func(t *testing.T, c *Cache[string], l *loader) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		for range 30 {
			if v, err := c.Fetch(ctx, "key", l.returns("new", nil, time.Second)); v != "old" || err != nil {
				t.Errorf("got %q, %v", v, err)
			}
		}
		cancel()
		if time.Since(begin) != 0 {
			t.Error("a stale hit waited")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantGet(t, c, "key", "new")
		l.want(t, 1)
		if s := c.Stats(); s.Stale != 30 || s.Refreshes != 1 {
			t.Errorf("%d stale, %d refreshes", s.Stale, s.Refreshes)
		}
	})
}

func TestL2BackoffAfterFailedRefresh(t *testing.T) {
	for name, o := range map[string]Options[string]{
		"revalidating": {StaleWhileRevalidate: time.Hour, RefreshBackoff: 10 * time.Second},
		"if error":     {StaleIfError: time.Hour, RefreshBackoff: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			stale(t, o, func(t *testing.T, c *Cache[string], l *loader) {
				for range 50 {
					wantFetch(t, c, "key", l.returns("", errUpstream, 0), "old", nil)
					synctest.Wait()
					time.Sleep(99 * time.Millisecond)
				}
				l.want(t, 1)
				time.Sleep(10 * time.Second)
				wantFetch(t, c, "key", l.returns("new", nil, 0), map[bool]string{true: "old", false: "new"}[o.StaleIfError == 0], nil)
				synctest.Wait()
				wantGet(t, c, "key", "new")
			})
		})
	}
}

func TestL3RefreshPoolFullSkips(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Minute, StaleWhileRevalidate: time.Hour, RefreshWorkers: 2}, func(t *testing.T, c *Cache[string]) {
		var l loader
		for i := range 5 {
			set(t, c, fmt.Sprint(i), "old")
		}
		time.Sleep(time.Minute)
		for i := range 5 {
			wantFetch(t, c, fmt.Sprint(i), l.returns("new", nil, time.Second), "old", nil)
		}
		time.Sleep(2 * time.Second)
		l.want(t, 2)
		if s := c.Stats(); s.RefreshSkips != 3 || s.Refreshes != 2 {
			t.Errorf("%d skipped, %d refreshed", s.RefreshSkips, s.Refreshes)
		}
		wantFetch(t, c, "4", l.returns("new", nil, 0), "old", nil)
		synctest.Wait()
		wantGet(t, c, "4", "new")
	})
}

func TestL6PanickingRefreshDoesNotStick(t *testing.T) {
	stale(t, Options[string]{StaleWhileRevalidate: time.Hour, RefreshWorkers: 1}, func(t *testing.T, c *Cache[string], l *loader) {
		wantFetch(t, c, "key", func(context.Context) (string, error) { panic("boom") }, "old", nil)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		wantFetch(t, c, "key", l.returns("new", nil, 0), "old", nil)
		synctest.Wait()
		wantGet(t, c, "key", "new")
	})
}

func TestStaleIfErrorAfterPanicAndTimeout(t *testing.T) {
	stale(t, Options[string]{StaleIfError: time.Hour, LoadTimeout: 5 * time.Second}, func(t *testing.T, c *Cache[string], l *loader) {
		wantFetch(t, c, "key", l.returns("new", nil, time.Minute), "old", nil)
		synctest.Wait()
		time.Sleep(time.Minute)
		wantFetch(t, c, "key", l.returns("", ErrNotFound, 0), "", ErrNotFound) // is an answer
		wantGet(t, c, "key", "")
	})
}

// The old value comes back soon, and the late one is stored.
func TestL7SoftTimeout(t *testing.T) {
	stale(t, Options[string]{StaleIfError: time.Hour, SoftTimeout: time.Second}, func(t *testing.T, c *Cache[string], l *loader) {
		begin := time.Now()
		wantFetch(t, c, "key", l.returns("new", nil, 3*time.Second), "old", nil)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantGet(t, c, "key", "new")
		l.want(t, 1)
	})
}

// If the old value will be gone by then, there is nothing to give up for.
func TestSoftTimeoutPastTheHorizon(t *testing.T) {
	stale(t, Options[string]{StaleIfError: time.Second / 2, SoftTimeout: time.Second}, func(t *testing.T, c *Cache[string], l *loader) {
		wantFetch(t, c, "key", l.returns("new", nil, 3*time.Second), "new", nil)
	})
}

func TestNegativeTTL(t *testing.T) {
	gone := fmt.Errorf("user 7: %w", ErrNotFound)
	bubble(t, Options[string]{NegativeTTL: time.Second, StaleIfError: time.Hour}, func(t *testing.T, c *Cache[string]) {
		var l loader
		for range 3 {
			wantFetch(t, c, "key", l.returns("", gone, 0), "", gone)
		}
		wantGet(t, c, "key", "")
		l.want(t, 1)
		time.Sleep(time.Second)
		wantFetch(t, c, "key", l.returns("", errUpstream, 0), "", errUpstream)
	})
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		for range 3 {
			wantFetch(t, c, "key", l.returns("", gone, 0), "", gone)
		}
		l.want(t, 3)
	})
}

func TestJitterShortensOnly(t *testing.T) {
	bubble(t, Options[string]{TTL: 100 * time.Second, Jitter: 0.5}, func(t *testing.T, c *Cache[string]) {
		for i := range 200 {
			set(t, c, fmt.Sprint(i), "v")
		}
		count := func() (n int) {
			for i := range 200 {
				if _, ok := c.Get(fmt.Sprint(i)); ok {
					n++
				}
			}
			return n
		}
		for _, tt := range []struct {
			after    time.Duration
			min, max int
		}{{50*time.Second - 1, 200, 200}, {25 * time.Second, 50, 150}, {25*time.Second + 1, 0, 0}} {
			time.Sleep(tt.after)
			if n := count(); n < tt.min || n > tt.max {
				t.Errorf("%d are fresh, want between %d and %d", n, tt.min, tt.max)
			}
		}
	})
}

func TestErrorsOfALoadAreReturnedAsTheyAre(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		if err := fetchError(c, t.Context(), "key", l.returns("", errUpstream, 0)); err != errUpstream || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

// Who waits with an old value at hand does not get it once it was removed: not
// when the load fails, and not at SoftTimeout, which then does not end the wait.
func TestOldValueRemovedWhileWaiting(t *testing.T) {
	ways := map[string]func(ctx context.Context, c *Cache[string]) error{
		"delete": func(ctx context.Context, c *Cache[string]) error { return c.Delete(ctx, "key") },
		"tag":    func(ctx context.Context, c *Cache[string]) error { return c.PurgeTag(ctx, "red", Hard) },
		"prefix": func(ctx context.Context, c *Cache[string]) error { return c.PurgePrefix(ctx, "ke", Hard) },
		"flush":  func(ctx context.Context, c *Cache[string]) error { return c.Flush(ctx, Hard) },
		"set":    func(ctx context.Context, c *Cache[string]) error { return c.Set(ctx, "key", "set") },
		"soft":   func(ctx context.Context, c *Cache[string]) error { return c.Flush(ctx, Soft) },
	}
	for name, remove := range ways {
		for _, soft := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprint(name, soft), func(t *testing.T) {
				bubble(t, Options[string]{TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: soft, WaitTimeout: 15 * time.Second}, func(t *testing.T, c *Cache[string]) {
					if err := c.SetItem(t.Context(), "key", red("old")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second)
					time.AfterFunc(time.Second, func() {
						if err := remove(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
					var l loader
					begin := time.Now()
					want := map[string]string{"set": "set", "soft": "old"}[name]
					follow := together(1, func(int) {
						v, err := c.Fetch(t.Context(), "key", l.returns("", errUpstream, 10*time.Second))
						if v != want || (err == nil) != (want != "") {
							t.Errorf("follower: %q, %v after %v, want %q", v, err, time.Since(begin), want)
						}
					})
					v, err := c.Fetch(t.Context(), "key", l.returns("", errUpstream, 10*time.Second))
					if v != want || want == "" && !errors.Is(err, errUpstream) {
						t.Errorf("%q, %v after %v, want %q", v, err, time.Since(begin), want)
					}
					follow()
				})
			})
		}
	}
}
