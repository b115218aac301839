package backendtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// forgetDeletes is how long a Memory remembers the version of a delete.
const forgetDeletes = time.Minute

// A Memory is a [backend.Backend] in the memory of a test, with all optional
// capabilities. Caches that share one behave like processes that share a
// server. The zero value is empty and ready for use. It is not bounded, and
// lets go of a value only when its key is used again.
type Memory struct {
	mu          sync.Mutex
	values      map[string]memoryItem // guarded by mu
	leases      map[string]memoryItem // guarded by mu; the value is the token
	tokens      int                   // guarded by mu; given out so far
	subscribers map[*inbox]struct{}   // guarded by mu
}

// A memoryItem is a value, or after DeleteVersion the place where one was.
type memoryItem struct {
	value   []byte
	version int64
	deleted bool
	until   time.Time
}

// item returns what is stored under key and not expired. The caller holds mu.
func (m *Memory) item(of map[string]memoryItem, key string) (memoryItem, bool) {
	it, ok := of[key]
	if ok && !time.Now().Before(it.until) {
		delete(of, key)
		return memoryItem{}, false
	}
	return it, ok
}

// Get implements [backend.Backend].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.item(m.values, key)
	if !ok || it.deleted {
		return nil, fmt.Errorf("%w: %q", backend.ErrMiss, key)
	}
	return slices.Clone(it.value), nil
}

// Set implements [backend.Backend].
func (m *Memory) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return m.put(ctx, key, memoryItem{value: slices.Clone(value)}, ttl)
}

// Delete implements [backend.Backend].
func (m *Memory) Delete(ctx context.Context, key string) error {
	return m.put(ctx, key, memoryItem{deleted: true}, 0)
}

// SetVersion implements [backend.Versions].
func (m *Memory) SetVersion(ctx context.Context, key string, value []byte, ttl time.Duration, version int64) error {
	return m.put(ctx, key, memoryItem{value: slices.Clone(value), version: version}, ttl)
}

// DeleteVersion implements [backend.Versions].
func (m *Memory) DeleteVersion(ctx context.Context, key string, version int64) error {
	return m.put(ctx, key, memoryItem{version: version, deleted: true}, forgetDeletes)
}

// put stores it for ttl unless it is a value and what is there has a greater
// version. A version of 0 means that there is none to compare.
func (m *Memory) put(ctx context.Context, key string, it memoryItem, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.item(m.values, key); ok && it.version != 0 && old.version > it.version {
		if !it.deleted {
			return nil
		}
		it.version = old.version
	}
	if m.values == nil {
		m.values = make(map[string]memoryItem)
	}
	it.until = time.Now().Add(ttl)
	m.values[key] = it
	return nil
}

// Len returns the number of values stored, expired ones left out.
func (m *Memory) Len() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.values {
		if it, ok := m.item(m.values, key); ok && !it.deleted {
			n++
		}
	}
	return n
}

// Acquire implements [backend.Lease].
func (m *Memory) Acquire(ctx context.Context, key string, ttl time.Duration) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, held := m.item(m.leases, key); held {
		return "", nil
	}
	if m.leases == nil {
		m.leases = make(map[string]memoryItem)
	}
	m.tokens++
	token := fmt.Sprint("lease ", m.tokens)
	m.leases[key] = memoryItem{value: []byte(token), until: time.Now().Add(ttl)}
	return token, nil
}

// Release implements [backend.Lease].
func (m *Memory) Release(ctx context.Context, key, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if it, held := m.item(m.leases, key); held && string(it.value) == token {
		delete(m.leases, key)
	}
	return nil
}

// An inbox holds the messages of one subscriber until it takes them.
type inbox struct {
	messages [][]byte      // guarded by Memory.mu
	lost     bool          // guarded by Memory.mu; its connection was broken
	news     chan struct{} // of capacity 1
}

func (in *inbox) notify() {
	select {
	case in.news <- struct{}{}:
	default:
	}
}

// Publish implements [backend.Invalidations].
func (m *Memory) Publish(ctx context.Context, message []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for in := range m.subscribers {
		in.messages = append(in.messages, slices.Clone(message))
		in.notify()
	}
	return nil
}

// Subscribe implements [backend.Invalidations].
func (m *Memory) Subscribe(ctx context.Context, receive func(message []byte), connected func()) error {
	in := &inbox{news: make(chan struct{}, 1)}
	m.mu.Lock()
	if m.subscribers == nil {
		m.subscribers = make(map[*inbox]struct{})
	}
	m.subscribers[in] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.subscribers, in)
		m.mu.Unlock()
	}()
	connected()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-in.news:
		}
		m.mu.Lock()
		messages, lost := in.messages, in.lost
		in.messages, in.lost = nil, false
		m.mu.Unlock()
		if lost {
			connected()
		}
		for _, message := range messages {
			if ctx.Err() == nil {
				receive(message)
			}
		}
	}
}

// Disconnect loses the messages that subscribers have not yet received, and
// has them connected anew.
func (m *Memory) Disconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for in := range m.subscribers {
		in.messages, in.lost = nil, true
		in.notify()
	}
}
