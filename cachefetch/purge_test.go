package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// purges are all ways to purge "key", which has the tag "red".
var purges = map[string]func(ctx context.Context, c *Cache[string], mode Mode) error{
	"key": func(ctx context.Context, c *Cache[string], mode Mode) error {
		if mode == Soft {
			return c.Expire(ctx, "key")
		}
		return c.Delete(ctx, "key")
	},
	"tag":    func(ctx context.Context, c *Cache[string], mode Mode) error { return c.PurgeTag(ctx, "red", mode) },
	"prefix": func(ctx context.Context, c *Cache[string], mode Mode) error { return c.PurgePrefix(ctx, "ke", mode) },
	"flush":  func(ctx context.Context, c *Cache[string], mode Mode) error { return c.Flush(ctx, mode) },
}

func eachPurge(t *testing.T, o Options[string], f func(t *testing.T, c *Cache[string], mode Mode, purge func())) {
	for name, purge := range purges {
		for mode, word := range map[Mode]string{Hard: "hard", Soft: "soft"} {
			t.Run(name+" "+word, func(t *testing.T) {
				bubble(t, o, func(t *testing.T, c *Cache[string]) {
					f(t, c, mode, func() {
						if err := purge(t.Context(), c, mode); err != nil {
							t.Error(err)
						}
					})
				})
			})
		}
	}
}

func red(v string) Item[string] { return Item[string]{Value: v, Tags: []string{"red"}} }

func TestPurge(t *testing.T) {
	o := Options[string]{TTL: time.Hour, StaleWhileRevalidate: time.Minute, StaleIfError: 2 * time.Minute}
	eachPurge(t, o, func(t *testing.T, c *Cache[string], mode Mode, purge func()) {
		var l loader
		wantItem(t, c, "key", l.item(red("old"), nil), Result[string]{Value: "old", Source: Loaded})
		set(t, c, "other", "other")
		time.Sleep(time.Minute)
		purge()
		wantGet(t, c, "key", "")
		if mode == Hard {
			wantItem(t, c, "key", l.item(red("new"), nil), Result[string]{Value: "new", Source: Loaded})
		} else {
			wantItem(t, c, "key", l.item(red("new"), nil), Result[string]{Value: "old", Source: Stale, Age: time.Minute})
			time.Sleep(2 * time.Second)
		}
		wantGet(t, c, "key", "new")
		l.want(t, 2)
		purge()
		time.Sleep(90 * time.Second) // past the window in which it is refreshed behind
		want := Result[string]{Err: errUpstream}
		if mode == Soft {
			want = Result[string]{Value: "new", Source: Stale, Age: 91 * time.Second, Err: errUpstream}
		}
		r, _ := c.FetchItem(t.Context(), "key", l.item(Item[string]{}, errUpstream))
		if r.Value != want.Value || r.Source != want.Source {
			t.Errorf("%+v, want %+v", r, want)
		}
		time.Sleep(time.Minute) // past all windows
		wantItem(t, c, "key", l.item(Item[string]{}, errUpstream), Result[string]{Err: errUpstream})
	})
}

func TestPurgeLeavesOthers(t *testing.T) {
	c := newTest(t, Options[string]{})
	for _, key := range []string{"k", "other"} {
		if err := c.SetItem(t.Context(), key, Item[string]{Value: key, Tags: []string{"blue", "redder"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, purge := range purges {
		for _, mode := range []Mode{Hard, Soft} {
			if name == "flush" {
				continue
			}
			if err := purge(t.Context(), c, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantGet(t, c, "k", "k")
	wantGet(t, c, "other", "other")
}

// What a load brings that was begun before goes to those who wait for it.
// Who comes after the purge gets something newer, and that stays.
func TestPurgeDuringALoad(t *testing.T) {
	eachPurge(t, Options[string]{}, func(t *testing.T, c *Cache[string], mode Mode, purge func()) {
		var l loader
		waitOld := together(3, func(int) { wantFetchItem(t, c, "key", l.item(red("old"), nil), "old") })
		time.Sleep(time.Second / 2)
		purge()
		waitNew := together(3, func(int) { wantFetchItem(t, c, "key", l.item(red("new"), nil), "new") })
		waitOld()
		// By tag, it is only known now that the old load does not do.
		waitNew()
		l.want(t, 2)
		wantGet(t, c, "key", "new")
		if e := c.Stats().Entries; e != 1 {
			t.Errorf("%d entries", e)
		}
	})
}

// With nobody else to ask for it, what an outdated load brings is not stored,
// or if the purge was soft, is stale.
func TestPurgeOutlivedByNothing(t *testing.T) {
	o := Options[string]{StaleIfError: time.Minute, StaleWhileRevalidate: time.Minute}
	eachPurge(t, o, func(t *testing.T, c *Cache[string], mode Mode, purge func()) {
		var l loader
		wait := together(1, func(int) { wantFetchItem(t, c, "key", l.item(red("old"), nil), "old") })
		purge()
		wait()
		wantGet(t, c, "key", "")
		r, _ := c.FetchItem(t.Context(), "key", l.item(red("new"), nil))
		if mode == Hard && r.Source != Loaded || r.Source == Fresh {
			t.Errorf("%+v", r)
		}
	})
}

// Many purges of other tags a second do not keep callers from sharing loads,
// and many of the same one do not let an old value through.
func TestPurgesDoNotBreakCoalescing(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		stop := make(chan struct{})
		var purging sync.WaitGroup
		purging.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					c.PurgeTag(t.Context(), fmt.Sprint("unrelated", i), Mode(i%2))
					c.PurgePrefix(t.Context(), fmt.Sprint("unrelated", i%20), Mode(i%2))
				}
			}
		})
		var l loader
		var waits []func()
		for range 10 {
			waits = append(waits, together(10, func(int) { wantFetchItem(t, c, "key", l.item(red("v"), nil), "v") }))
			time.Sleep(90 * time.Millisecond)
		}
		for _, wait := range waits {
			wait()
		}
		close(stop)
		purging.Wait()
		l.want(t, 1)
		wantGet(t, c, "key", "v")
	})
}

// Far more than a thousand purges a second beside fetches: once a purge has
// returned, nobody who then calls gets what was generated before.
func TestPurgeUnderLoad(t *testing.T) {
	c := newTest(t, Options[string]{StaleIfError: time.Hour})
	var upstream, purged atomic.Int64 // the version there is, and that which older ones were purged for
	load := func(context.Context, *Item[string]) (Item[string], error) {
		return red(fmt.Sprintf("%09d", upstream.Load())), nil
	}
	loadMany := func(_ context.Context, keys []string) (map[string]string, error) {
		v := fmt.Sprintf("%09d", upstream.Load())
		return map[string]string{"key": v, "kex": v}, nil
	}
	fetch := func(i int) (string, error) {
		if i%2 == 0 {
			r, err := c.FetchItem(t.Context(), "key", load)
			return r.Value, err
		}
		rs, err := c.FetchMany(t.Context(), []string{"kex"}, loadMany)
		return rs[0].Value, err
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := purged.Load()
				if v, err := fetch(g); err != nil || v < fmt.Sprintf("%09d", least) {
					t.Errorf("got %q, %v, but what is older than %d was purged before the call", v, err, least)
					return
				}
			}
		})
	}
	for i := range 4000 {
		version := upstream.Add(1)
		err := c.PurgePrefix(t.Context(), "kex", Hard)
		if i%2 == 0 {
			err = errors.Join(err, c.PurgeTag(t.Context(), "red", Hard))
		} else {
			err = errors.Join(err, c.PurgeTag(t.Context(), fmt.Sprint("unused", i), Hard), c.Delete(t.Context(), "key"))
		}
		if err != nil {
			t.Fatal(err)
		}
		purged.Store(version)
	}
	close(stop)
	wg.Wait()
}

func TestPurgeClosed(t *testing.T) {
	c := newTest(t, Options[string]{})
	c.Close()
	for name, purge := range purges {
		for _, mode := range []Mode{Hard, Soft} {
			if err := purge(t.Context(), c, mode); !errors.Is(err, ErrClosed) {
				t.Errorf("%s, mode %d: %v", name, mode, err)
			}
		}
	}
}

// FetchMany asks again for a key of which it has joined a load that was begun
// before a purge, alone and only for that.
func TestPurgeBeforeFetchMany(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		var b batches
		wait := together(1, func(int) { wantFetchItem(t, c, "a", l.item(red("old"), nil), "old") })
		if err := c.PurgeTag(t.Context(), "red", Hard); err != nil {
			t.Fatal(err)
		}
		wantMany(t, c, "a b", b.load, "A:loaded B:loaded")
		b.want(t, "a", "b")
		wait()
	})
}

// Loads that FetchMany has joined, and that turn out to be of before a purge,
// are made anew in as few calls as there may be.
func TestPurgeBeforeFetchManyOfMany(t *testing.T) {
	bubble(t, Options[string]{BatchSize: 50}, func(t *testing.T, c *Cache[string]) {
		var l loader
		var keys []string
		wait := func() {}
		for i := range 100 {
			key := fmt.Sprint("k", i)
			keys = append(keys, key)
			before, one := wait, together(1, func(int) { wantFetchItem(t, c, key, l.item(red("old"), nil), "old") })
			wait = func() { before(); one() }
		}
		if err := c.PurgeTag(t.Context(), "red", Hard); err != nil {
			t.Fatal(err)
		}
		var b batches
		begin := time.Now()
		results, err := c.FetchMany(t.Context(), keys, b.load)
		for i, r := range results {
			if r.Value != strings.ToUpper(keys[i]) {
				t.Errorf("%q: %+v", keys[i], r)
			}
		}
		if took := time.Since(begin); err != nil || len(b.calls) != 2 || took > 3*time.Second {
			t.Errorf("%d calls, %v, %v", len(b.calls), took, err)
		}
		wait()
	})
}
