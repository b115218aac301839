package cachefetch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// A fleetStore is one store that several processes reach by links of their own.
type fleetStore struct {
	backendtest.Memory

	mu     sync.Mutex
	past   map[string][]version // guarded by mu; by key, the newest last
	faults bool                 // guarded by mu
	rnd    *rand.Rand           // guarded by mu
}

// A version is what was under a key since some time.
type version struct {
	value []byte // nil: nothing
	by    *link
	since time.Time
}

// chance reports true with probability p.
func (s *fleetStore) chance(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.Float64() < p
}

func (s *fleetStore) upTo(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rnd.Int64N(int64(d) + 1))
}

func (s *fleetStore) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

func (s *fleetStore) setFaults(on bool) {
	s.mu.Lock()
	s.faults = on
	s.mu.Unlock()
}

// A link is how one process reaches the store: its clock is ahead of the
// store's by some time, its reads show the changes of others late, calls take
// time, and while the store is failing they fail before or after they are done.
type link struct {
	s     *fleetStore
	ahead time.Duration
	lag   time.Duration
	dials time.Duration // how long it takes to subscribe; 0: it depends
}

var errLink = errors.New("link failed")

// pass makes a call.
func (l *link) pass(ctx context.Context, do func() error) error {
	delay := l.s.upTo(10 * time.Millisecond)
	failing := l.s.failing()
	if failing && l.s.chance(0.1) {
		delay += l.s.upTo(time.Second) // perhaps more than there is
	}
	time.Sleep(delay) // whatever ctx says: what was sent arrives
	if failing && l.s.chance(0.2) {
		return errLink
	}
	err := do()
	if failing && l.s.chance(0.2) {
		return errLink
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

func (l *link) Get(ctx context.Context, key string) (value []byte, err error) {
	err = l.pass(ctx, func() error {
		value, err = l.read(key)
		return err
	})
	return value, err
}

func (l *link) GetMany(ctx context.Context, keys []string) (map[string][]byte, error) {
	values := make(map[string][]byte)
	err := l.pass(ctx, func() error {
		for _, key := range keys {
			if value, err := l.read(key); err == nil {
				values[key] = value
			}
		}
		return nil
	})
	return values, err
}

// read returns what this link shows now.
func (l *link) read(key string) ([]byte, error) {
	l.s.mu.Lock()
	past := l.s.past[key]
	now := time.Now()
	for len(past) > 0 {
		last := past[len(past)-1]
		if last.by == l || now.Sub(last.since) >= l.lag {
			break
		}
		past = past[:len(past)-1]
	}
	var value []byte
	if len(past) > 0 {
		value = past[len(past)-1].value
	}
	l.s.mu.Unlock()
	if value == nil {
		return nil, backend.ErrMiss
	}
	return shiftValue(value, -l.ahead), nil
}

// change makes a change of key.
func (l *link) change(ctx context.Context, key string, do func(ctx context.Context) error) error {
	return l.pass(ctx, func() error {
		ctx := context.WithoutCancel(ctx)
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		if err := do(ctx); err != nil {
			return err
		}
		value, _ := l.s.Memory.Get(ctx, key)
		if l.s.past == nil {
			l.s.past = make(map[string][]version)
		}
		past := l.s.past[key]
		if len(past) > 50 {
			past = past[25:]
		}
		l.s.past[key] = append(past, version{value, l, time.Now()})
		return nil
	})
}

func (l *link) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return l.change(ctx, key, func(ctx context.Context) error {
		return l.s.Memory.Set(ctx, key, shiftValue(value, l.ahead), ttl)
	})
}

func (l *link) Delete(ctx context.Context, key string) error {
	return l.change(ctx, key, func(ctx context.Context) error { return l.s.Memory.Delete(ctx, key) })
}

func (l *link) SetVersion(ctx context.Context, key string, value []byte, ttl time.Duration, version int64) error {
	return l.change(ctx, key, func(ctx context.Context) error {
		return l.s.Memory.SetVersion(ctx, key, shiftValue(value, l.ahead), ttl, version+int64(l.ahead))
	})
}

func (l *link) DeleteVersion(ctx context.Context, key string, version int64) error {
	return l.change(ctx, key, func(ctx context.Context) error {
		return l.s.Memory.DeleteVersion(ctx, key, version+int64(l.ahead))
	})
}

func (l *link) Acquire(ctx context.Context, key string, ttl time.Duration) (token string, err error) {
	err = l.pass(ctx, func() error {
		token, err = l.s.Memory.Acquire(context.WithoutCancel(ctx), key, ttl)
		return err
	})
	return token, err
}

func (l *link) Release(ctx context.Context, key, token string) error {
	return l.pass(ctx, func() error { return l.s.Memory.Release(context.WithoutCancel(ctx), key, token) })
}

func (l *link) Publish(ctx context.Context, message []byte) error {
	return l.pass(ctx, func() error {
		return l.s.Memory.Publish(context.WithoutCancel(ctx), shiftMessage(message, l.ahead))
	})
}

func (l *link) Subscribe(ctx context.Context, receive func([]byte), connected func()) error {
	if l.dials > 0 {
		time.Sleep(l.dials)
	} else {
		time.Sleep(l.s.upTo(2 * time.Second))
	}
	return l.s.Memory.Subscribe(ctx, func(m []byte) {
		time.Sleep(l.s.upTo(20 * time.Millisecond))
		receive(shiftMessage(m, -l.ahead))
	}, connected)
}

// The bytes that processes exchange have formats that their files in
// internal/level2 document. A link changes the times in them.

// shiftValue returns what a store holds as if it had been written by a clock
// that is d ahead.
func shiftValue(b []byte, d time.Duration) []byte {
	const sum, times, n = 1, 9, 5
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	if len(b) < times+8*n || binary.BigEndian.Uint32(b[sum:]) != crc32.Checksum(b[sum+4:], castagnoli) {
		return b
	}
	b = bytes.Clone(b)
	for i := range n {
		shift(b[times+8*i:], d)
	}
	binary.BigEndian.PutUint32(b[sum:], crc32.Checksum(b[sum+4:], castagnoli))
	return b
}

// shiftMessage is shiftValue for a message.
func shiftMessage(b []byte, d time.Duration) []byte {
	const at = 11
	b = bytes.Clone(b)
	shift(b[at:], d)
	return b
}

// shift changes the time at the beginning of b, if there is one.
func shift(b []byte, d time.Duration) {
	if at := binary.BigEndian.Uint64(b); at != 0 {
		binary.BigEndian.PutUint64(b, at+uint64(d))
	}
}

// capabilities are the sets of optional ones that a backend may have.
const capabilities = 16

// with returns l with the capabilities of a set only.
func (l *link) with(set int) backend.Backend {
	if set&readsInBatches != 0 {
		return l.withMany()[set&^readsInBatches]
	}
	type (
		B = backend.Backend
		V = backend.Versions
		I = backend.Invalidations
		L = backend.Lease
	)
	return [...]B{
		struct{ B }{l},
		struct {
			B
			V
		}{l, l},
		struct {
			B
			I
		}{l, l},
		struct {
			B
			V
			I
		}{l, l, l},
		struct {
			B
			L
		}{l, l},
		struct {
			B
			V
			L
		}{l, l, l},
		struct {
			B
			I
			L
		}{l, l, l},
		struct {
			B
			V
			I
			L
		}{l, l, l, l},
	}[set]
}

func (l *link) withMany() [capabilities / 2]backend.Backend {
	type (
		B = backend.Backend
		V = backend.Versions
		I = backend.Invalidations
		L = backend.Lease
		M = backend.Many
	)
	return [...]B{
		struct {
			B
			M
		}{l, l},
		struct {
			B
			V
			M
		}{l, l, l},
		struct {
			B
			I
			M
		}{l, l, l},
		struct {
			B
			V
			I
			M
		}{l, l, l, l},
		struct {
			B
			L
			M
		}{l, l, l},
		struct {
			B
			V
			L
			M
		}{l, l, l, l},
		struct {
			B
			I
			L
			M
		}{l, l, l, l},
		struct {
			B
			V
			I
			L
			M
		}{l, l, l, l, l},
	}
}

// Bits of a set; the others are versions, and leases.
const (
	hasInvalidations = 2
	readsInBatches   = 8
)
