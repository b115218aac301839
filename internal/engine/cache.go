// Package engine is the one core under both faces of Freshet, the typed
// loading cache and the HTTP cache: a bounded store of entries with their
// times ([Cache]), flights that coalesce loads ([Flights]), and a bounded pool
// for refreshes ([Pool]).
//
// Keys are a 64-bit hash, which the caller makes with a seed of its own, plus
// an equality that the caller gives, so that a hit builds no key string and no
// hash ever stands in for a comparison.
package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"
	"unsafe"
)

// ErrClosed is returned by everything that would start work after Close.
var ErrClosed = errors.New("cache is closed")

// MinBytes is the smallest budget. Below it there is no room for one entry and
// its bookkeeping.
const MinBytes = 1 << 10

// bookkeeping is what one entry costs beside itself and its value: a slot in
// the index (8+8 bytes at a load factor of 7/8 or less), in ristretto's map
// (8+48 bytes) and cost table (8+8 bytes), each with its share of map growth.
const bookkeeping = 192

// Config configures a [Cache].
type Config[Q, V any] struct {
	// MaxBytes bounds the bytes of everything held, at least MinBytes.
	MaxBytes int64

	// FillBytes of MaxBytes are for values that are being filled: see Reserve.
	// What takes long to fill then keeps nothing else from being stored. Zero
	// means that nothing can be reserved.
	FillBytes int64

	// Match reports whether the stored v is what q asks for. It is called on
	// every hit and must compare the whole key.
	Match func(q Q, v *V) bool

	// HasPrefix reports whether the key of the stored v begins with prefix,
	// in whatever sense the caller gives to that. It is called while purges
	// wait, and must not call the cache. Nil means that all keys do.
	HasPrefix func(v *V, prefix string) bool

	// LimitMemory has the memory limit of the Go runtime follow the budget,
	// until Close, unless one is set already.
	LimitMemory bool

	// Wall returns the time in nanoseconds since 1970 that purges are marked
	// with, for PurgedAt. Nil means time.Now.
	Wall func() int64
}

// A Cache holds one live entry per key, within a budget in bytes. All methods
// may be called concurrently, also with Close.
type Cache[Q, V any] struct {
	base      time.Time
	match     func(q Q, v *V) bool
	maxBytes  int64
	fillBytes int64
	filling   atomic.Int64 // bytes reserved; never above fillBytes
	index     index[V]
	admission *admission[V]

	epochs epochs[V]

	gen    atomic.Uint64 // the last generation drawn
	swept  atomic.Uint64 // rounds of sweep
	closed atomic.Bool
}

// New returns an empty cache.
func New[Q, V any](cfg Config[Q, V]) (*Cache[Q, V], error) {
	if cfg.MaxBytes < MinBytes {
		return nil, fmt.Errorf("MaxBytes: %d: must be at least %d bytes", cfg.MaxBytes, MinBytes)
	}
	// An eighth for the window, and a little for what an entry of that size takes
	// beside its value. Small caches get a larger share so that it can hold more
	// than one entry.
	window := max(cfg.MaxBytes/8, min(cfg.MaxBytes/2, 8<<10)) + min(cfg.MaxBytes/32, 32<<10)
	if cfg.FillBytes < 0 || cfg.FillBytes > cfg.MaxBytes/4 {
		return nil, fmt.Errorf("FillBytes: %d: must be between 0 and a quarter of MaxBytes, %d", cfg.FillBytes, cfg.MaxBytes/4)
	}
	c := &Cache[Q, V]{base: time.Now(), match: cfg.Match, maxBytes: cfg.MaxBytes, fillBytes: cfg.FillBytes}
	if c.epochs.hasPrefix = cfg.HasPrefix; cfg.HasPrefix == nil {
		c.epochs.hasPrefix = func(*V, string) bool { return true }
	}
	if c.epochs.wall = cfg.Wall; cfg.Wall == nil {
		c.epochs.wall = func() int64 { return time.Now().UnixNano() }
	}
	c.epochs.seed = maphash.MakeSeed()
	c.index.clear()
	var err error
	if c.admission, err = newAdmission(window, cfg.MaxBytes-window-cfg.FillBytes, &c.index); err != nil {
		return nil, err
	}
	if cfg.LimitMemory {
		memory.add(c, c.Usage)
	}
	return c, nil
}

// Now returns the current instant.
func (c *Cache[Q, V]) Now() Instant { return Instant(time.Since(c.base)) }

// Generation draws the next generation. A load draws one before it begins.
//
// It is drawn before a purge or after it, and not while one is being noted: else
// a load could have a generation later than the purge's and still find what the
// purge removes, and those who come after the purge would join it.
func (c *Cache[Q, V]) Generation() uint64 {
	c.epochs.mu.RLock()
	defer c.epochs.mu.RUnlock()
	return c.draw()
}

func (c *Cache[Q, V]) draw() uint64 { return c.gen.Add(1) }

// Newest returns the generation drawn last: all loads and purges that have
// begun have this one or an older one, all others will have newer ones.
func (c *Cache[Q, V]) Newest() uint64 { return c.gen.Load() }

// MaxEntry is the largest cost of one entry.
func (c *Cache[Q, V]) MaxEntry() int64 { return c.admission.limit }

// Overhead is what an entry costs beside the bytes that its value refers to.
func (c *Cache[Q, V]) Overhead() int64 {
	return int64(unsafe.Sizeof(Entry[V]{})) + bookkeeping
}

// Use counts a hit of e, for what reads it without Get.
func (c *Cache[Q, V]) Use(e *Entry[V]) { c.admission.store.hit(e) }

// Get returns the live entry for q, in whatever state it is, or nil.
// It does not allocate.
func (c *Cache[Q, V]) Get(hash uint64, q Q) *Entry[V] {
	e := c.index.get(hash)
	if e != nil && e.checked.Load() < c.epochs.newest.Load() {
		e = c.recheck(hash, e)
	}
	if e == nil || !c.match(q, &e.Value) {
		c.admission.store.touch(hash)
		return nil
	}
	c.admission.store.hit(e)
	return e
}

// Peek is Get for looking, which does not count as a use.
func (c *Cache[Q, V]) Peek(hash uint64, q Q) *Entry[V] {
	if e := c.At(hash); e != nil && c.match(q, &e.Value) {
		return e
	}
	return nil
}

// At returns the live entry of a hash, whatever its key.
func (c *Cache[Q, V]) At(hash uint64) *Entry[V] {
	e := c.index.get(hash)
	if e != nil && e.checked.Load() < c.epochs.newest.Load() {
		e = c.recheck(hash, e)
	}
	return e
}

// recheck returns the entry of hash if it outlives all purges. It was e a
// moment ago; when another has taken its place meanwhile, that one counts.
func (c *Cache[Q, V]) recheck(hash uint64, e *Entry[V]) *Entry[V] {
	for !c.outlives(e) {
		c.drop(e)
		if e = c.index.get(hash); e == nil {
			return nil
		}
	}
	return e
}

// Put makes e the live entry of hash at a cost of cost bytes, unless a newer
// one is there. It is visible when Put returns. The bytes that were reserved
// while its value was filled are released, however Put ends.
//
// Put reports whether e is now the live entry. Where it is not, because its
// cost exceeds MaxEntry or its share, no room can be had, or it was purged since its load
// began, an older entry of the key is removed all the same: it has been
// superseded.
func (c *Cache[Q, V]) Put(hash uint64, e *Entry[V], cost, reserved int64) bool {
	e.hash, e.cost = hash, cost
	e.checked.Store(e.Gen) // older purges do not apply to it
	ok := c.reserve(e)
	c.Release(reserved)
	placed := c.swap(hash, e, ok)
	c.admission.help()
	c.sweep()
	return placed
}

// Replace puts e in the place of old, at a cost of cost bytes, for what has
// become known of old without a load of its key. It reports false, and does
// nothing, if old is not the live entry any more, or was purged since the
// generation of e.
func (c *Cache[Q, V]) Replace(old, e *Entry[V], cost int64) bool {
	e.hash, e.cost = old.hash, cost
	e.checked.Store(e.Gen)
	if !c.reserve(e) {
		return false
	}
	s := c.index.shard(e.hash)
	s.mu.Lock()
	ok := s.m[e.hash] == old && c.storable(e)
	if ok {
		c.dropLocked(s, old)
		c.placeLocked(s, e)
	} else {
		c.unreserve(e)
	}
	s.mu.Unlock()
	c.admission.help()
	return ok
}

// swap replaces the live entry of hash if it is older than e: by e if its
// bytes are reserved, else by nothing.
func (c *Cache[Q, V]) swap(hash uint64, e *Entry[V], reserved bool) bool {
	s := c.index.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.m[hash]
	newer := old != nil && old.Gen > e.Gen
	if reserved && (newer || !c.storable(e)) {
		c.unreserve(e)
		reserved = false
	}
	if newer {
		return false
	}
	if old != nil {
		c.dropLocked(s, old)
	}
	if reserved {
		c.placeLocked(s, e)
	}
	return reserved
}

// placeLocked makes e the live entry of its hash, which has none. The caller
// holds the lock of s.
func (c *Cache[Q, V]) placeLocked(s *shard[V], e *Entry[V]) {
	e.touched.Store(c.admission.store.full.Load() - enoughTouches)
	e.Share.add(e)
	s.m[e.hash] = e
	c.admission.enqueue(change[V]{entry: e})
}

// reserve takes the bytes of e, from its share too, and reports whether they could
// be had. What one entry removes to get them is bounded: the next one goes on.
func (c *Cache[Q, V]) reserve(e *Entry[V]) bool {
	if c.closed.Load() {
		return false
	}
	if e.Share != nil {
		ok, victim := e.Share.reserve(e.cost)
		for n := 0; !ok; n++ {
			if victim == nil || n == maxVictims {
				return false
			}
			c.drop(victim)
			c.admission.evictions.Add(1)
			ok, victim = e.Share.reserve(e.cost)
		}
	}
	if c.admission.reserve(e.cost) {
		return true
	}
	e.Share.release(e.cost)
	return false
}

// maxVictims bounds how many entries make room for one in its share.
const maxVictims = 4096

// unreserve gives back what reserve took.
func (c *Cache[Q, V]) unreserve(e *Entry[V]) {
	c.admission.release(e.cost)
	e.Share.release(e.cost)
}

// dropLocked removes the live entry e. The caller holds the lock of s.
func (c *Cache[Q, V]) dropLocked(s *shard[V], e *Entry[V]) {
	e.die()
	delete(s.m, e.hash)
	c.admission.enqueue(change[V]{entry: e, removed: true})
}

// drop removes e if it is still live.
func (c *Cache[Q, V]) drop(e *Entry[V]) {
	s := c.index.shard(e.hash)
	s.mu.Lock()
	if s.m[e.hash] == e {
		c.dropLocked(s, e)
	}
	s.mu.Unlock()
	c.admission.help()
}

// Delete removes the live entry for q and reports whether there was one.
func (c *Cache[Q, V]) Delete(hash uint64, q Q) bool {
	s := c.index.shard(hash)
	s.mu.Lock()
	e := s.m[hash]
	live := false
	if e != nil && c.match(q, &e.Value) {
		live = c.outlives(e)
		c.dropLocked(s, e)
	}
	s.mu.Unlock()
	c.admission.help()
	return live
}

// Soften makes the live entry for q stale, as a soft purge does.
func (c *Cache[Q, V]) Soften(hash uint64, q Q) {
	if e := c.Get(hash, q); e != nil {
		e.soften(max(c.Now(), 1))
	}
}

// Reserve takes n bytes of Config.FillBytes for a value that is being filled,
// and reports whether they could be had. They are given back by Release or Put.
func (c *Cache[Q, V]) Reserve(n int64) bool {
	for {
		held := c.filling.Load()
		if held+n > c.fillBytes {
			return false
		}
		if c.filling.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

// Release gives back reserved bytes.
func (c *Cache[Q, V]) Release(n int64) { c.filling.Add(-n) }

// sweep removes a few entries that are past all use, so that memory follows
// what is useful and not only what fits. It goes with every Put; a cache that
// is not written to does not grow.
func (c *Cache[Q, V]) sweep() {
	const look = 8
	now := c.Now()
	s := &c.index.shards[c.swept.Add(1)%shardCount]
	var found [look]*Entry[V]
	n := 0
	s.mu.RLock()
	for _, e := range s.m { // begins at a random entry each time
		found[n] = e
		if n++; n == look {
			break
		}
	}
	s.mu.RUnlock()
	for _, e := range found[:n] {
		if e.Times.Horizon() <= now || !c.outlives(e) {
			c.drop(e)
		}
	}
}

// Usage says how full a [Cache] is. Bytes are as counted against the budget.
type Usage struct {
	Entries     int64
	Bytes       int64 // held in all, at most MaxBytes
	WindowBytes int64 // of these: being filled, or held outside the store
	MaxBytes    int64
	Evictions   uint64 // entries that made room for others
	Refusals    uint64 // verdicts of the store's policy against a new entry
}

// Usage returns a snapshot.
func (c *Cache[Q, V]) Usage() Usage {
	a := c.admission
	window := a.used.Load() + c.filling.Load()
	return Usage{
		Entries:     int64(c.index.len()),
		Bytes:       window + a.resident.Load(),
		WindowBytes: window,
		MaxBytes:    c.maxBytes,
		Evictions:   a.evictions.Load(),
		Refusals:    a.refusals.Load(),
	}
}

// Close drops all entries and ends the store's goroutines. Further calls of
// Get find nothing and further calls of Put keep nothing. Close may be called
// more than once and concurrently with everything else.
func (c *Cache[Q, V]) Close() {
	c.closed.Store(true)
	memory.remove(c)
	c.epochs.close()
	c.admission.close()
	c.index.clear()
}
