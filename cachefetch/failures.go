package cachefetch

import (
	"sync"

	"github.com/freshet-go/freshet/internal/engine"
)

// maxFailures bounds the keys whose failures are remembered: in an outage, those
// that are asked for again and again are among the last thousand.
const maxFailures = 1024

// failures are the errors of loads of keys that have no old value, each
// remembered for a short while. They are no entries of the store: they take
// nothing's place there, least of all that of an old value that the next load
// may validate.
type failures struct {
	mu sync.Mutex
	by map[string]failure // guarded by mu
}

type failure struct {
	err   error
	gen   uint64 // of the load
	until engine.Instant
}

// note remembers f as the failure of key.
func (x *failures) note(key string, f failure, now engine.Instant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.by == nil {
		x.by = make(map[string]failure)
	}
	if len(x.by) >= maxFailures {
		for other, f := range x.by {
			if f.until <= now {
				delete(x.by, other)
			}
		}
	}
	for other := range x.by {
		if len(x.by) < maxFailures {
			break
		}
		delete(x.by, other)
	}
	x.by[key] = f
}

// of returns what is remembered of key, or a zero failure.
func (x *failures) of(key string, now engine.Instant) failure {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.by[key]
	if f.until <= now {
		delete(x.by, key)
		return failure{}
	}
	return f
}

func (x *failures) forget(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.by, key)
}
