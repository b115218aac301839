package engine

import (
	"fmt"
	"testing"
)

// Hits of an entry are counted as far as the store can tell them apart, anew
// in each round.
func TestHitsAreCountedByRounds(t *testing.T) {
	c := newCache(t, 1<<16)
	s := c.admission.store
	c.put("hot", "body", 300)
	e := c.Get(c.hash("hot"), "hot")
	hits := func() int64 {
		before := s.touches.Load()
		for range 1000 {
			s.hit(e)
		}
		return s.touches.Load() - before
	}
	if n := hits(); n != enoughTouches-1 { // and one by Get
		t.Errorf("first round: %d of 1000 hits counted", n)
	}
	if n := hits(); n != 0 {
		t.Errorf("%d counted beyond what the store can tell apart", n)
	}
	for i := range uint64(s.counters) {
		s.touch(i)
	}
	if n := hits(); n != enoughTouches {
		t.Errorf("second round: %d of 1000 hits counted", n)
	}
	if n := hits(); n != 0 {
		t.Errorf("%d counted beyond what the store can tell apart", n)
	}
}

// BenchmarkFlood tells how many hits in a hundred are lost of what is asked for
// all the time, in a cache that is full of it and flooded with others that are
// asked for once, through many rounds. Ristretto drops counts when it is busy,
// so there is no bound to be tested.
func BenchmarkFlood(b *testing.B) {
	const hot, cost = 100, 500
	c := newCache(b, 80<<10) // a window and a half beside the hot ones
	name := func(i int) string { return fmt.Sprint("hot", i) }
	asked, lost := 0, 0
	ask := func() {
		for i := range hot {
			asked++
			if _, ok := c.get(name(i)); !ok {
				lost++
				c.put(name(i), "body", cost)
			}
		}
	}
	for range 300 {
		ask()
	}
	asked, lost = 0, 0
	flood := 0
	for b.Loop() {
		key := fmt.Sprint("cold", flood)
		c.get(key)
		c.put(key, "body", cost)
		if flood++; flood%20 == 0 {
			ask()
		}
	}
	b.ReportMetric(100*float64(lost)/float64(max(asked, 1)), "%lost")
}
