package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func (c testCache) putIn(s *Share[doc], key string, cost int64) bool {
	e := c.entry(key, key, c.Generation())
	e.Share = s
	return c.Put(c.hash(key), e, cost, 0)
}

// What one share is flooded with takes nothing from another, nor from what is in
// none, and what is asked for in it stays.
func TestShareIsFloodedByItself(t *testing.T) {
	c := newCache(t, 1<<20)
	small, large := NewShare[doc](64<<10), NewShare[doc](512<<10)
	for i := range 100 {
		c.putIn(large, fmt.Sprint("large", i), 1<<10)
		c.put(fmt.Sprint("none", i), "", 1<<10)
	}
	c.putIn(small, "hot", 1<<10)
	for i := range 20_000 {
		if !c.putIn(small, fmt.Sprint("flood", i), 1<<10) {
			t.Fatal("refused")
		}
		if used := small.Used(); used > 64<<10 {
			t.Fatalf("%d bytes", used)
		}
		if i%16 == 0 && !c.has("hot") {
			t.Fatalf("what is asked for all the time is gone after %d", i)
		}
	}
	for i := range 100 {
		if !c.has(fmt.Sprint("large", i)) || !c.has(fmt.Sprint("none", i)) {
			t.Fatal("others lost something")
		}
	}
	if c.putIn(small, "too large for it", 65<<10) {
		t.Error("an entry larger than its share is kept")
	}
	small.SetLimit(32 << 10)
	c.putIn(small, "the next", 1<<10)
	if used := small.Used(); used > 32<<10 {
		t.Errorf("%d bytes after its limit was lowered", used)
	}
}

// However entries go, a share counts those that are live, and holds no others.
func TestShareCountsWhatIsLive(t *testing.T) {
	c := newCache(t, 256<<10) // so that the store evicts and refuses too
	s := NewShare[doc](200 << 10)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				key := fmt.Sprint(rand.IntN(800))
				switch rand.IntN(10) {
				case 0:
					c.delete(key)
				case 1:
					if old := c.Get(c.hash(key), key); old != nil {
						e := c.entry(key, "", c.Generation())
						e.Share = s
						c.Replace(old, e, 500)
					}
				case 2:
					c.put(key, "in none", 300)
				case 3:
					if rand.IntN(500) == 0 {
						c.Flush(Hard)
					}
				default:
					c.putIn(s, key, int64(100+rand.IntN(2000)))
				}
			}
		})
	}
	wg.Wait()
	c.settle()
	var want int64
	live := make(map[*Entry[doc]]bool)
	for i := range c.index.shards {
		for _, e := range c.index.shards[i].m {
			if e.Share != nil {
				want += e.cost
				live[e] = true
			}
		}
	}
	if s.Used() != want {
		t.Errorf("%d bytes, live are %d", s.Used(), want)
	}
	n := 0
	for e := s.oldest; e != nil; e = e.newer {
		if n++; !live[e] || e.newer != nil && e.newer.older != e || e.newer == nil && s.newest != e {
			t.Fatal("an entry is not live, or the list is broken")
		}
	}
	if n != len(live) {
		t.Errorf("%d entries, live are %d", n, len(live))
	}
	c.Close()
	if s.Used() != 0 || s.oldest != nil || s.newest != nil {
		t.Errorf("%d bytes after Close", s.Used())
	}
}
