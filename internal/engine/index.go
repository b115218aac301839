package engine

import "sync"

// shardCount bounds how often two goroutines meet at one lock. 64 shards of a
// map and a lock are small beside the 256 maps that the store makes.
const shardCount = 64

// The index maps a key's hash to the one live entry for it. It is the only
// answer to "what is stored under this key": the store behind it decides what
// may stay, never what is read. That is why a value is visible as soon as it
// was put, why the newest write wins, and why a delete is final, whatever the
// store drops, delays or reorders.
type index[V any] struct {
	shards [shardCount]shard[V]
}

type shard[V any] struct {
	mu sync.RWMutex
	m  map[uint64]*Entry[V] // guarded by mu
	_  [32]byte             // keeps two shards' locks off one 64-byte cache line
}

func (x *index[V]) shard(hash uint64) *shard[V] {
	// The top bits: the store takes the low ones for its own shards.
	return &x.shards[hash>>58]
}

func (x *index[V]) get(hash uint64) *Entry[V] {
	s := x.shard(hash)
	s.mu.RLock()
	e := s.m[hash]
	s.mu.RUnlock()
	return e
}

// remove takes e out of the index if it is still the live entry of its hash.
func (x *index[V]) remove(e *Entry[V]) {
	e.die()
	s := x.shard(e.hash)
	s.mu.Lock()
	if s.m[e.hash] == e {
		delete(s.m, e.hash)
	}
	s.mu.Unlock()
}

func (x *index[V]) len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

func (x *index[V]) clear() {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		for _, e := range s.m {
			e.die()
		}
		s.m = make(map[uint64]*Entry[V])
		s.mu.Unlock()
	}
}
