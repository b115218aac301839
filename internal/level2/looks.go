package level2

import (
	"sync"
	"time"
)

// A backend may show what is too old after its key was removed: another process
// had loaded it before, and wrote it after. For a while the bound of the key is
// remembered. Before it is forgotten, a second look finds such a value and
// removes it; nothing that old is written any more by then.

// secondLook is how long after a removal it is looked for what came late: the
// age up to which values are written, and some time for a write to arrive.
const secondLook = maxValueAge + supersededFor/4

// looksAtOnce is how many keys are looked at side by side.
const looksAtOnce = 16

// A look is a key to be looked at.
type look struct {
	key  string // as the backend knows it
	hash uint64
	due  time.Time
}

// looks are those to come, at most supersededKeys, and one a key.
type looks struct {
	news chan struct{} // of capacity 1; the first has come

	mu   sync.Mutex
	list []look               // guarded by mu; by due
	due  map[string]time.Time // guarded by mu; by key, when it is looked at last
}

func newLooks() *looks {
	return &looks{news: make(chan struct{}, 1), due: make(map[string]time.Time)}
}

// add has key looked at when that is due, and reports whether there was room.
func (s *looks) add(key string, hash uint64, due time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= supersededKeys {
		return false
	}
	s.list = append(s.list, look{key, hash, due})
	s.due[key] = due
	select {
	case s.news <- struct{}{}:
	default:
	}
	return true
}

// take returns some that are due, or how long it is until the next one is: 0 if
// there is none.
func (s *looks) take(now time.Time) (due []look, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.list) > 0 && len(due) < looksAtOnce {
		next := s.list[0]
		if wait = next.due.Sub(now); wait > 0 {
			return due, wait
		}
		s.list[0] = look{}
		s.list = s.list[1:]
		if s.due[next.key].Equal(next.due) { // else it is looked at later
			delete(s.due, next.key)
			due = append(due, next)
		}
	}
	return due, 0
}
