package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"

	"github.com/VictoriaMetrics/metrics"
)

func TestObserver(t *testing.T) {
	type traceKey struct{}
	var mu sync.Mutex
	var events []string
	note := func(ctx context.Context, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, fmt.Sprintf("%v ", ctx.Value(traceKey{}))+fmt.Sprintf(format, args...))
	}
	o := Options[string]{
		TTL: 10 * time.Second, StaleWhileRevalidate: 10 * time.Second, StaleIfError: time.Minute, RefreshWorkers: 1,
		Observer: &Observer{
			Fetched: func(ctx context.Context, i FetchInfo) {
				note(ctx, "%s %v age %v wait %v err %v", i.Key, i.Source, i.Age, i.Wait, i.Err)
			},
			LoadBegins: func(ctx context.Context, key string) { note(ctx, "%s begins", key) },
			LoadEnds: func(ctx context.Context, key string, took time.Duration, err error) {
				note(ctx, "%s ends after %v: %v", key, took, err)
			},
			RefreshSkipped: func(ctx context.Context, key string) { note(ctx, "%s skipped", key) },
		},
	}
	want := func(t *testing.T, lines ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(events)
		slices.Sort(lines)
		if !slices.Equal(events, lines) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(events, "\n"), strings.Join(lines, "\n"))
		}
		events = nil
	}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		o.Observer.Fetched = nil // New has made a copy
		ctx := context.WithValue(t.Context(), traceKey{}, "trace")
		var l loader
		c.Fetch(ctx, "a", l.returns("v", nil, time.Second))
		want(t, "trace a begins", "trace a ends after 1s: <nil>", "trace a loaded age 0s wait 1s err <nil>")
		time.Sleep(2 * time.Second)
		c.Fetch(ctx, "a", nil)
		want(t, "trace a fresh age 2s wait 0s err <nil>")
		set(t, c, "b", "v")
		time.Sleep(10 * time.Second)
		c.FetchMany(ctx, []string{"a"}, func(context.Context, []string) (map[string]string, error) {
			time.Sleep(time.Second)
			return nil, errUpstream
		})
		c.Fetch(ctx, "b", nil)
		time.Sleep(1500 * time.Millisecond)
		want(t, "trace a stale age 12s wait 0s err <nil>", "trace a begins", "trace b skipped",
			"trace b stale age 10s wait 0s err <nil>", "trace a ends after 1s: upstream is down")
		time.Sleep(8500 * time.Millisecond)
		c.Fetch(ctx, "b", l.returns("", errUpstream, 0))
		want(t, "trace b begins", "trace b ends after 0s: upstream is down", "trace b stale age 20s wait 0s err upstream is down")
	})
}

// All functions are optional.
func TestObserverOfNothing(t *testing.T) {
	bubble(t, Options[string]{Observer: &Observer{}, StaleWhileRevalidate: time.Hour, RefreshWorkers: 1}, func(t *testing.T, c *Cache[string]) {
		var l loader
		for _, key := range []string{"a", "b"} {
			wantFetch(t, c, key, l.returns("v", nil, 0), "v", nil)
		}
		time.Sleep(2 * time.Minute)
		for _, key := range []string{"a", "b"} {
			wantFetch(t, c, key, l.returns("v", nil, time.Second), "v", nil)
		}
		synctest.Wait()
		if s := c.Stats(); s.RefreshSkips != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Every key that is answered is counted once, by where its value comes from.
func TestStatsAddUp(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleIfError: time.Hour}, func(t *testing.T, c *Cache[string]) {
		var l loader
		together(3, func(int) { c.Fetch(t.Context(), "a", l.returns("v", nil, time.Second)) })()
		c.Fetch(t.Context(), "a", nil)
		c.Get("a")
		time.Sleep(time.Second)
		c.Fetch(t.Context(), "a", l.returns("", errUpstream, 0))
		c.Fetch(t.Context(), "b", l.returns("", errUpstream, 0))
		c.FetchMany(t.Context(), []string{"a", "c", "a"}, (&batches{}).load)
		c.FetchItem(t.Context(), "a", func(context.Context, *Item[string]) (Item[string], error) {
			return Item[string]{NotModified: true}, nil
		})
		c.Fetch(t.Context(), "big", l.returns(strings.Repeat("v", 1<<20), nil, 0))
		s := c.Stats()
		if s.Hits != 2 || s.Stale != 2 || s.Loaded != 4 || s.Coalesced != 2 || s.Errors != 1 || s.NotModified != 1 ||
			s.Loads != 6 || s.LoadErrors != 2 || s.Drops != 1 || s.Entries != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCacheMetrics(t *testing.T) {
	c := newTest(t, Options[string]{Name: `users "7"`, TTL: time.Hour})
	c.Fetch(t.Context(), "a", (&loader{}).returns("v", nil, 0))
	c.Fetch(t.Context(), "a", nil)
	c.Fetch(t.Context(), "b", (&loader{}).returns("", ErrNotFound, 0))
	c.Fetch(t.Context(), "b", (&loader{}).returns("", errUpstream, 0))
	c.PurgeTag(t.Context(), "red", Hard)
	written := func(own bool) string {
		var b strings.Builder
		if own {
			c.WriteMetrics(&b)
		} else {
			metrics.WritePrometheus(&b, false)
		}
		return b.String()
	}
	for _, text := range []string{written(true), written(false)} {
		for _, want := range []string{
			`freshet_fetches_total{cache="users \"7\"",source="fresh"} 1`,
			`freshet_fetches_total{cache="users \"7\"",source="loaded"} 1`,
			`freshet_fetches_total{cache="users \"7\"",source="none"} 2`,
			`freshet_load_duration_seconds_count{cache="users \"7\"",result="value"} 1`,
			`freshet_load_duration_seconds_count{cache="users \"7\"",result="not_found"} 1`,
			`freshet_load_duration_seconds_count{cache="users \"7\"",result="error"} 1`,
			`freshet_purges_total{cache="users \"7\""} 1`,
			`freshet_entries{cache="users \"7\""} 1`,
			"# TYPE freshet_fetches_total counter",
			"# TYPE freshet_entries gauge",
		} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		if strings.Contains(text, "freshet_backend") {
			t.Error("metrics of a backend that is not there")
		}
	}
	if _, err := New(Options[int]{MaxBytes: 1 << 20, Name: `users "7"`}); err == nil || !strings.Contains(err.Error(), "Options.Name") {
		t.Errorf("a second cache of the name: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if text := written(false); strings.Contains(text, "users") {
		t.Errorf("still there after Close:\n%s", text)
	}
	again, err := New(Options[int]{MaxBytes: 1 << 20, Name: `users "7"`})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil || errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Cost is asked once for a value, and with no lock held: one that takes long,
// or deletes, holds up nobody else.
func TestCostIsAskedOnce(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, _ *Cache[string]) {
		var asked atomic.Int64
		var c *Cache[string]
		c = newTest(t, Options[string]{Backend: new(backendtest.Memory), Cost: func(v string) int64 {
			if asked.Add(1); v == "slow" {
				time.Sleep(5 * time.Second)
				if err := c.Delete(t.Context(), "slow"); err != nil {
					t.Error(err)
				}
			}
			return 1
		}})
		var l loader
		wait := together(1, func(int) { wantFetch(t, c, "slow", l.returns("slow", nil, 0), "slow", nil) })
		synctest.Wait()
		begin := time.Now()
		if err := c.Delete(t.Context(), "slow"); err != nil {
			t.Error(err)
		}
		for i := range 100 {
			wantFetch(t, c, fmt.Sprint(i), l.returns("v", nil, 0), "v", nil)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("others were held up for %v", took)
		}
		wait()
		set(t, c, "set", "v")
		if n := asked.Load(); n != 102 {
			t.Errorf("asked %d times for 102 values", n)
		}
	})
}

// A refresh that a load causes is not nested in it: nobody waits for it.
func TestRefreshCausedByALoad(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleWhileRevalidate: time.Hour}, func(t *testing.T, c *Cache[string]) {
		set(t, c, "menu", "old")
		time.Sleep(2 * time.Second)
		var l loader
		wantFetch(t, c, "user", func(ctx context.Context) (string, error) {
			v, err := c.Fetch(ctx, "menu", func(ctx context.Context) (string, error) {
				return c.Fetch(ctx, "user", l.returns("of another load", nil, 0))
			})
			time.Sleep(time.Second)
			return v + " for the user", err
		}, "old for the user", nil)
		synctest.Wait()
		wantGet(t, c, "menu", "old for the user") // what the refresh waited for
	})
}
