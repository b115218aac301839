package cachefetch

// What coalescing with singleflight gets wrong, one test for each.

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// together begins n Fetches, one after the other, and returns when all wait.
func together(n int, fetch func(i int)) (wait func()) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fetch(i) })
		synctest.Wait()
	}
	return wg.Wait
}

func TestS1LeaderLeavesOthersGetTheValue(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		type userKey struct{}
		load := func(ctx context.Context) (string, error) {
			if ctx.Value(userKey{}) != "leader" {
				t.Error("the load lost the values of who began it")
			}
			return l.returns("v", nil, time.Second)(ctx)
		}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), userKey{}, "leader"))
		wait := together(4, func(i int) {
			if i > 0 {
				wantFetch(t, c, "key", load, "v", nil)
			} else if _, err := c.Fetch(ctx, "key", load); err != context.Canceled {
				t.Errorf("the leader got %v", err)
			}
		})
		cancel()
		wait()
		l.want(t, 1)
	})
}

func TestS2FollowersCanLeave(t *testing.T) {
	bubble(t, Options[string]{WaitTimeout: 2 * time.Second}, func(t *testing.T, c *Cache[string]) {
		var l loader
		begin := time.Now()
		together(3, func(i int) {
			ctx, want, after := t.Context(), error(nil), 5*time.Second
			switch i {
			case 1:
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, time.Second)
				defer cancel()
				want, after = context.DeadlineExceeded, time.Second
			case 2:
				want, after = ErrWaitTimeout, 2*time.Second
			}
			if err := fetchError(c, ctx, "key", l.returns("v", nil, 5*time.Second)); !errors.Is(err, want) || time.Since(begin) != after {
				t.Errorf("caller %d: %v after %v, want %v after %v", i, err, time.Since(begin), want, after)
			}
		})()
		l.want(t, 1)
	})
}

// A value is worth storing, so the load goes on; it is bounded all the same.
func TestS3NobodyLeft(t *testing.T) {
	bubble(t, Options[string]{LoadTimeout: 10 * time.Second}, func(t *testing.T, c *Cache[string]) {
		var l loader
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fetchError(c, ctx, "key", l.returns("v", nil, 3*time.Second)); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		time.Sleep(3 * time.Second)
		wantGet(t, c, "key", "v")
		l.want(t, 1)
	})
}

// Also S7: the key is free again. Of http.ErrAbortHandler the leader gets the
// value itself: net/http compares it with ==.
func TestS4S6S7PanicReachesLeaderAsItWas(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		load := func(context.Context) (string, error) {
			time.Sleep(time.Second)
			panic(http.ErrAbortHandler)
		}
		together(3, func(i int) {
			defer func() {
				if v := recover(); i == 0 && v != any(http.ErrAbortHandler) || i > 0 && v != nil {
					t.Errorf("caller %d recovered %v", i, v)
				}
			}()
			err := fetchError(c, t.Context(), "key", load)
			var p *PanicError
			if !errors.As(err, &p) || p.Value != any(http.ErrAbortHandler) || !errors.Is(err, http.ErrAbortHandler) || len(p.Stack) == 0 || p.Key != "key" {
				t.Errorf("caller %d got %v", i, err)
			}
		})()
		var l loader
		wantFetch(t, c, "key", l.returns("v", nil, 0), "v", nil)
		if s := c.Stats(); s.LoadErrors != 1 {
			t.Errorf("%d load errors, want 1", s.LoadErrors)
		}
	})
}

func TestS5Goexit(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		returned := make([]bool, 2)
		together(2, func(i int) {
			err := fetchError(c, t.Context(), "key", func(context.Context) (string, error) {
				time.Sleep(time.Second)
				runtime.Goexit()
				return "", nil
			})
			returned[i] = true
			var p *PanicError
			if !errors.As(err, &p) || p.Value != nil {
				t.Errorf("caller %d got %v", i, err)
			}
		})()
		if returned[0] || !returned[1] {
			t.Errorf("returned %v, want only the follower", returned)
		}
		var l loader
		wantFetch(t, c, "key", l.returns("v", nil, 0), "v", nil)
	})
}

// Also S8: all get one value. S12, S13: all are freed at the same instant.
func TestS9ErrorsAreSharedAndSoonForgotten(t *testing.T) {
	for _, want := range []error{nil, errUpstream} {
		bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
			var l loader
			begin := time.Now()
			together(50, func(int) {
				err := fetchError(c, t.Context(), "key", l.returns("v", want, time.Second))
				if err != want || time.Since(begin) != time.Second {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
			})()
			l.want(t, 1)
			if s := c.Stats(); s.Coalesced != 49 {
				t.Errorf("%d coalesced, want 49", s.Coalesced)
			}
			if want != nil {
				wantFetch(t, c, "key", l.returns("v", nil, 0), "", want)
				l.want(t, 1)
				time.Sleep(defaultFailureTTL)
			}
			wantFetch(t, c, "key", l.returns("v", nil, 0), "v", nil)
			if want != nil {
				l.want(t, 2)
			}
		})
	}
}

func TestS10WritesDuringALoadWin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error // of the load
		write func(t *testing.T, c *Cache[string])
		want  string
	}{
		{"Set", nil, func(t *testing.T, c *Cache[string]) { set(t, c, "key", "new") }, "new"},
		{"Set, and the load finds nothing", ErrNotFound, func(t *testing.T, c *Cache[string]) { set(t, c, "key", "new") }, "new"},
		{"Delete", nil, func(t *testing.T, c *Cache[string]) { c.Delete(t.Context(), "key") }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
				var l loader
				loaded := "old"
				if tt.err != nil {
					loaded = ""
				}
				wait := together(1, func(int) { wantFetch(t, c, "key", l.returns(loaded, tt.err, time.Second), loaded, tt.err) })
				tt.write(t, c)
				wantGet(t, c, "key", tt.want)
				wait()
				wantGet(t, c, "key", tt.want)
			})
		})
	}
}

// A load that begins inside Set, after Set has drawn its generation.
func TestS10LoadBegunInsideSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Cache[string]
		var l loader
		wait := func() {}
		c = newTest(t, Options[string]{Cost: func(v string) int64 {
			if v == "new" {
				wait = together(1, func(int) { wantFetch(t, c, "key", l.returns("old", nil, time.Second), "old", nil) })
			}
			return 1
		}})
		set(t, c, "key", "new")
		wait()
		wantGet(t, c, "key", "new")
	})
}

func TestS15NestedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTest(t, Options[string]{}), newTest(t, Options[string]{})
		again := func(ctx context.Context) (string, error) {
			return a.Fetch(ctx, "key", func(context.Context) (string, error) { return "inner", nil })
		}
		wantFetch(t, a, "key", again, "", ErrNested)
		wantFetch(t, a, "key", func(ctx context.Context) (string, error) { return b.Fetch(ctx, "other", again) }, "", ErrNested)
		wantFetch(t, b, "key", again, "inner", nil) // another cache
		wantFetch(t, a, "outer", again, "inner", nil)
	})
}

func TestLoadTimeoutOfALoadThatIgnoresIt(t *testing.T) {
	bubble(t, Options[string]{LoadTimeout: time.Second}, func(t *testing.T, c *Cache[string]) {
		var l loader
		err := fetchError(c, t.Context(), "key", func(context.Context) (string, error) {
			time.Sleep(time.Minute)
			return "late", nil
		})
		if !errors.Is(err, ErrLoadTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wantFetch(t, c, "key", l.returns("", errUpstream, 0), "", errUpstream)
		time.Sleep(time.Minute)
		wantGet(t, c, "key", "")
		wantFetch(t, c, "key", l.returns("", nil, time.Minute), "", ErrLoadTimeout)
	})
}

// Also those that a Delete has cut off.
func TestCloseEndsLoads(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		begin := time.Now()
		wait := together(2, func(i int) {
			wantFetch(t, c, "key", l.returns("v", nil, 10*time.Second), "", ErrClosed)
		})
		if err := c.Delete(t.Context(), "key"); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wait()
		if time.Since(begin) != 0 {
			t.Errorf("loads ended %v after Close", time.Since(begin))
		}
	})
}
