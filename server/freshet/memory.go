package main

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
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
// would without a limit, and the limit follows them. GOMEMLIMIT in the
// environment replaces all this.

const (
	// memoryBase is what the program needs without any requests.
	memoryBase = 24 << 20

	memoryInterval = time.Second
)

// memoryLimit computes the limit for a cache of maxBytes, of which cached are
// taken, in a program with live bytes on its heap and stacks.
func memoryLimit(maxBytes, live, cached int64) int64 {
	limit := satAdd(satAdd(maxBytes, maxBytes/4), memoryBase)
	// Indexes and bookkeeping of the cache are some percent of what it holds.
	rest := live - cached - cached/8 - memoryBase/2
	return satAdd(limit, 2*max(rest, 0))
}

func satAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// limitMemory keeps the limit right until ctx ends. cache tells what the cache
// holds and may hold.
func limitMemory(ctx context.Context, cache func() (held, budget int64)) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		metrics.Read(samples)
		live := int64(samples[0].Value.Uint64() + samples[1].Value.Uint64())
		held, budget := cache()
		debug.SetMemoryLimit(memoryLimit(budget, live, held))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
