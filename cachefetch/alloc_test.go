//go:build !race

package cachefetch

import (
	"context"
	"fmt"
	"testing"
)

func TestAllocFetchHit(t *testing.T) {
	c := newTest(t, Options[string]{EarlyRefresh: 1})
	if err := c.SetItem(t.Context(), "key", Item[string]{Value: "v", Tags: []string{"red"}}); err != nil {
		t.Fatal(err)
	}
	load := func(context.Context) (string, error) { return "", errUpstream }
	loadItem := func(context.Context, *Item[string]) (Item[string], error) { return Item[string]{}, errUpstream }
	for i := range 100 { // so that a hit has marks to look at
		c.PurgeTag(t.Context(), fmt.Sprint("tag", i), Soft)
		c.PurgePrefix(t.Context(), fmt.Sprint("prefix", i), Hard)
	}
	for name, hit := range map[string]func(){
		"Fetch":     func() { c.Fetch(t.Context(), "key", load) },
		"FetchItem": func() { c.FetchItem(t.Context(), "key", loadItem) },
		"Get":       func() { c.Get("key") },
		"Fetch after a purge": func() {
			c.PurgeTag(t.Context(), "tag1", Hard)
			c.Fetch(t.Context(), "key", load)
		},
	} {
		if n := testing.AllocsPerRun(1000, hit); n != 0 {
			t.Errorf("%s: a hit allocates %v times", name, n)
		}
	}
}

// A warm full store refuses new keys; the window keeps them. Not under the
// race detector, where ristretto loses the accesses that make it warm.
func TestR16RefusedCostsNoSecondLoad(t *testing.T) {
	c := newTest(t, Options[string]{MaxBytes: 64 << 10, Cost: func(string) int64 { return 1000 }})
	var l loader
	for i := range 60 {
		set(t, c, fmt.Sprint("hot", i), "v")
	}
	for range 8000 { // so often that what the store samples of it, and what it drops, does not matter
		for i := range 60 {
			c.Get(fmt.Sprint("hot", i))
		}
	}
	before := l.loads.Load()
	for range 3 {
		for i := range 4 {
			wantFetch(t, c, fmt.Sprint("new", i), l.returns("v", nil, 0), "v", nil)
		}
	}
	l.want(t, before+4)
}

func BenchmarkFetchHit(b *testing.B) {
	c := newTest(b, Options[string]{})
	c.Set(b.Context(), "key", "v")
	load := func(context.Context) (string, error) { return "", errUpstream }
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		c.Fetch(ctx, "key", load)
	}
}

func BenchmarkFetchMiss(b *testing.B) {
	c := newTest(b, Options[string]{MaxBytes: 8 << 20})
	load := func(context.Context) (string, error) { return "v", nil }
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Fetch(ctx, fmt.Sprint(i), load)
	}
}
