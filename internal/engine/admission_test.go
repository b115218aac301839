package engine

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// doc is a stored value that knows its whole key.
type doc struct {
	key  string
	body string
}

type testCache struct {
	*Cache[string, doc]
	seed maphash.Seed
}

func newCache(tb testing.TB, maxBytes int64) testCache {
	tb.Helper()
	c, err := New(Config[string, doc]{
		MaxBytes:  maxBytes,
		FillBytes: maxBytes / 8,
		Match:     func(key string, d *doc) bool { return d.key == key },
		HasPrefix: func(d *doc, prefix string) bool { return strings.HasPrefix(d.key, prefix) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return testCache{c, maphash.MakeSeed()}
}

func (c testCache) hash(key string) uint64 { return maphash.String(c.seed, key) }

func (c testCache) entry(key, body string, gen uint64) *Entry[doc] {
	return &Entry[doc]{
		Value: doc{key, body},
		Times: NewTimes(c.Now(), time.Hour, 0, 0),
		Gen:   gen,
	}
}

func (c testCache) put(key, body string, cost int64) bool {
	return c.Put(c.hash(key), c.entry(key, body, c.Generation()), cost, 0)
}

func (c testCache) get(key string) (string, bool) {
	e := c.Get(c.hash(key), key)
	if e == nil {
		return "", false
	}
	return e.Value.body, true
}

func (c testCache) delete(key string) bool { return c.Delete(c.hash(key), key) }

// settle waits until no admission is under way: the one who holds mu may still
// be at work for others.
func (c testCache) settle() {
	c.admission.help()
	c.admission.mu.Lock()
	defer c.admission.mu.Unlock()
	for c.admission.work() {
	}
}

// watch samples Usage until the returned function is called, which reports the
// first sample that was over the budget.
func (c testCache) watch() (stop func(t *testing.T)) {
	quit, done := make(chan struct{}), make(chan struct{})
	var over Usage
	go func() {
		defer close(done)
		for {
			if u := c.Usage(); (u.Bytes > u.MaxBytes || u.WindowBytes > c.MaxEntry()+c.fillBytes) && over.MaxBytes == 0 {
				over = u
			}
			select {
			case <-quit:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	return func(t *testing.T) {
		t.Helper()
		close(quit)
		<-done
		if over.MaxBytes != 0 {
			t.Errorf("over budget: %+v", over)
		}
	}
}

func TestNewRefusesTinyBudget(t *testing.T) {
	for _, n := range []int64{-1, 0, MinBytes - 1} {
		if _, err := New(Config[string, doc]{MaxBytes: n}); err == nil {
			t.Errorf("New with %d bytes succeeded", n)
		}
	}
}

func TestVisibleRightAfterPut(t *testing.T) {
	c := newCache(t, 1<<20)
	for i := range 5000 {
		key := fmt.Sprint("key", i)
		if !c.put(key, "v", 200) {
			t.Fatalf("%s was not put", key)
		}
		if _, ok := c.get(key); !ok {
			t.Fatalf("%s is not visible right after Put", key)
		}
	}
}

// Unique keys from eight writers, and fills that hold a part of the window.
func TestBudgetHoldsUnderFlood(t *testing.T) {
	c := newCache(t, 256<<10)
	check := c.watch()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 1500 {
				c.put(fmt.Sprint(w, "/", i), "v", 100+int64(rand.IntN(2000)))
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 500 {
				if n := int64(rand.IntN(4000)); c.Reserve(n) {
					runtime.Gosched()
					c.Release(n)
				}
			}
		})
	}
	wg.Wait()
	check(t)
	c.settle()
	if u := c.Usage(); u.Entries == 0 || u.Evictions == 0 {
		t.Errorf("a flooded cache holds and evicts something, got %+v", u)
	}
	if got := c.filling.Load(); got != 0 {
		t.Errorf("%d bytes still count as being filled", got)
	}
}

// One entry that makes room for itself at the cost of many small ones: the
// store may name the same victim twice.
func TestLargeEntriesDisplaceManySmall(t *testing.T) {
	c := newCache(t, 64<<10)
	check := c.watch()
	for round := range 100 {
		for i := range 50 {
			c.put(fmt.Sprint("small", round, "/", i), "v", 100+int64(rand.IntN(200)))
		}
		key := fmt.Sprint("large", round)
		for range 8 { // asked for, so that the store prefers it
			c.get(key)
		}
		c.put(key, "v", 7<<10)
	}
	check(t)
	c.settle()
	if n := int64(c.index.len()); c.Usage().Bytes < n*100 {
		t.Errorf("%d entries cost only %d bytes", n, c.Usage().Bytes)
	}
}

// Every byte that was taken comes back, whatever happened in between.
func TestNoBytesLeak(t *testing.T) {
	for _, tt := range []struct {
		name         string
		window, main int64
		keys         int
		workers      int
	}{
		{"one goroutine, much displaced", 8 << 10, 24 << 10, 2000, 1},
		{"few keys: replaced before they are admitted", 8 << 10, 56 << 10, 8, 8},
		{"as many keys as fit", 8 << 10, 56 << 10, 80, 8},
		{"many keys: evicted in the batch that admitted them", 32 << 10, 8 << 10, 5000, 8},
		{"half is refused, then replaced or offered again", 32 << 10, 700, 50, 8},
		{"half is refused, one goroutine", 32 << 10, 700, 50, 1},
		{"everything fits", 1 << 20, 8 << 20, 500, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newRefusing(t, tt.window, tt.main)
			check := c.watch()
			var wg sync.WaitGroup
			for range tt.workers {
				wg.Go(func() { churn(c, tt.keys, 8000/tt.workers) })
			}
			wg.Wait()
			check(t)
			for i := range tt.keys {
				c.delete(fmt.Sprint("key", i))
			}
			c.settle()
			u := c.Usage()
			if u.Entries != 0 || u.Bytes != 0 || u.WindowBytes != 0 || c.filling.Load() != 0 {
				t.Errorf("after deleting everything: %+v, filling %d", u, c.filling.Load())
			}
		})
	}
}

// churn does n random operations.
func churn(c testCache, keys, n int) {
	for range n {
		key := fmt.Sprint("key", rand.IntN(keys))
		switch op := rand.IntN(100); {
		case op < 55:
			c.put(key, "v", 100+int64(rand.IntN(1500)))
		case op < 60: // too large
			c.put(key, "v", c.MaxEntry()+1)
		case op < 75:
			c.get(key)
		case op < 85:
			c.delete(key)
		case op < 98: // a fill that ends in an entry, or does not
			reserved := int64(rand.IntN(1000))
			if !c.Reserve(reserved) {
				continue
			}
			if rand.IntN(2) == 0 {
				c.Release(reserved)
			} else {
				c.Put(c.hash(key), c.entry(key, "v", c.Generation()), 100+int64(rand.IntN(1500)), reserved)
			}
		case op < 99:
			c.Flush(Hard)
		default:
			c.Usage()
		}
	}
}

// newRefusing returns a cache whose store refuses whatever costs more than
// main. (What the store asks for otherwise, that a key be asked for, cannot be
// had under the race detector: it makes ristretto's buffers, which are in a
// sync.Pool, lose most accesses.)
func newRefusing(tb testing.TB, window, main int64) testCache {
	tb.Helper()
	c := newCache(tb, (window+main)*8/7) // an eighth is for fills
	a, err := newAdmission(window, main, &c.index)
	if err != nil {
		tb.Fatal(err)
	}
	c.admission.close()
	c.admission = a
	return c
}

// A value that is refused, replaced, refused and so on must not leave its
// predecessors behind in memory, although their bytes are free.
func TestRefusedAndReplacedDoNotPileUp(t *testing.T) {
	c := newRefusing(t, 16<<10, 1<<10)
	for range 20_000 {
		c.put("again and again", "v", 2<<10)
	}
	c.settle()
	if c.Usage().Refusals == 0 {
		t.Error("nothing was refused")
	}
	if n := len(c.admission.fifo); n > 2*batchSize {
		t.Errorf("%d refused entries are held, though one is live", n)
	}
}

// What the store refuses stays readable until the window is full, and goes in
// the order in which it came.
func TestRefusedStaysReadableInTheWindow(t *testing.T) {
	c := newRefusing(t, 16<<10, 1<<10)
	name := func(i int) string { return fmt.Sprint("refused", i) }
	for i := range 8 {
		c.put(name(i), "v", 2<<10)
	}
	for i := range 8 {
		if _, ok := c.get(name(i)); !ok {
			t.Errorf("%s is gone though the window has room", name(i))
		}
	}
	if u := c.Usage(); u.Refusals != 8 || u.Evictions != 0 || u.WindowBytes != 16<<10 {
		t.Errorf("got %+v, want 8 refusals, no eviction and a full window", u)
	}
	for i := range 4 {
		c.put(name(8+i), "v", 2<<10)
	}
	if _, ok := c.get(name(0)); ok {
		t.Error("the oldest is still there though the window was full")
	}
	if _, ok := c.get(name(11)); !ok {
		t.Error("the newest is gone")
	}
	if got := c.Usage().Evictions; got < 4 {
		t.Errorf("%d evictions, want at least as many as came on top", got)
	}
}

// One that was refused gets a second chance before it is dropped.
func TestRefusedIsOfferedAgain(t *testing.T) {
	c := newRefusing(t, 16<<10, 1<<10)
	c.put("small", "v", 800)
	for i := range 20 {
		c.put(fmt.Sprint("large", i), "v", 2<<10)
	}
	if _, ok := c.get("small"); !ok {
		t.Error("refused entries displaced one that the store holds")
	}
	if u := c.Usage(); u.Refusals <= 20 {
		t.Errorf("%d refusals of 20 entries, want some of them twice", u.Refusals)
	}
}

func TestTooLargeIsRefusedAndRemovesTheOld(t *testing.T) {
	c := newCache(t, 64<<10)
	c.put("key", "old", 500)
	if c.put("key", "new", c.MaxEntry()+1) {
		t.Error("an entry above MaxEntry was put")
	}
	if v, ok := c.get("key"); ok {
		t.Errorf("superseded value %q is still there", v)
	}
	if !c.put("key", "new", c.MaxEntry()) {
		t.Error("an entry of exactly MaxEntry was refused")
	}
	if v, _ := c.get("key"); v != "new" {
		t.Errorf("got %q, want the entry of MaxEntry", v)
	}
}

// Fills have a budget of their own: what holds all of it keeps nothing else from
// being stored.
func TestFillsHoldTheirOwnBudget(t *testing.T) {
	c := newCache(t, 64<<10)
	half := c.fillBytes / 2
	for range 2 {
		if !c.Reserve(half) {
			t.Fatal("the budget of fills could not be reserved")
		}
	}
	if c.Reserve(1) {
		t.Error("more than the budget of fills was reserved")
	}
	if !c.put("key", "v", 500) {
		t.Error("an entry was refused because of fills")
	}
	// One fill becomes an entry, larger than what it reserved.
	if !c.Put(c.hash("fill"), c.entry("fill", "v", c.Generation()), half+500, half) {
		t.Error("the fill did not become an entry")
	}
	c.settle()
	if got := c.filling.Load(); got != half {
		t.Errorf("%d bytes count as being filled, want those of the other fill, %d", got, half)
	}
}

// A writer that gives up while it held mu does the work of those who did not
// wait for it.
func TestNothingStaysQueued(t *testing.T) {
	c := newCache(t, 64<<10)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if n := c.MaxEntry() - int64(i%100); c.Reserve(n) {
					c.Release(n)
				}
				c.put(fmt.Sprint(w, i), "v", 300)
			}
		})
	}
	wg.Wait()
	if c.admission.pending() {
		t.Error("changes are queued and nobody is at work")
	}
}

func TestUsageCountsEntriesAndBytes(t *testing.T) {
	c := newCache(t, 1<<20)
	var sum atomic.Int64
	for i := range 100 {
		cost := int64(300 + i)
		sum.Add(cost)
		c.put(fmt.Sprint("key", i), "v", cost)
	}
	c.Reserve(1000)
	c.settle()
	u := c.Usage()
	if u.Entries != 100 || u.Bytes != sum.Load()+1000 || u.MaxBytes != 1<<20 {
		t.Errorf("got %+v, want 100 entries of %d bytes and 1000 reserved", u, sum.Load())
	}
	e := c.Get(c.hash("key7"), "key7")
	if e.cost != 307 {
		t.Errorf("Cost() = %d, want 307", e.cost)
	}
}
