package cachefetch

import (
	"errors"
	"hash/maphash"
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

// lookAtLate looks at what is due until closing begins.
func (l *l2[V]) lookAtLate() {
	for {
		due, wait := l.looks.take(time.Now())
		var group sync.WaitGroup
		for _, k := range due {
			group.Go(func() { l.lookLate(k) })
		}
		group.Wait()
		var timer <-chan time.Time
		switch {
		case wait > 0:
			timer = time.After(wait)
		case len(due) > 0:
			timer = time.After(0)
		}
		select {
		case <-l.closing:
			return
		case <-l.looks.news:
		case <-timer:
		}
	}
}

// lookLater remembers what is too old of a key until the backend was looked at
// again for it. If too many are to be looked at, nothing that old is used from
// then on.
func (l *l2[V]) lookLater(name string, hash uint64, b bound) {
	now := time.Now()
	l.superseded.add(now, hash, b, l.looks.add(name, hash, now.Add(secondLook)))
}

// lookLate removes what the backend has under a key, if it is too old.
func (l *l2[V]) lookLate(k look) {
	data, err := l.get(l.ctx, k.key)
	b := l.boundOf(k.key, k.hash)
	if err != nil && !errors.Is(err, ErrMiss) {
		l.lookLater(k.key, k.hash, b)
		return
	}
	e, bad := parseEnvelope(data)
	if err != nil || bad != nil || b.allows(e.stamp) && l.trusts(e.stamp) {
		return
	}
	// Others may have read it too.
	l.remove(k.key[len(l.prefix)+len(valueName):], l.clock.next(), claim{}, true)
}

// boundOf returns what is too old of the key that the backend knows as name.
func (l *l2[V]) boundOf(name string, hash uint64) bound {
	return l.queue.bound(name, hash).and(l.superseded.of(time.Now(), hash))
}

func (l *l2[V]) hash(name string) uint64 { return maphash.String(l.seed, name) }
