package cachefetch

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Two callers that append to what they share must not write to the same memory.
func TestSharedSlicesAreClipped(t *testing.T) {
	type list []int
	long := append(make(list, 0, 100), 1, 2)
	c := newTest(t, Options[list]{})
	load := func(context.Context) (list, error) { return long, nil }
	v, err := c.Fetch(t.Context(), "loaded", load)
	if err != nil || cap(v) != 2 {
		t.Errorf("loaded: cap %d, %v", cap(v), err)
	}
	if err := c.Set(t.Context(), "set", long); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"loaded", "set"} {
		if v, _ := c.Get(key); cap(v) != 2 || len(v) != 2 {
			t.Errorf("%s: len %d, cap %d", key, len(v), cap(v))
		}
	}
	b := newTest(t, Options[[]byte]{})
	if err := b.Set(t.Context(), "key", make([]byte, 1, 100)); err != nil {
		t.Fatal(err)
	}
	if v, _ := b.Get("key"); cap(v) != 1 {
		t.Errorf("bytes: cap %d", cap(v))
	}
	if s := b.Stats(); s.Bytes < 100 {
		t.Errorf("%d bytes: the array is kept alive as a whole", s.Bytes)
	}
}

func TestForEverIsNoSumThatOverflows(t *testing.T) {
	const forEver = math.MaxInt64
	o := Options[string]{
		TTL: forEver, StaleWhileRevalidate: time.Minute, StaleIfError: forEver, NegativeTTL: forEver, RefreshBackoff: forEver,
		FailureTTL: forEver, LoadTimeout: forEver, WaitTimeout: forEver, SoftTimeout: forEver, EarlyRefresh: 1,
	}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		var l loader
		if err := c.SetItem(t.Context(), "key", Item[string]{Value: "old", ETag: "x", TTL: forEver, StaleIfError: forEver}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		wantFetch(t, c, "key", nil, "old", nil)
		if err := c.Expire(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
		wantFetch(t, c, "key", l.returns("", errUpstream, 0), "old", nil) // its minute begins now
		synctest.Wait()
		time.Sleep(time.Hour)
		wantFetch(t, c, "key", l.returns("new", nil, 0), "old", nil) // to be left alone for ever
		l.want(t, 1)
		wantFetch(t, c, "none", l.returns("", ErrNotFound, 0), "", ErrNotFound)
		wantFetch(t, c, "none", l.returns("v", nil, 0), "", ErrNotFound)
	})
}

// A caller reads the clock before it looks: what it finds may be newer.
func TestAgeIsNeverNegative(t *testing.T) {
	c := newTest(t, Options[string]{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = c.Set(context.Background(), "key", "v")
			}
		}
	})
	set(t, c, "key", "v")
	for range 5000 {
		r, _ := c.FetchItem(t.Context(), "key", nil)
		rs, _ := c.FetchMany(t.Context(), []string{"key"}, nil)
		if r.Age < 0 || rs[0].Age < 0 {
			t.Fatalf("%v, %v", r.Age, rs[0].Age)
		}
	}
	close(stop)
	wg.Wait()
}
