package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// store wraps ristretto, which decides by TinyLFU which entries are worth
// their bytes. Nothing else in the tree knows that it is ristretto.
//
// Ristretto's writes are queued, may be dropped when the queue is full, may
// overtake each other, and never evict on update. None of that can happen
// here, because set, del and wait have one caller at a time (the holder of
// admission.mu), which waits for each batch before it lets go and never
// updates a present key.
//
// Entries get no ristretto TTL: a Get of an item with a TTL reads the wall
// clock and costs twice as much, and the entry carries its own times.
type store[V any] struct {
	r        *ristretto.Cache[uint64, *Entry[V]]
	counters int64

	touches atomic.Int64  // accesses counted
	full    atomic.Uint32 // Entry.touched of one that needs no more of them in this round

	// alive is held for reading around every touch. Ristretto's Get may send
	// on a channel that its Close closes.
	alive  sync.RWMutex
	closed bool // guarded by alive
}

// bytesPerCounter relates the budget to the number of access counters, at 10
// counters for an expected entry of 1 KiB. They cost about 4 bytes each.
const bytesPerCounter = 102

// newStore returns a store of at most maxCost bytes that reports to onEvict
// and onReject. Both run on ristretto's goroutine while the writer waits.
func newStore[V any](maxCost int64, onEvict, onReject func(*Entry[V])) (*store[V], error) {
	counters := min(max(maxCost/bytesPerCounter, 1<<10), 1<<27)
	r, err := ristretto.NewCache(&ristretto.Config[uint64, *Entry[V]]{
		NumCounters:        counters,
		MaxCost:            maxCost,
		BufferItems:        64,
		IgnoreInternalCost: true, // Entry costs are in bytes, bookkeeping included
		OnEvict: func(i *ristretto.Item[*Entry[V]]) {
			// Its sample of candidates may hold a key twice, and so may its
			// list of victims. The second time there is no value any more.
			if i.Value != nil {
				onEvict(i.Value)
			}
		},
		OnReject: func(i *ristretto.Item[*Entry[V]]) { onReject(i.Value) },
	})
	if err != nil {
		return nil, fmt.Errorf("engine: store of %d bytes: %w", maxCost, err)
	}
	s := &store[V]{r: r, counters: counters}
	s.full.Store(enoughTouches)
	return s, nil
}

// set offers e. The verdict is known after wait.
func (s *store[V]) set(e *Entry[V]) { s.r.Set(e.hash, e, e.cost) }

// del forgets e, which the caller knows to be present.
func (s *store[V]) del(e *Entry[V]) { s.r.Del(e.hash) }

// wait returns when every set and del before it has taken effect.
func (s *store[V]) wait() { s.r.Wait() }

// enoughTouches is how many hits of an entry are counted in a round. The store's
// counters of accesses end at 15, and all of them are halved whenever as many
// accesses were counted as there are counters; that is a round, and what is
// counted of an entry beyond 15 in it changes nothing. So hits of hot entries
// cost nothing, and those of others, which small counts are compared with, are
// all counted. To count a sample of the hits instead is tempting, and keeps hot
// entries less well (BenchmarkFlood).
const enoughTouches = 1<<4 - 1

// hit counts a hit of e, whose Entry.touched is the round in which it was
// counted last, in units of enoughTouches+1, and how often it was.
func (s *store[V]) hit(e *Entry[V]) {
	if touched, full := e.touched.Load(), s.full.Load(); touched != full {
		s.count(e, touched, full)
	}
}

// count is the rest of hit, outlined so that that is inlined.
func (s *store[V]) count(e *Entry[V], touched, full uint32) {
	n := touched & enoughTouches
	if touched|enoughTouches != full {
		n = 0 // a new round
	}
	e.touched.Store(full - enoughTouches + n + 1) // one of two at a time may be lost
	s.touch(e.hash)
}

// touch counts an access to hash, whether or not it is present: how often a
// missing key is asked for decides whether it will be admitted.
func (s *store[V]) touch(hash uint64) {
	if s.touches.Add(1)%s.counters == 0 {
		s.full.Add(enoughTouches + 1)
	}
	s.alive.RLock()
	if !s.closed {
		s.r.Get(hash)
	}
	s.alive.RUnlock()
}

// close stops ristretto's goroutines. The caller holds admission.mu.
func (s *store[V]) close() {
	s.alive.Lock()
	defer s.alive.Unlock()
	if !s.closed {
		s.closed = true
		s.r.Close()
	}
}
