package engine

import "sync"

// A Share bounds the bytes of some of a cache's entries: those that name it.
// Before they would exceed it, some of them make room, and none of others'. It
// sets nothing aside: what a share does not use is there for all.
//
// Which ones make room is decided by SIEVE (Zhang et al., NSDI 2024): a hand goes
// from the oldest entry to the newest and takes the first that was not used since
// it last passed. So what is asked for once goes soon, and what is asked for again
// stays, wherever it stands.
type Share[V any] struct {
	mu     sync.Mutex
	limit  int64     // guarded by mu
	used   int64     // guarded by mu; bytes of what is held, and of what is about to be
	oldest *Entry[V] // guarded by mu; the live entries are a list
	newest *Entry[V] // guarded by mu
	hand   *Entry[V] // guarded by mu; nil is before the oldest
}

// NewShare returns a share of limit bytes.
func NewShare[V any](limit int64) *Share[V] { return &Share[V]{limit: limit} }

// SetLimit changes the bound. It takes effect as entries come.
func (s *Share[V]) SetLimit(limit int64) {
	s.mu.Lock()
	s.limit = limit
	s.mu.Unlock()
}

// Used returns the bytes of the entries.
func (s *Share[V]) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// reserve takes n bytes, or returns an entry that is to make room first. If there
// is none, there can be no room.
func (s *Share[V]) reserve(n int64) (ok bool, victim *Entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.used+n <= s.limit:
		s.used += n
		return true, nil
	case n > s.limit || s.oldest == nil:
		return false, nil
	}
	for range maxLooks {
		if s.hand == nil {
			s.hand = s.oldest
		}
		victim, s.hand = s.hand, s.hand.newer
		if !victim.used() {
			break
		}
	}
	return false, victim // used or not: others wait for the lock
}

// maxLooks bounds how many entries the hand passes at a time.
const maxLooks = 1000

// release gives back bytes that were reserved.
func (s *Share[V]) release(n int64) {
	if s != nil {
		s.mu.Lock()
		s.used -= n
		s.mu.Unlock()
	}
}

// add takes in an entry that goes live, and whose bytes were reserved.
func (s *Share[V]) add(e *Entry[V]) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.older = s.newest; s.newest == nil {
		s.oldest = e
	} else {
		s.newest.newer = e
	}
	s.newest = e
}

// remove lets go of an entry that has died.
func (s *Share[V]) remove(e *Entry[V]) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= e.cost
	if s.hand == e {
		s.hand = e.newer
	}
	if e.older == nil {
		s.oldest = e.newer
	} else {
		e.older.newer = e.newer
	}
	if e.newer == nil {
		s.newest = e.older
	} else {
		e.newer.older = e.older
	}
	e.older, e.newer = nil, nil // what is still held elsewhere must not hold others
}
