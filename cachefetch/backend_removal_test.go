package cachefetch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

// What one process removes, the others do not serve, whatever the clocks of the
// two, the time at which messages come, and the lag of the store.

func newFleetStore() *fleetStore { return &fleetStore{rnd: rand.New(rand.NewPCG(1, 1))} }

// removals are all ways to put something new in place of "old" under "k", which
// has the tag "t".
var removals = map[string]func(ctx context.Context, c *cachefetch.Cache[string]) error{
	"Delete": func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Delete(ctx, "k") },
	"Expire": func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Expire(ctx, "k") },
	"Set":    func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Set(ctx, "k", "new") },
	"PurgeTag": func(ctx context.Context, c *cachefetch.Cache[string]) error {
		return c.PurgeTag(ctx, "t", cachefetch.Hard)
	},
	"soft tag": func(ctx context.Context, c *cachefetch.Cache[string]) error {
		return c.PurgeTag(ctx, "t", cachefetch.Soft)
	},
	"PurgePrefix": func(ctx context.Context, c *cachefetch.Cache[string]) error {
		return c.PurgePrefix(ctx, "k", cachefetch.Hard)
	},
	"Flush": func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Flush(ctx, cachefetch.Hard) },
}

// item returns a load of a value with the tag "t".
func item(v string) cachefetch.LoadFunc[string] {
	return func(context.Context, *cachefetch.Item[string]) (cachefetch.Item[string], error) {
		return cachefetch.Item[string]{Value: v, Tags: []string{"t"}}, nil
	}
}

// wantNew fetches "k" now, and for half an hour.
func wantNew(t *testing.T, who string, c *cachefetch.Cache[string]) {
	t.Helper()
	for _, wait := range []time.Duration{0, 50 * time.Millisecond, time.Second, 2 * time.Minute, 30 * time.Minute} {
		time.Sleep(wait)
		if r, err := c.FetchItem(t.Context(), "k", item("new")); r.Value != "new" || err != nil {
			t.Errorf("%s, after another %v: %q, %v, %v", who, wait, r.Value, r.Source, err)
			return
		}
	}
}

func eachRemoval(t *testing.T, f func(t *testing.T, set int, remove func(c *cachefetch.Cache[string]))) {
	for name, remove := range removals {
		for set := range capabilities {
			t.Run(fmt.Sprintf("%s/%04b", name, set), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f(t, set, func(c *cachefetch.Cache[string]) {
						if err := remove(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
				})
			})
		}
	}
}

func fleetNode(t *testing.T, l *link, set int) *cachefetch.Cache[string] {
	return node(t, l.with(set), func(o *cachefetch.Options[string]) { o.TTL = time.Hour })
}

// Of a clock that is ahead: what was generated before a removal may have the
// later stamp. The process that removes it does not read it again.
func TestRemovalAndClocks(t *testing.T) {
	for _, ahead := range []time.Duration{20 * time.Millisecond, 950 * time.Millisecond} {
		t.Run(ahead.String(), func(t *testing.T) {
			eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
				s := newFleetStore()
				c, other := fleetNode(t, &link{s: s}, set), fleetNode(t, &link{s: s, ahead: ahead}, set)
				time.Sleep(time.Minute)
				for _, c := range []*cachefetch.Cache[string]{other, c} { // both have it
					if r, err := c.FetchItem(t.Context(), "k", item("old")); r.Value != "old" || err != nil {
						t.Fatalf("%+v, %v", r, err)
					}
					time.Sleep(30 * time.Millisecond)
				}
				remove(c)
				wantNew(t, "who removed it", c)
			})
		})
	}
}

// Two processes that have read of a third one, whose clock is ahead, follow it.
// A Set of one still removes what the other had loaded just before.
func TestSetAfterBothFollowAThird(t *testing.T) {
	for _, ahead := range []time.Duration{0, 20 * time.Millisecond, 500 * time.Millisecond} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFleetStore()
				a, b, third := fleetNode(t, &link{s: s}, hasInvalidations), fleetNode(t, &link{s: s}, hasInvalidations), fleetNode(t, &link{s: s, ahead: ahead}, hasInvalidations)
				time.Sleep(time.Minute)
				for _, c := range []*cachefetch.Cache[string]{third, a, b} {
					if _, err := c.FetchItem(t.Context(), "seen by all", item("x")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(30 * time.Millisecond)
				}
				if _, err := b.FetchItem(t.Context(), "k", item("old")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
				if err := a.Set(t.Context(), "k", "new"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				wantNew(t, "who loaded before the Set", b)
			})
		})
	}
}

// The message of a removal arrives before the store shows it to this process.
func TestRemovalTheStoreShowsLate(t *testing.T) {
	eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
		s := newFleetStore()
		c, told := fleetNode(t, &link{s: s}, set|hasInvalidations), fleetNode(t, &link{s: s, lag: 900 * time.Millisecond}, set|hasInvalidations)
		time.Sleep(time.Minute)
		if _, err := told.FetchItem(t.Context(), "k", item("old")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		remove(c)
		time.Sleep(50 * time.Millisecond) // the message has arrived
		wantNew(t, "who was told", told)
	})
}

// A removal while a process is starting, and does not hear messages yet: it
// looks again at what it has read, when it does.
func TestRemovalBeforeMessagesCome(t *testing.T) {
	for _, takes := range []time.Duration{300 * time.Millisecond, 1200 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
				s := newFleetStore()
				c := fleetNode(t, &link{s: s}, set|hasInvalidations)
				if err := c.SetItem(t.Context(), "k", cachefetch.Item[string]{Value: "old", Tags: []string{"t"}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				lag := takes / 2
				starts := fleetNode(t, &link{s: s, lag: lag, dials: takes}, set|hasInvalidations)
				if r, err := starts.FetchItem(t.Context(), "k", item("new")); r.Value != "old" || err != nil {
					t.Fatalf("%+v, %v: nothing is tested", r, err)
				}
				time.Sleep(100 * time.Millisecond)
				remove(c)
				time.Sleep(takes) // now it hears
				_, _ = starts.FetchItem(t.Context(), "k", item("new"))
				time.Sleep(2 * time.Second) // and the store shows it
				wantNew(t, "who has started", starts)
			})
		})
	}
}

// What another process had loaded before a removal, and writes after it, is
// removed from the store before it is forgotten that it is too old.
func TestRemovalAndLateWrites(t *testing.T) {
	eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
		s := newFleetStore()
		c, other := fleetNode(t, &link{s: s}, set), fleetNode(t, &link{s: s, ahead: 900 * time.Millisecond}, set)
		time.Sleep(time.Minute)
		go other.FetchItem(t.Context(), "k", func(ctx context.Context, _ *cachefetch.Item[string]) (cachefetch.Item[string], error) {
			time.Sleep(25 * time.Second)
			return item("old")(ctx, nil)
		})
		time.Sleep(time.Second / 2)
		remove(c)
		if _, err := c.FetchItem(t.Context(), "k", item("new")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Minute) // what is held here expires; nothing was asked meanwhile
		wantNew(t, "who removed it", c)
	})
}

// A process whose clock is further ahead than allowed: what it generated before
// a removal seems to be of later. Who removed it knows that clock.
func TestRemovalAndAClockFarAhead(t *testing.T) {
	for _, ahead := range []time.Duration{3 * time.Second, time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
				s := newFleetStore()
				far := fleetNode(t, &link{s: s, ahead: ahead}, set|hasInvalidations)
				time.Sleep(time.Minute)
				c := fleetNode(t, &link{s: s}, set|hasInvalidations) // has not heard it start
				time.Sleep(time.Minute)
				if _, err := far.FetchItem(t.Context(), "k", item("old")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				remove(c)
				time.Sleep(2 * time.Hour)
				wantNew(t, "who removed it", c)
			})
		})
	}
}

// A load that began with an older value at hand does not fall back on it when
// another process has removed that meanwhile.
func TestRemovalWhileALoadWaits(t *testing.T) {
	eachRemoval(t, func(t *testing.T, set int, remove func(*cachefetch.Cache[string])) {
		s := newFleetStore()
		stale := func(o *cachefetch.Options[string]) { o.TTL, o.StaleIfError = time.Second, time.Hour }
		c := fleetNode(t, &link{s: s}, set|hasInvalidations)
		told := node(t, (&link{s: s}).with(set|hasInvalidations), stale)
		time.Sleep(time.Minute)
		if _, err := told.FetchItem(t.Context(), "k", item("old")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		time.AfterFunc(time.Second, func() { remove(c) })
		r, err := told.FetchItem(t.Context(), "k", func(context.Context, *cachefetch.Item[string]) (cachefetch.Item[string], error) {
			time.Sleep(20 * time.Second)
			return cachefetch.Item[string]{}, errUpstream
		})
		soft := t.Name()[len("TestRemovalWhileALoadWaits/"):][:4] == "soft"
		if (r.Value == "old") != soft {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Messages begin to come while a load is under way that has a stale value of the
// store to fall back on: that is looked up again, and not lost.
func TestStaleValueWhileMessagesBeginToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFleetStore()
		stale := func(o *cachefetch.Options[string]) { o.TTL, o.StaleIfError = time.Second, time.Hour }
		first := node(t, (&link{s: s}).with(hasInvalidations), stale)
		if err := first.Set(t.Context(), "k", "old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c := node(t, (&link{s: s, dials: time.Second}).with(hasInvalidations), stale)
		v, err := c.Fetch(t.Context(), "k", func(context.Context) (string, error) {
			time.Sleep(2 * time.Second)
			return "", errUpstream
		})
		if v != "old" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}
