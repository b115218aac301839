package backendtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// ErrFault is what a [Faulty] backend returns for calls that fail.
var ErrFault = errors.New("backendtest: injected fault")

// Faults say how often a [Faulty] backend does what it must not. Each is the
// probability, between 0 and 1, of one call.
type Faults struct {
	Fail  float64 // return ErrFault, having done nothing
	Lose  float64 // Set and Delete: return nil, having done nothing
	Late  float64 // return ErrFault, having done it
	Panic float64
	Slow  float64 // wait for SlowFor first, whether or not the context ends

	SlowFor time.Duration

	Corrupt  float64 // Get: with one bit flipped
	Truncate float64 // Get: without the last bytes, perhaps all of them
	Extend   float64 // Get: with bytes too many
	Other    float64 // Get: what is stored under another key
	Old      float64 // Get: what was stored under the key before
	Garbage  float64 // Get: random bytes
	Version  float64 // Get: with another first byte, as another release may write it
}

// A Faulty wraps a [backend.Backend] and misbehaves as its Faults say. It
// has no optional capabilities. With it a program can be tried in a bad time:
// a cache must go on with nothing worse than misses.
type Faulty struct {
	backend backend.Backend

	mu      sync.Mutex
	faults  Faults              // guarded by mu
	rand    *rand.Rand          // guarded by mu
	history map[string][][]byte // guarded by mu; what was set, by key
	keys    []string            // guarded by mu; of history
}

// NewFaulty returns one that does no harm until it is told to by Misbehave.
// Which calls are hit depends on seed, and on the order of calls.
func NewFaulty(b backend.Backend, seed uint64) *Faulty {
	return &Faulty{backend: b, rand: rand.New(rand.NewPCG(seed, 0)), history: make(map[string][][]byte)}
}

// Misbehave sets the faults of all calls that begin from now on.
func (f *Faulty) Misbehave(faults Faults) {
	f.mu.Lock()
	f.faults = faults
	f.mu.Unlock()
}

// A fate is what befalls one call.
type fate struct {
	fail, lose, late, panics bool
	wait                     time.Duration
}

func (f *Faulty) throw() fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	var x fate
	if f.hitLocked(f.faults.Slow) {
		x.wait = f.faults.SlowFor
	}
	x.fail = f.hitLocked(f.faults.Fail)
	x.lose = f.hitLocked(f.faults.Lose)
	x.late = f.hitLocked(f.faults.Late)
	x.panics = f.hitLocked(f.faults.Panic)
	return x
}

func (f *Faulty) hitLocked(p float64) bool { return p > 0 && f.rand.Float64() < p }

// change makes a Set or a Delete, or not.
func (f *Faulty) change(do func() error) error {
	x := f.throw()
	time.Sleep(x.wait)
	switch {
	case x.panics:
		panic(ErrFault)
	case x.fail:
		return ErrFault
	case x.lose:
		return nil
	}
	err := do()
	if x.late {
		return ErrFault
	}
	return err
}

// Set implements [backend.Backend], when it does.
func (f *Faulty) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return f.change(func() error {
		f.mu.Lock()
		if f.history[key] == nil {
			f.keys = append(f.keys, key)
		}
		f.history[key] = append(f.history[key], slices.Clone(value))
		f.mu.Unlock()
		return f.backend.Set(context.WithoutCancel(ctx), key, value, ttl)
	})
}

// Delete implements [backend.Backend], when it does.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.change(func() error { return f.backend.Delete(context.WithoutCancel(ctx), key) })
}

// Get implements [backend.Backend], when it does.
func (f *Faulty) Get(ctx context.Context, key string) ([]byte, error) {
	x := f.throw()
	time.Sleep(x.wait)
	switch {
	case x.panics:
		panic(ErrFault)
	case x.fail, x.late:
		return nil, ErrFault
	}
	value, err := f.backend.Get(context.WithoutCancel(ctx), key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if lie, ok := f.lieLocked(key); ok {
		value, err = lie, nil
	}
	if err != nil {
		return nil, err
	}
	return f.damageLocked(value), nil
}

// lieLocked returns bytes that are not those of key, or were.
func (f *Faulty) lieLocked(key string) ([]byte, bool) {
	switch {
	case f.hitLocked(f.faults.Old) && len(f.history[key]) > 0:
	case f.hitLocked(f.faults.Other) && len(f.keys) > 0:
		key = f.keys[f.rand.IntN(len(f.keys))]
	case f.hitLocked(f.faults.Garbage):
		b := make([]byte, f.rand.IntN(200))
		for i := range b {
			b[i] = byte(f.rand.Uint32())
		}
		return b, true
	default:
		return nil, false
	}
	of := f.history[key]
	return slices.Clone(of[f.rand.IntN(len(of))]), true
}

// damageLocked returns b, perhaps not as it was.
func (f *Faulty) damageLocked(b []byte) []byte {
	if f.hitLocked(f.faults.Extend) {
		b = append(b, make([]byte, 1+f.rand.IntN(9))...)
	}
	if len(b) == 0 {
		return b
	}
	if f.hitLocked(f.faults.Corrupt) {
		b[f.rand.IntN(len(b))] ^= 1 << f.rand.IntN(8)
	}
	if f.hitLocked(f.faults.Version) {
		b[0] += byte(1 + f.rand.IntN(254))
	}
	if f.hitLocked(f.faults.Truncate) {
		b = b[:f.rand.IntN(len(b))]
	}
	return b
}
