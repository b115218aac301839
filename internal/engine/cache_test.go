package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewestGenerationWins(t *testing.T) {
	c := newCache(t, 1<<20)
	hash := c.hash("key")
	older, newer := c.Generation(), c.Generation()
	if !c.Put(hash, c.entry("key", "newer", newer), 300, 0) {
		t.Fatal("the first entry was not put")
	}
	if c.Put(hash, c.entry("key", "older", older), 300, 0) {
		t.Error("an older generation was put over a newer one")
	}
	if v, _ := c.get("key"); v != "newer" {
		t.Errorf("got %q, want the newer generation", v)
	}
	c.settle()
	if u := c.Usage(); u.Bytes != 300 || u.Entries != 1 {
		t.Errorf("got %+v, want one entry of 300 bytes", u)
	}
}

// Random writers; what is left of each key is the newest that was put.
func TestNewestWinsAmongConcurrentWriters(t *testing.T) {
	const keys, writers, rounds = 50, 8, 400
	c := newCache(t, 4<<20)
	var newest [keys]atomic.Uint64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				k := rand.IntN(keys)
				key := fmt.Sprint("key", k)
				gen := c.Generation()
				c.Put(c.hash(key), c.entry(key, fmt.Sprint(gen), gen), 300, 0)
				for old := newest[k].Load(); old < gen && !newest[k].CompareAndSwap(old, gen); {
					old = newest[k].Load()
				}
				if e := c.Get(c.hash(key), key); e == nil || e.Gen < gen {
					t.Errorf("%s: an older entry than the one just put", key)
				}
			}
		})
	}
	wg.Wait()
	for k := range keys {
		want := newest[k].Load()
		if want == 0 {
			continue
		}
		if v, _ := c.get(fmt.Sprint("key", k)); v != fmt.Sprint(want) {
			t.Errorf("key%d: generation %q is left, want %d", k, v, want)
		}
	}
}

func TestDeleteIsFinal(t *testing.T) {
	c := newCache(t, 1<<20)
	for i := range 2000 {
		key := fmt.Sprint("key", i)
		c.put(key, "v", 300)
		if !c.delete(key) {
			t.Fatalf("%s: Delete found nothing", key)
		}
		if _, ok := c.get(key); ok {
			t.Fatalf("%s is there right after Delete", key)
		}
	}
	c.settle()
	for i := range 2000 {
		if _, ok := c.get(fmt.Sprint("key", i)); ok {
			t.Fatalf("key%d came back", i)
		}
	}
	if c.delete("key0") {
		t.Error("Delete of what is not there found something")
	}
}

func TestR13FlushByGeneration(t *testing.T) {
	c := newCache(t, 1<<20)
	begun := c.Generation()
	c.put("stored", "v", 300)
	c.Flush(Hard)
	if _, ok := c.get("stored"); ok {
		t.Error("an entry outlived Flush")
	}
	if c.delete("stored") {
		t.Error("Delete found what Flush had removed")
	}
	if c.Put(c.hash("begun"), c.entry("begun", "v", begun), 300, 0) {
		t.Error("what a load had begun before Flush was put after it")
	}
	if !c.put("new", "v", 300) {
		t.Error("a new entry was refused after Flush")
	}
	if _, ok := c.get("new"); !ok {
		t.Error("a new entry is not visible after Flush")
	}
}

// A Flush that has returned is not undone by another one that is slower, nor
// is Close.
func TestFlushNeverGoesBack(t *testing.T) {
	c := newCache(t, 1<<20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				gen := c.Generation()
				c.Flush(Hard)
				if !c.Superseded(gen, c.Newest(), &doc{}, nil) {
					t.Error("a generation from before Flush is not superseded after it")
					return
				}
			}
		})
	}
	wg.Wait()
	c.Close()
	c.Flush(Hard)
	if c.put("key", "v", 300) || !c.Superseded(c.Generation(), math.MaxUint64, &doc{}, nil) {
		t.Error("Flush opened a closed cache again")
	}
}

// Flush does not look at entries, and writes that follow give the bytes back.
func TestFlushedBytesComeBack(t *testing.T) {
	c := newCache(t, 8<<20)
	for i := range 2000 {
		c.put(fmt.Sprint("key", i), "v", 1000)
	}
	c.Flush(Hard)
	if n := c.Usage().Entries; n != 2000 {
		t.Errorf("Flush itself removed entries: %d are left", n)
	}
	for range 2000 {
		c.put("other", "v", 300)
	}
	c.settle()
	if u := c.Usage(); u.Entries != 1 || u.Bytes != 300 {
		t.Errorf("after 2000 writes: %+v, want only the new entry", u)
	}
}

// Two keys with one hash share a place, never a value.
func TestCollisionsAreCompared(t *testing.T) {
	c := newCache(t, 1<<20)
	const hash = 0x1234
	put := func(key string) {
		c.Put(hash, c.entry(key, "value of "+key, c.Generation()), 300, 0)
	}
	put("alice")
	if e := c.Get(hash, "bob"); e != nil {
		t.Fatalf("bob got %q", e.Value.body)
	}
	if c.Delete(hash, "bob") {
		t.Error("deleting bob found alice")
	}
	if e := c.Get(hash, "alice"); e == nil {
		t.Error("deleting bob removed alice")
	}
	put("bob")
	if e := c.Get(hash, "bob"); e == nil || e.Value.body != "value of bob" {
		t.Errorf("bob got %v", e)
	}
	if e := c.Get(hash, "alice"); e != nil {
		t.Errorf("alice got %q", e.Value.body)
	}
	var wg sync.WaitGroup
	for _, key := range []string{"alice", "bob", "carol"} {
		wg.Go(func() {
			for range 500 {
				put(key)
				if e := c.Get(hash, key); e != nil && e.Value.key != key {
					t.Errorf("%s got the value of %s", key, e.Value.key)
				}
			}
		})
	}
	wg.Wait()
}

// Any hash is a good one, also those that the store might treat specially.
func TestExtremeHashes(t *testing.T) {
	c := newCache(t, 1<<20)
	for _, hash := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		c.Put(hash, c.entry("key", fmt.Sprint(hash), c.Generation()), 300, 0)
	}
	c.settle()
	for _, hash := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		if e := c.Get(hash, "key"); e == nil || e.Value.body != fmt.Sprint(hash) {
			t.Errorf("hash %x: got %v", hash, e)
		}
	}
}

func TestExpiredEntriesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, 8<<20)
		defer c.Close()
		put := func(key string, fresh, swr, sie time.Duration) {
			e := c.entry(key, "v", c.Generation())
			e.Times = NewTimes(c.Now(), fresh, swr, sie)
			c.Put(c.hash(key), e, 300, 0)
		}
		for i := range 1000 {
			put(fmt.Sprint("short", i), time.Minute, 0, 0)
		}
		put("while revalidating", time.Minute, time.Hour, 0)
		put("if error", time.Minute, 0, time.Hour)
		time.Sleep(2 * time.Minute)
		for range 2000 {
			put("other", time.Hour, 0, 0)
		}
		c.settle()
		if u := c.Usage(); u.Entries != 3 || u.Bytes != 900 {
			t.Errorf("got %+v, want only the three that are of use", u)
		}
	})
}

func TestCloseRacesWithEverything(t *testing.T) {
	for range 20 {
		c := newCache(t, 64<<10)
		c.put("before", "v", 300)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				<-start
				churn(c, 50, 300)
			})
		}
		for range 2 {
			wg.Go(func() {
				<-start
				c.Close()
			})
		}
		close(start)
		wg.Wait()
		if _, ok := c.get("before"); ok {
			t.Fatal("a closed cache holds entries")
		}
		if c.put("after", "v", 300) {
			t.Fatal("a closed cache stored something")
		}
		if _, ok := c.get("after"); ok {
			t.Fatal("a closed cache returned something")
		}
		c.Close()
	}
}

// Entries may be read as long as one likes, also while others replace them.
func TestReadersNeedNoLock(t *testing.T) {
	c := newCache(t, 64<<10)
	c.put("key", "0", 300)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if e := c.Get(c.hash("key"), "key"); e != nil && (e.Value.key != "key" || e.Times.Stored > c.Now()) {
					t.Error("a torn entry was read")
				}
				runtime.Gosched()
			}
		})
	}
	for i := range 3000 {
		c.put("key", fmt.Sprint(i), 300)
	}
	close(stop)
	readers.Wait()
}

func TestInstantOfWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, 1<<20)
		defer c.Close()
		time.Sleep(time.Minute)
		if got := c.Now(); got.Sub(0) != time.Minute {
			t.Errorf("a minute after New it is %v by Instant, %v by Now", got, c.Now())
		}
	})
}

func BenchmarkGet(b *testing.B) {
	c := newCache(b, 1<<20)
	c.put("key", "v", 300)
	hash := c.hash("key")
	b.ReportAllocs()
	for b.Loop() {
		c.Get(hash, "key")
	}
}

func BenchmarkPut(b *testing.B) {
	c := newCache(b, 1<<20)
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.put(keys[i%len(keys)], "v", 1000)
	}
}
