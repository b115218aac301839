package engine

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// A Share bounds the bytes of some of a cache's entries: those that name it.
// When they exceed it, the coldest of them make room, and none of others'. It
// sets nothing aside: what a share does not use is there for all.
type Share[V any] struct {
	limit atomic.Int64

	mu      sync.Mutex
	used    int64       // guarded by mu
	entries []*Entry[V] // guarded by mu; the live ones, each at its slot
}

// NewShare returns a share of limit bytes.
func NewShare[V any](limit int64) *Share[V] {
	s := new(Share[V])
	s.limit.Store(limit)
	return s
}

// SetLimit changes the bound. It takes effect as entries come.
func (s *Share[V]) SetLimit(limit int64) { s.limit.Store(limit) }

// Used returns the bytes of the entries.
func (s *Share[V]) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// fits reports whether an entry of this cost can ever be held. All do in no
// share.
func (s *Share[V]) fits(cost int64) bool { return s == nil || cost <= s.limit.Load() }

// add takes in an entry that goes live.
func (s *Share[V]) add(e *Entry[V]) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.used += e.cost
	e.slot = int32(len(s.entries))
	s.entries = append(s.entries, e)
	s.mu.Unlock()
}

// remove lets go of an entry that has died.
func (s *Share[V]) remove(e *Entry[V]) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.used -= e.cost
	last := len(s.entries) - 1
	moved := s.entries[last]
	s.entries[e.slot], moved.slot = moved, e.slot
	s.entries[last] = nil
	s.entries = s.entries[:last]
	s.mu.Unlock()
}

// sampled is how many entries are looked at for the coldest.
const sampled = 8

// coldest returns an entry to make room, or nil if there is room. It is never
// the one that was just put.
func (s *Share[V]) coldest(put *Entry[V]) (victim *Entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used <= s.limit.Load() {
		return nil
	}
	for range sampled {
		e := s.entries[rand.IntN(len(s.entries))]
		if e != put && (victim == nil || colder(e, victim)) {
			victim = e
		}
	}
	if victim == nil && len(s.entries) > 1 { // by chance put alone
		victim = s.entries[0]
		if victim == put {
			victim = s.entries[1]
		}
	}
	return victim
}

// colder reports whether a's last hit was counted in an earlier round than b's,
// or a was hit less in the same one, or came earlier.
func colder[V any](a, b *Entry[V]) bool {
	ta, tb := a.touched.Load(), b.touched.Load()
	if ta == tb {
		return a.Gen < b.Gen
	}
	return int32(ta-tb) < 0 // rounds wrap
}
