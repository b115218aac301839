package level2

import (
	"sync"
	"time"
)

const (
	// supersededFor is how long a key's bound is kept, at least. Within it,
	// whatever another process generated before a removal has arrived in the
	// backend, and was looked for there: see maxValueAge and secondLook.
	supersededFor = time.Minute

	// supersededKeys bounds the bounds of a minute: a thousand changes a
	// second, of all processes together. Two such maps take ten megabytes.
	supersededKeys = 64 << 10
)

// superseded remembers, for keys that were removed or set here or elsewhere, or
// could not be written, that what the backend holds may be too old. Queued
// operations speak for themselves; this is for the time after they are done
// or given up.
//
// Keys stand here by their hash. Two keys that share one cost a miss.
type superseded struct {
	mu      sync.Mutex
	floor   Bound            // guarded by mu; of all keys
	recent  map[uint64]Bound // guarded by mu; by hash
	before  map[uint64]Bound // guarded by mu; the same, of the minute before
	rotated time.Time        // guarded by mu; when recent was begun

	// Of the operations in the maps that were given up. When their bounds go,
	// what the backend holds is as old as before.
	recentLost Bound // guarded by mu
	beforeLost Bound // guarded by mu
}

// add adds b to the bounds of hash. done says that the backend will have
// forgotten what is too old by the time that b is forgotten here.
func (s *superseded) add(now time.Time, hash uint64, b Bound, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotateLocked(now)
	if s.recent == nil {
		s.recent = make(map[uint64]Bound)
	}
	if len(s.recent) >= supersededKeys {
		// More than can be told apart: nothing that old is used any more.
		for _, of := range []map[uint64]Bound{s.recent, s.before} {
			for _, b := range of {
				s.raiseLocked(b)
			}
		}
		clear(s.recent)
		clear(s.before)
		s.recentLost, s.beforeLost = Bound{}, Bound{}
	}
	s.recent[hash] = b.and(s.recent[hash])
	if !done {
		s.recentLost = s.recentLost.and(b)
	}
}

// raise makes what b finds too old too old for all keys.
func (s *superseded) raise(b Bound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raiseLocked(b)
}

func (s *superseded) raiseLocked(b Bound) {
	s.floor = s.floor.and(b)
	s.floor.from = Stamp{} // an exception of one key
}

// of returns what is too old of hash.
func (s *superseded) of(now time.Time, hash uint64) Bound {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotateLocked(now)
	return s.recent[hash].and(s.before[hash]).and(s.floor)
}

// rotateLocked forgets the bounds of the minute before last, at the earliest.
func (s *superseded) rotateLocked(now time.Time) {
	if now.Sub(s.rotated) < supersededFor {
		return
	}
	s.raiseLocked(s.beforeLost)
	s.before, s.beforeLost = s.recent, s.recentLost
	s.recent, s.recentLost = nil, Bound{}
	s.rotated = now
}
