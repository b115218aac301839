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
)

// A batches records the keys of each call of its load.
type batches struct {
	mu    sync.Mutex
	calls [][]string
}

// load returns every key in capitals after a second.
func (b *batches) load(_ context.Context, keys []string) (map[string]string, error) {
	b.mu.Lock()
	b.calls = append(b.calls, slices.Sorted(slices.Values(keys)))
	b.mu.Unlock()
	time.Sleep(time.Second)
	values := map[string]string{}
	for _, key := range keys {
		values[key] = strings.ToUpper(key)
	}
	return values, nil
}

func (b *batches) want(t *testing.T, calls ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, keys := range b.calls {
		got = append(got, strings.Join(keys, " "))
	}
	if slices.Sort(got); !slices.Equal(got, calls) {
		t.Errorf("calls for %q, want %q", got, calls)
	}
	b.calls = nil
}

// wantMany fetches keys and checks all results, written as value:source.
func wantMany(t *testing.T, c *Cache[string], keys string, load BatchFunc[string], want string) {
	t.Helper()
	results, err := c.FetchMany(t.Context(), strings.Fields(keys), load)
	var got []string
	failed := false
	for _, r := range results {
		got = append(got, fmt.Sprint(r.Value, ":", r.Source))
		failed = failed || r.Source == None
	}
	if s := strings.Join(got, " "); s != want || failed != (err != nil) {
		t.Errorf("FetchMany(%s) = %s, %v, want %s", keys, s, err, want)
	}
}

func TestFetchManyLoadsWhatIsMissing(t *testing.T) {
	o := Options[string]{TTL: 10 * time.Second, StaleWhileRevalidate: 10 * time.Second}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		var b batches
		wantMany(t, c, "", b.load, "")
		b.want(t)
		set(t, c, "b", "stored")
		begin := time.Now()
		wantMany(t, c, "c b a c", b.load, "C:loaded stored:fresh A:loaded C:loaded")
		b.want(t, "a c")
		if d := time.Since(begin); d != time.Second {
			t.Errorf("took %v", d)
		}
		wantMany(t, c, "a b c", b.load, "A:fresh stored:fresh C:fresh")
		time.Sleep(10 * time.Second)
		wantMany(t, c, "a d b", b.load, "A:stale D:loaded stored:stale") // refreshed together, behind
		synctest.Wait()                                                  // for the refresh, which ends at the same instant
		b.want(t, "a b", "d")
		wantMany(t, c, "a b", b.load, "A:fresh B:fresh")
		if s := c.Stats(); s.Refreshes != 2 || s.Loads != 5 {
			t.Errorf("%+v", s)
		}
	})
}

// Each key is loaded once, whoever asks for it.
func TestFetchManyCoalesces(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var b batches
		var l loader
		var waits []func()
		waits = append(waits,
			together(1, func(int) { wantFetch(t, c, "a", l.returns("single", nil, 2*time.Second), "single", nil) }),
			together(1, func(int) { wantMany(t, c, "a b c", b.load, "single:coalesced B:loaded C:loaded") }),
			together(1, func(int) { wantMany(t, c, "d c b", b.load, "D:loaded C:coalesced B:coalesced") }),
			together(1, func(int) { wantFetch(t, c, "d", l.returns("single", nil, 0), "D", nil) }),
		)
		for _, wait := range waits {
			wait()
		}
		b.want(t, "b c", "d")
		l.want(t, 1)
	})
}

func TestFetchManyErrors(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleIfError: time.Hour, NegativeTTL: time.Minute}, func(t *testing.T, c *Cache[string]) {
		set(t, c, "old", "old")
		time.Sleep(time.Second)
		bad := errors.New("bad key")
		results, err := c.FetchMany(t.Context(), []string{"good", "bad", "none", "old"}, func(context.Context, []string) (map[string]string, error) {
			return map[string]string{"good": "v"}, fmt.Errorf("wrapped: %w", KeyErrors{"bad": bad, "old": errUpstream})
		})
		if !errors.Is(err, bad) || !strings.Contains(err.Error(), `"bad"`) {
			t.Errorf("error %v, want that of the first key without a value", err)
		}
		for i, want := range []Result[string]{
			{Value: "v", Source: Loaded},
			{Err: bad},
			{Err: ErrNotFound},
			{Value: "old", Source: Stale, Age: time.Second, Err: errUpstream},
		} {
			if got := results[i]; got.Value != want.Value || got.Source != want.Source || got.Age != want.Age || !errors.Is(got.Err, want.Err) {
				t.Errorf("%d: %+v, want %+v", i, got, want)
			}
		}
		var l loader // that there is none is remembered longer than another error
		wantFetch(t, c, "none", l.returns("v", nil, 0), "", ErrNotFound)
		wantFetch(t, c, "bad", l.returns("v", nil, 0), "", bad)
		time.Sleep(defaultFailureTTL)
		wantFetch(t, c, "none", l.returns("v", nil, 0), "", ErrNotFound)
		wantFetch(t, c, "bad", l.returns("v", nil, 0), "v", nil)
		results, err = c.FetchMany(t.Context(), []string{"x", "y"}, func(context.Context, []string) (map[string]string, error) {
			return map[string]string{"y": "v"}, errUpstream
		})
		if !errors.Is(results[0].Err, errUpstream) || results[1].Value != "v" || results[1].Err != nil || !errors.Is(err, errUpstream) {
			t.Errorf("%+v, %v", results, err)
		}
	})
}

func TestFetchManyBounds(t *testing.T) {
	bubble(t, Options[string]{BatchSize: 10}, func(t *testing.T, c *Cache[string]) {
		var keys []string
		for i := range 95 {
			keys = append(keys, fmt.Sprint("key", i))
		}
		var running, most, calls atomic.Int64
		results, err := c.FetchMany(t.Context(), keys, func(_ context.Context, keys []string) (map[string]string, error) {
			calls.Add(1)
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if len(keys) > 10 {
				t.Errorf("%d keys in one call", len(keys))
			}
			time.Sleep(time.Second)
			values := map[string]string{}
			for _, key := range keys {
				values[key] = key
			}
			return values, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Value != keys[i] {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if calls.Load() != 10 || most.Load() != maxBatches {
			t.Errorf("%d calls, %d at a time", calls.Load(), most.Load())
		}
	})
}

// The load crashes: so does who began it, and nobody waits for ever.
func TestFetchManyPanic(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		wait := together(1, func(int) {
			defer func() {
				var p *PanicError
				err, _ := recover().(error)
				if !errors.As(err, &p) || p.Value != "boom" || !strings.Contains(err.Error(), "TestFetchManyPanic") {
					t.Errorf("recovered %v", err)
				}
			}()
			c.FetchMany(t.Context(), []string{"a", "b"}, func(context.Context, []string) (map[string]string, error) {
				time.Sleep(time.Second)
				panic("boom")
			})
			t.Error("returned")
		})
		var waits sync.WaitGroup
		for _, key := range []string{"a", "b"} {
			waits.Go(func() {
				var l loader
				_, err := c.Fetch(t.Context(), key, l.returns("v", nil, 0))
				var p *PanicError
				if !errors.As(err, &p) || p.Value != "boom" || !strings.Contains(string(p.Stack), "TestFetchManyPanic") {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		waits.Wait()
		wait()
		var b batches
		wantMany(t, c, "a b", b.load, "A:loaded B:loaded")
	})
}

func TestFetchManyNested(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		begin := time.Now()
		wantMany(t, c, "a b", func(ctx context.Context, keys []string) (map[string]string, error) {
			var l loader
			for _, key := range keys {
				if _, err := c.Fetch(ctx, key, l.returns("v", nil, 0)); !errors.Is(err, ErrNested) {
					t.Errorf("Fetch(%q): %v", key, err)
				}
			}
			results, err := c.FetchMany(ctx, []string{"b", "other"}, (&batches{}).load)
			if !errors.Is(err, ErrNested) || !errors.Is(results[0].Err, ErrNested) || results[1].Value != "OTHER" {
				t.Errorf("%+v, %v", results, err)
			}
			return map[string]string{"a": "A", "b": "B"}, nil
		}, "A:loaded B:loaded")
		if d := time.Since(begin); d != time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestFetchManyTimeouts(t *testing.T) {
	o := Options[string]{TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 2 * time.Second, LoadTimeout: 10 * time.Second}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		for _, key := range []string{"a", "b", "c"} {
			set(t, c, key, "old")
		}
		time.Sleep(time.Second)
		slow := func(ctx context.Context, keys []string) (map[string]string, error) {
			time.Sleep(5 * time.Second)
			return map[string]string{"a": "new", "b": "new", "c": "new"}, nil
		}
		begin := time.Now()
		wantMany(t, c, "a b c", slow, "old:stale old:stale old:stale")
		if d := time.Since(begin).Round(time.Microsecond); d != 2*time.Second { // not for each of them
			t.Errorf("took %v", d)
		}
		time.Sleep(3500 * time.Millisecond)
		wantMany(t, c, "a b c", slow, "new:fresh new:fresh new:fresh")
		begin = time.Now()
		results, _ := c.FetchMany(t.Context(), []string{"x", "y"}, func(ctx context.Context, keys []string) (map[string]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		for _, r := range results {
			if !errors.Is(r.Err, ErrLoadTimeout) {
				t.Errorf("%+v", r)
			}
		}
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// slowErr is a context that takes a while to say that it goes on.
type slowErr struct{ context.Context }

func (c slowErr) Err() error {
	time.Sleep(time.Millisecond)
	return c.Context.Err()
}

// A call that ends since the load that made it ran out of time ends all of its
// loads that way, those too that began a little later.
func TestLoadsOfOneCallTimeOutTogether(t *testing.T) {
	bubble(t, Options[string]{LoadTimeout: time.Second, BatchSize: 10}, func(t *testing.T, c *Cache[string]) {
		results, _ := c.FetchMany(slowErr{t.Context()}, numbered(10), func(ctx context.Context, keys []string) (map[string]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		for i, r := range results {
			if !errors.Is(r.Err, ErrLoadTimeout) {
				t.Errorf("%d: %+v", i, r)
			}
		}
	})
}

func TestFetchManyClosed(t *testing.T) {
	c := newTest(t, Options[string]{})
	c.Close()
	var b batches
	results, err := c.FetchMany(t.Context(), []string{"a"}, b.load)
	if !errors.Is(err, ErrClosed) || !errors.Is(results[0].Err, ErrClosed) {
		t.Errorf("%+v, %v", results, err)
	}
	b.want(t)
}

func TestKeyErrors(t *testing.T) {
	for _, row := range []struct {
		errs KeyErrors
		want string
	}{
		{KeyErrors{}, "no key"},
		{KeyErrors{"a": errUpstream}, `key "a": upstream is down`},
		{KeyErrors{"a": errUpstream, "b": errUpstream}, "2 keys, such as "},
	} {
		if got := row.errs.Error(); !strings.HasPrefix(got, row.want) {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}
