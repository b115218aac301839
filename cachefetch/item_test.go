package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// item makes a LoadFunc that takes a second.
func (l *loader) item(it Item[string], err error) LoadFunc[string] {
	return func(context.Context, *Item[string]) (Item[string], error) {
		l.loads.Add(1)
		time.Sleep(time.Second)
		return it, err
	}
}

// wantItem fetches key and checks the result.
func wantItem(t *testing.T, c *Cache[string], key string, load LoadFunc[string], want Result[string]) {
	t.Helper()
	r, err := c.FetchItem(t.Context(), key, load)
	if r.Value != want.Value || r.Source != want.Source || r.Age != want.Age || !errors.Is(r.Err, want.Err) {
		t.Errorf("FetchItem(%q) = %q %v %v %v, want %q %v %v %v", key, r.Value, r.Source, r.Age, r.Err, want.Value, want.Source, want.Age, want.Err)
	}
	if (err != nil) != (r.Source == None) || err != nil && err != r.Err {
		t.Errorf("FetchItem(%q): error %v beside %v and %v", key, err, r.Source, r.Err)
	}
}

func TestResultSaysWhatItIs(t *testing.T) {
	o := Options[string]{TTL: 10 * time.Second, StaleWhileRevalidate: 10 * time.Second, StaleIfError: 30 * time.Second}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		var l loader
		load := l.item(Item[string]{Value: "v"}, nil)
		wait := together(1, func(int) { wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Loaded}) })
		wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Coalesced})
		wait()
		time.Sleep(4 * time.Second)
		wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Fresh, Age: 4 * time.Second})
		time.Sleep(6 * time.Second)
		wantItem(t, c, "key", l.item(Item[string]{Value: "w"}, nil), Result[string]{Value: "v", Source: Stale, Age: 10 * time.Second})
		time.Sleep(2 * time.Second)
		wantItem(t, c, "key", load, Result[string]{Value: "w", Source: Fresh, Age: time.Second})
		time.Sleep(24 * time.Second)
		wantItem(t, c, "key", l.item(Item[string]{}, errUpstream), Result[string]{Value: "w", Source: Stale, Age: 26 * time.Second, Err: errUpstream})
		time.Sleep(time.Minute)
		wantItem(t, c, "key", l.item(Item[string]{}, errUpstream), Result[string]{Err: errUpstream})
		l.want(t, 4)
	})
}

// An upstream that answers 304 renews what is stored, also long after it may
// not be returned any more.
func TestNotModified(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Minute}, func(t *testing.T, c *Cache[string]) {
		full := 0
		load := func(_ context.Context, old *Item[string]) (Item[string], error) {
			h := http.Header{}
			old.SetConditions(h)
			if h.Get("If-None-Match") == `"1"` && h.Get("If-Modified-Since") == "then" {
				return Item[string]{NotModified: true}, nil
			}
			full++
			it := Item[string]{Value: "v", TTL: 10 * time.Second, Tags: []string{"red"}}
			it.SetValidators(http.Header{"Etag": {`"1"`}, "Last-Modified": {"then"}})
			return it, nil
		}
		wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Loaded})
		for range 3 {
			time.Sleep(keepForValidation)
			wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Loaded})
			time.Sleep(9 * time.Second) // the TTL is what it was
			wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Fresh, Age: 9 * time.Second})
		}
		if full != 1 {
			t.Errorf("loaded in full %d times, want once", full)
		}
		// The tags are what they were, and what was purged is not renewed.
		if err := c.PurgeTag(t.Context(), "red", Hard); err != nil {
			t.Fatal(err)
		}
		wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Loaded})
		if full != 2 {
			t.Errorf("loaded in full %d times, want twice", full)
		}
		// Softly purged, it can be validated.
		if err := c.PurgeTag(t.Context(), "red", Soft); err != nil {
			t.Fatal(err)
		}
		wantItem(t, c, "key", load, Result[string]{Value: "v", Source: Loaded})
		if full != 2 {
			t.Error("a soft purge took the validators away")
		}
		if c.Delete(t.Context(), "key"); full != 2 {
			t.Fatal("unexpected load")
		}
		r, err := c.FetchItem(t.Context(), "key", func(context.Context, *Item[string]) (Item[string], error) {
			return Item[string]{NotModified: true}, nil
		})
		if err == nil || r.Source != None {
			t.Errorf("nothing to be renewed, and got %+v", r)
		}
	})
}

// What can be validated outlives its times by keepForValidation, and what
// cannot is swept as others are stored.
func TestKeptForValidation(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second}, func(t *testing.T, c *Cache[string]) {
		for _, etag := range []string{"", "1"} {
			if err := c.SetItem(t.Context(), "with "+etag, Item[string]{Value: "v", ETag: etag}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(keepForValidation)
		for i := range 1000 {
			set(t, c, fmt.Sprint(i), "v")
		}
		for etag, want := range map[string]bool{"": false, "1": true} {
			_, err := c.FetchItem(t.Context(), "with "+etag, func(_ context.Context, old *Item[string]) (Item[string], error) {
				if (old != nil) != want {
					t.Errorf("ETag %q: given %+v", etag, old)
				}
				return Item[string]{Value: "v"}, nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestItemLifetimes(t *testing.T) {
	o := Options[string]{TTL: 10 * time.Second, StaleWhileRevalidate: 10 * time.Second, StaleIfError: 20 * time.Second, NegativeTTL: 5 * time.Second}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		for _, row := range []struct {
			name  string
			it    Item[string]
			err   error
			fresh time.Duration // for how long
			stale time.Duration // until when, while it is refreshed
			usage time.Duration // until when, after an error
		}{
			{name: "options", fresh: 10 * time.Second, stale: 20 * time.Second, usage: 30 * time.Second},
			{name: "own", it: Item[string]{TTL: 30 * time.Second, StaleWhileRevalidate: time.Second, StaleIfError: 2 * time.Second},
				fresh: 30 * time.Second, stale: 31 * time.Second, usage: 32 * time.Second},
			{name: "no windows", it: Item[string]{StaleWhileRevalidate: -1, StaleIfError: -1}, fresh: 10 * time.Second, stale: 10 * time.Second, usage: 10 * time.Second},
			{name: "stale at once", it: Item[string]{TTL: -1}, fresh: 0, stale: 10 * time.Second, usage: 20 * time.Second},
			{name: "not found", err: ErrNotFound, fresh: 5 * time.Second, stale: 5 * time.Second, usage: 5 * time.Second},
			{name: "not found, own", it: Item[string]{TTL: 7 * time.Second}, err: ErrNotFound, fresh: 7 * time.Second, stale: 7 * time.Second, usage: 7 * time.Second},
		} {
			_, _ = c.FetchItem(t.Context(), row.name, func(context.Context, *Item[string]) (Item[string], error) { return row.it, row.err })
			e := c.store.Get(hashOf(c, row.name), row.name)
			if e == nil {
				t.Fatalf("%s: not stored", row.name)
			}
			ts := e.Times
			if ts.FreshUntil.Sub(ts.Stored) != row.fresh || ts.RevalidateUntil.Sub(ts.Stored) != row.stale || ts.ErrorUntil.Sub(ts.Stored) != row.usage {
				t.Errorf("%s: %+v", row.name, ts)
			}
		}
	})
}

// The value goes to those who wait, and replaces nothing but removes.
func TestNoStore(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleIfError: time.Hour}, func(t *testing.T, c *Cache[string]) {
		var l loader
		wantItem(t, c, "key", l.item(Item[string]{Value: "old"}, nil), Result[string]{Value: "old", Source: Loaded})
		time.Sleep(time.Second)
		private := l.item(Item[string]{Value: "private", NoStore: true}, nil)
		wait := together(3, func(int) { wantFetchItem(t, c, "key", private, "private") })
		wait()
		l.want(t, 2)
		wantItem(t, c, "key", l.item(Item[string]{}, errUpstream), Result[string]{Err: errUpstream})
		if n := c.Stats().Entries; n != 0 {
			t.Errorf("%d entries", n)
		}
	})
}

func wantFetchItem(t *testing.T, c *Cache[string], key string, load LoadFunc[string], want string) {
	t.Helper()
	if r, err := c.FetchItem(t.Context(), key, load); r.Value != want || err != nil {
		t.Errorf("FetchItem(%q) = %q, %v, want %q", key, r.Value, err, want)
	}
}

// What a load is given is its own, but for the value.
func TestOldItemIsACopy(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second}, func(t *testing.T, c *Cache[string]) {
		it := Item[string]{Value: "v", ETag: "1", LastModified: "then", TTL: 2 * time.Second, StaleWhileRevalidate: -1, StaleIfError: 3, Tags: []string{"red", "blue"}}
		if err := c.SetItem(t.Context(), "key", it); err != nil {
			t.Fatal(err)
		}
		it.Tags[0] = "changed by who has set it"
		for range 2 {
			time.Sleep(time.Minute)
			_, err := c.FetchItem(t.Context(), "key", func(_ context.Context, old *Item[string]) (Item[string], error) {
				want := Item[string]{Value: "v", ETag: "1", LastModified: "then", TTL: 2 * time.Second, StaleWhileRevalidate: -1, StaleIfError: 3, Tags: []string{"red", "blue"}}
				if old == nil || fmt.Sprint(*old) != fmt.Sprint(want) {
					t.Errorf("given %+v, want %+v", old, want)
				}
				old.Tags[0] = "changed by a load"
				return Item[string]{}, errUpstream
			})
			if err == nil {
				t.Error("no error")
			}
		}
	})
}

func TestSetItemTags(t *testing.T) {
	c := newTest(t, Options[string]{})
	for _, tag := range []string{"red", "blue"} {
		if err := c.SetItem(t.Context(), tag, Item[string]{Value: "v", Tags: []string{tag, "all"}}); err != nil {
			t.Fatal(err)
		}
	}
	c.PurgeTag(t.Context(), "red", Hard)
	wantGet(t, c, "red", "")
	wantGet(t, c, "blue", "v")
	c.PurgeTag(t.Context(), "all", Hard)
	wantGet(t, c, "blue", "")
}

func TestSourceNames(t *testing.T) {
	var names []string
	for s := None; s <= Coalesced+1; s++ {
		names = append(names, s.String())
	}
	if want := []string{"none", "fresh", "stale", "loaded", "coalesced", "unknown"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}
