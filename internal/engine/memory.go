package engine

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// The garbage collector lets the heap grow to twice what is live before it
// runs (GOGC=100). With a cache nearly all of that is the cache, and a budget
// of 1 GiB would take 2 GiB of memory. A memory limit makes it run earlier:
// at a quarter more than the budget, plus what the rest of the program needs.
//
// The rest is not constant. Ten thousand requests in flight hold some hundred
// MiB of buffers and stacks, and a limit that ignored them would have the
// collector run all the time. So they may take twice their live size, as they
// would without a limit, and the limit follows them.

const (
	// memoryBase is what a program needs that does nothing.
	memoryBase = 24 << 20

	memoryInterval = time.Second
)

// memoryLimit computes the limit for caches of maxBytes, of which cached are
// taken, in a program with live bytes on its heap and stacks.
func memoryLimit(maxBytes, live, cached int64) int64 {
	limit := satAdd(satAdd(maxBytes, maxBytes/4), memoryBase)
	// Indexes and bookkeeping of a cache are some percent of what it holds.
	rest := live - cached - cached/8 - memoryBase/2
	return satAdd(limit, 2*max(rest, 0))
}

func satAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// memory keeps the limit right while there are caches that ask for one. There
// is one limit in a process.
var memory memoryLimiter

type memoryLimiter struct {
	mu     sync.Mutex
	caches map[any]func() Usage // guarded by mu
	limit  int64                // guarded by mu; as set last
	stop   chan struct{}        // guarded by mu; closed when there are no caches
}

// add counts a cache in. Where the program, or whoever started it, has set a
// limit, that one stays.
func (m *memoryLimiter) add(cache any, usage func() Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.caches) == 0 {
		if os.Getenv("GOMEMLIMIT") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
			return
		}
		m.caches, m.limit, m.stop = make(map[any]func() Usage), math.MaxInt64, make(chan struct{})
		go m.follow(m.stop)
	}
	m.caches[cache] = usage
	m.update()
}

// remove counts a cache out. With the last one the limit goes.
func (m *memoryLimiter) remove(cache any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.caches[cache] == nil {
		return
	}
	delete(m.caches, cache)
	if m.update(); len(m.caches) == 0 {
		close(m.stop)
	}
}

func (m *memoryLimiter) follow(stop <-chan struct{}) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.mu.Lock()
			m.update()
			m.mu.Unlock()
		case <-stop:
			return
		}
	}
}

// update sets the limit anew, unless the program has set another one
// meanwhile. The caller holds mu.
func (m *memoryLimiter) update() {
	if debug.SetMemoryLimit(-1) != m.limit {
		return
	}
	m.limit = math.MaxInt64
	if len(m.caches) > 0 {
		samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(samples)
		var budget, held int64
		for _, usage := range m.caches {
			u := usage()
			budget, held = satAdd(budget, u.MaxBytes), held+u.Bytes
		}
		m.limit = memoryLimit(budget, int64(samples[0].Value.Uint64()+samples[1].Value.Uint64()), held)
	}
	debug.SetMemoryLimit(m.limit)
}
