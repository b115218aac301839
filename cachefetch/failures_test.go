package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// During an outage, a key that was never loaded costs one load each FailureTTL,
// whatever the number of those who ask and the form in which they do.
func TestAFailingColdKeyIsAskedForSeldom(t *testing.T) {
	bubble(t, Options[string]{FailureTTL: time.Second}, func(t *testing.T, c *Cache[string]) {
		var l loader
		down := l.returns("", errUpstream, 0)
		for range 1000 {
			wantFetch(t, c, "key", down, "", errUpstream)
			if _, err := c.FetchItem(t.Context(), "key", func(ctx context.Context, _ *Item[string]) (Item[string], error) {
				v, err := down(ctx)
				return Item[string]{Value: v}, err
			}); !errors.Is(err, errUpstream) {
				t.Fatal(err)
			}
			if _, err := c.FetchMany(t.Context(), []string{"key"}, func(ctx context.Context, keys []string) (map[string]string, error) {
				_, err := down(ctx)
				return nil, err
			}); !errors.Is(err, errUpstream) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.want(t, 10)
		if s := c.Stats(); s.Errors != 3000 || s.LoadErrors != 10 || s.Entries != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestARememberedFailureIsForgottenByWhatChangesTheKey(t *testing.T) {
	for name, change := range map[string]func(c *Cache[string]) error{
		"Delete":      func(c *Cache[string]) error { return c.Delete(context.Background(), "key") },
		"Expire":      func(c *Cache[string]) error { return c.Expire(context.Background(), "key") },
		"PurgePrefix": func(c *Cache[string]) error { return c.PurgePrefix(context.Background(), "k", Hard) },
		"Flush":       func(c *Cache[string]) error { return c.Flush(context.Background(), Soft) },
		"time":        func(*Cache[string]) error { time.Sleep(time.Hour); return nil },
		"Set and Delete": func(c *Cache[string]) error {
			return errors.Join(c.Set(context.Background(), "key", "set"), c.Delete(context.Background(), "key"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options[string]{FailureTTL: time.Hour}, func(t *testing.T, c *Cache[string]) {
				var l loader
				wantFetch(t, c, "key", l.returns("", errUpstream, 0), "", errUpstream)
				if err := change(c); err != nil {
					t.Fatal(err)
				}
				wantFetch(t, c, "key", l.returns("v", nil, 0), "v", nil)
			})
		})
	}
}

// A failure takes nothing's place: the old value is there for the next load to
// validate.
func TestARememberedFailureKeepsWhatCanBeValidated(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second}, func(t *testing.T, c *Cache[string]) {
		if err := c.SetItem(t.Context(), "key", Item[string]{Value: "v", ETag: "x"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		var l loader
		wantFetch(t, c, "key", l.returns("", errUpstream, 0), "", errUpstream)
		time.Sleep(defaultFailureTTL)
		r, err := c.FetchItem(t.Context(), "key", func(_ context.Context, old *Item[string]) (Item[string], error) {
			if old == nil || old.ETag != "x" {
				t.Errorf("old: %+v", old)
			}
			return Item[string]{NotModified: true}, nil
		})
		if r.Value != "v" || err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestFailuresAreBounded(t *testing.T) {
	var f failures
	for i := range 3 * maxFailures {
		f.note(fmt.Sprint(i), failure{err: errUpstream, until: 100}, engine.Instant(0))
	}
	if len(f.by) != maxFailures {
		t.Errorf("%d remembered", len(f.by))
	}
	f.note("last", failure{err: errUpstream, until: 300}, engine.Instant(200))
	if len(f.by) != 1 || f.of("last", 250).err == nil || f.of("last", 300).err != nil || len(f.by) != 0 {
		t.Errorf("%v", f.by)
	}
}

// Another key, or another cache, has nothing: that is not the same as this key
// having nothing.
func TestNotFoundOfSomethingElseIsAnErrorOfTheLoad(t *testing.T) {
	o := Options[string]{NegativeTTL: time.Hour, TTL: time.Second, StaleIfError: time.Hour}
	none := func(context.Context) (string, error) { return "", fmt.Errorf("no row: %w", ErrNotFound) }
	for name, load := range map[string]func(other *Cache[string]) func(context.Context) (string, error){
		"as it was": func(other *Cache[string]) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) { return other.Fetch(ctx, "else", none) }
		},
		"wrapped": func(other *Cache[string]) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := other.Fetch(ctx, "else", none)
				return "", errors.Join(fmt.Errorf("user: %w", err), errUpstream)
			}
		},
		"with another context": func(other *Cache[string]) func(context.Context) (string, error) {
			return func(context.Context) (string, error) { return other.Fetch(context.Background(), "else", none) }
		},
		"of many": func(other *Cache[string]) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := other.FetchMany(ctx, []string{"else"}, func(context.Context, []string) (map[string]string, error) { return nil, nil })
				return "", err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, other := newTest(t, o), newTest(t, o)
				set(t, c, "old", "old")
				time.Sleep(2 * time.Second)
				for range 2 {
					err := fetchError(c, t.Context(), "key", load(other))
					if err == nil || errors.Is(err, ErrNotFound) {
						t.Errorf("got %v", err)
					}
					if name == "wrapped" && !errors.Is(err, errUpstream) {
						t.Errorf("what else was wrong is lost: %v", err)
					}
				}
				wantFetch(t, c, "old", load(other), "old", nil)
				time.Sleep(defaultFailureTTL)
				var l loader
				wantFetch(t, c, "key", l.returns("v", nil, 0), "v", nil)
				if s := c.Stats(); s.LoadErrors != 2 {
					t.Errorf("%d load errors", s.LoadErrors)
				}
				// A load that means it says so.
				wantFetch(t, c, "none", func(ctx context.Context) (string, error) {
					if _, err := load(other)(ctx); err == nil {
						t.Error("no error")
					}
					return "", ErrNotFound
				}, "", ErrNotFound)
				wantFetch(t, c, "none", l.returns("v", nil, 0), "", ErrNotFound)
			})
		})
	}
}

// That there is nothing counts as an answer without a value, remembered or not.
func TestNotFoundCountsTheSameInEveryForm(t *testing.T) {
	none := func(context.Context) (string, error) { return "", ErrNotFound }
	for name, fetch := range map[string]func(c *Cache[string]) error{
		"Fetch": func(c *Cache[string]) error { return fetchError(c, context.Background(), "key", none) },
		"FetchItem": func(c *Cache[string]) error {
			_, err := c.FetchItem(context.Background(), "key", func(context.Context, *Item[string]) (Item[string], error) {
				return Item[string]{}, ErrNotFound
			})
			return err
		},
		"FetchMany": func(c *Cache[string]) error {
			_, err := c.FetchMany(context.Background(), []string{"key"}, func(context.Context, []string) (map[string]string, error) { return nil, nil })
			return err
		},
	} {
		bubble(t, Options[string]{NegativeTTL: time.Hour}, func(t *testing.T, c *Cache[string]) {
			for range 3 {
				if err := fetch(c); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if s := c.Stats(); s.Errors != 3 || s.Hits != 0 || s.Loads != 1 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

func explode(context.Context) (string, error) {
	var none []string
	return none[len(none)], nil
}

func TestAPanicKeepsTheStackOfTheLoad(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		defer func() {
			err, _ := recover().(error)
			var p *PanicError
			if !errors.As(err, &p) || p.Key != "outer" || strings.Count(err.Error(), "cachefetch.explode") == 0 || strings.Contains(p.Error(), "goroutine") {
				t.Errorf("recovered %v", err)
			}
		}()
		// Through two loads: the inner one panics in the outer one.
		_, _ = c.Fetch(t.Context(), "outer", func(ctx context.Context) (string, error) { return c.Fetch(ctx, "inner", explode) })
	})
}

// A refresh that panics reaches no caller: the observer and the log are told.
func TestAPanicOfARefreshIsTold(t *testing.T) {
	var logged strings.Builder
	var told atomic.Pointer[PanicError]
	o := Options[string]{
		TTL: time.Second, StaleWhileRevalidate: time.Hour, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Observer: &Observer{LoadEnds: func(_ context.Context, _ string, _ time.Duration, err error) {
			if p := (*PanicError)(nil); errors.As(err, &p) {
				told.Store(p)
			}
		}},
	}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		set(t, c, "key", "old")
		time.Sleep(2 * time.Second)
		wantFetch(t, c, "key", explode, "old", nil)
		synctest.Wait()
		if p := told.Load(); p == nil || p.Key != "key" || !strings.Contains(string(p.Stack), "cachefetch.explode") {
			t.Errorf("LoadEnds was told %+v", p)
		}
		if !strings.Contains(logged.String(), "cachefetch.explode") {
			t.Errorf("logged %q", logged.String())
		}
	})
}

// Refreshes that do not heed their context hold their workers until the deadline
// and no longer, and their keys are left alone for a while after it.
func TestRefreshesThatHangGiveTheirWorkersBack(t *testing.T) {
	o := Options[string]{TTL: time.Second, StaleWhileRevalidate: time.Hour, RefreshWorkers: 2, LoadTimeout: 10 * time.Second, RefreshBackoff: time.Second}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		release := make(chan struct{})
		var hung atomic.Int64
		hangs := func(context.Context) (string, error) { hung.Add(1); <-release; return "late", nil }
		for _, key := range []string{"a", "b", "c"} {
			set(t, c, key, "old")
		}
		time.Sleep(2 * time.Second)
		wantFetch(t, c, "a", hangs, "old", nil)
		wantFetch(t, c, "b", hangs, "old", nil)
		var l loader
		wantFetch(t, c, "c", l.returns("new", nil, 0), "old", nil)
		if s := c.Stats(); s.RefreshSkips != 1 {
			t.Errorf("%d refreshes skipped, want 1: all workers hang", s.RefreshSkips)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantFetch(t, c, "a", hangs, "old", nil) // has just failed
		wantFetch(t, c, "c", l.returns("new", nil, 0), "old", nil)
		synctest.Wait()
		wantGet(t, c, "c", "new")
		if n := hung.Load(); n != 2 {
			t.Errorf("%d hang, want 2", n)
		}
		close(release)
		synctest.Wait()
		if v, _ := c.Fetch(t.Context(), "a", hangs); v != "old" {
			t.Errorf("what a load returned after its deadline was stored: %q", v)
		}
	})
}
