package cachefetch

import (
	"sync"
	"time"
)

const (
	// supersededFor is how long a key's mark is kept. Within it, whatever
	// another process had read before a delete, or had in its queue, has
	// arrived: see maxQueued.
	supersededFor = time.Minute

	// supersededKeys bounds the marks of a minute; two such maps take about a
	// megabyte.
	supersededKeys = 16 << 10
)

// superseded remembers, for keys that were deleted or could not be written,
// that whatever the backend holds of an older stamp must not be used. Queued
// operations speak for themselves; this is for the time after they are done
// or given up.
//
// Keys stand here by their hash. Two keys that share one cost a miss.
type superseded struct {
	mu      sync.Mutex
	floor   int64            // guarded by mu; nothing of this stamp or an older one may be used
	recent  map[uint64]int64 // guarded by mu; hash to stamp
	before  map[uint64]int64 // guarded by mu; the same, of the minute before
	rotated time.Time        // guarded by mu; when recent was begun

	// The newest stamps in the maps that are of operations given up. When
	// their marks go, what the backend holds is as old as before.
	recentLost int64 // guarded by mu
	beforeLost int64 // guarded by mu
}

// add notes that values of key older than stamp are superseded, and by stamp
// itself too. done says that the backend is known to have forgotten them.
func (s *superseded) add(now time.Time, hash uint64, stamp int64, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotateLocked(now)
	if s.recent == nil {
		s.recent = make(map[uint64]int64)
	}
	if len(s.recent) >= supersededKeys {
		// More than can be told apart: nothing that old is used any more.
		for _, of := range []map[uint64]int64{s.recent, s.before} {
			for _, marked := range of {
				s.floor = max(s.floor, marked)
			}
		}
		clear(s.recent)
		clear(s.before)
		s.recentLost, s.beforeLost = 0, 0
	}
	s.recent[hash] = max(s.recent[hash], stamp)
	if !done {
		s.recentLost = max(s.recentLost, stamp)
	}
}

// raise makes everything of this stamp or an older one superseded.
func (s *superseded) raise(stamp int64) {
	s.mu.Lock()
	s.floor = max(s.floor, stamp)
	s.mu.Unlock()
}

// has reports whether what was generated at stamp must not be used.
func (s *superseded) has(now time.Time, hash uint64, stamp int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotateLocked(now)
	return stamp <= max(s.floor, s.recent[hash], s.before[hash])
}

// rotateLocked forgets the marks of the minute before last, at the earliest.
func (s *superseded) rotateLocked(now time.Time) {
	if now.Sub(s.rotated) < supersededFor {
		return
	}
	s.floor = max(s.floor, s.beforeLost)
	s.before, s.beforeLost = s.recent, s.recentLost
	s.recent, s.recentLost = nil, 0
	s.rotated = now
}
