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

// What is asked for all the time stays, whatever number of others are asked
// for once, in a cache that is full of it: through many rounds.
func TestHotEntriesOutliveAFlood(t *testing.T) {
	const hot, cost = 100, 500
	c := newCache(t, 80<<10) // a window and a half beside the hot ones
	name := func(i int) string { return fmt.Sprint("hot", i) }
	for i := range hot {
		c.put(name(i), "body", cost)
	}
	lost := 0
	ask := func() {
		for i := range hot {
			if _, ok := c.get(name(i)); !ok {
				lost++
				c.put(name(i), "body", cost)
			}
		}
	}
	for range 300 {
		ask()
	}
	lost = 0
	for i := range 20_000 {
		key := fmt.Sprint("cold", i)
		c.get(key)
		c.put(key, "body", cost)
		if i%20 == 0 {
			ask()
		}
	}
	if rounds := c.admission.store.touches.Load() / c.admission.store.counters; rounds < 15 {
		t.Errorf("only %d rounds", rounds)
	}
	t.Logf("lost %d of 100,000 times", lost)
	if lost > 5000 {
		t.Errorf("%d of 100,000 hits were misses", lost)
	}
}
