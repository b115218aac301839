package level2

import (
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// lookAtLate looks at what is due until closing begins.
func (l *Level[V]) lookAtLate() {
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
func (l *Level[V]) lookLater(name string, hash uint64, b Bound) {
	now := time.Now()
	l.superseded.add(now, hash, b, l.looks.add(name, hash, now.Add(secondLook)))
}

// lookLate removes what the backend has under a key, if it is too old.
func (l *Level[V]) lookLate(k look) {
	data, err := l.get(l.ctx, k.key)
	b := l.boundOf(k.key, k.hash)
	if err != nil && !errors.Is(err, backend.ErrMiss) {
		l.lookLater(k.key, k.hash, b)
		return
	}
	e, bad := parseEnvelope(data)
	if err != nil || bad != nil || b.Allows(e.stamp) && l.trusts(e.stamp) {
		return
	}
	// Others may have read it too.
	l.Remove(k.key[len(l.cfg.Prefix)+len(valueName):], l.cfg.Clock.Next(), Claim{}, true)
}

// boundOf returns what is too old of the key that the backend knows as name.
func (l *Level[V]) boundOf(name string, hash uint64) Bound {
	return l.queue.bound(name, hash).and(l.superseded.of(time.Now(), hash))
}

func (l *Level[V]) hash(name string) uint64 { return maphash.String(l.seed, name) }
