package cachefetch

import (
	"sync/atomic"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// Stats are counts since the cache was made, and its size now.
type Stats struct {
	Hits      uint64 // fresh values returned by Fetch and Get
	Stale     uint64 // stale values returned by Fetch
	Loaded    uint64 // values returned by the Fetch that loaded them
	Errors    uint64 // Fetches that returned no value
	Coalesced uint64 // Fetches that joined a load another one began, whatever came of it

	Loads          uint64 // loads begun
	LoadErrors     uint64 // loads that failed, panicked or timed out
	Refreshes      uint64 // loads begun behind a stale value
	EarlyRefreshes uint64 // of these, of values that were fresh
	NotModified    uint64 // loads that found the old value good
	RefreshSkips   uint64 // refreshes left out because all workers were busy
	Drops          uint64 // loaded values that were not stored: purged meanwhile, too large, or no room to be had
	Purges         uint64 // calls of PurgeTag, PurgePrefix and Flush
	Evictions      uint64 // values that made room for others
	Refusals       uint64 // verdicts of the store's policy against a new value

	Entries     int64 // values held, also expired ones not yet swept
	Bytes       int64 // their cost, at most MaxBytes
	WindowBytes int64 // of these, held in the admission window
	MaxBytes    int64

	Backend backend.Stats // all zero without one
}

// stripes keeps concurrent hits of different keys off one cache line.
const stripes = 8

type counters struct {
	striped [stripes]struct {
		n atomic.Uint64
		_ [56]byte // the rest of a 64-byte cache line
	}

	others [Coalesced + 1]atomic.Uint64 // keys answered by source, but for Fresh

	coalesced, loads, loadErrors, refreshes, earlyRefreshes, notModified, refreshSkips, drops, purges atomic.Uint64
}

// answer counts a key that was answered.
func (c *counters) answer(source Source, hash uint64) {
	if source == Fresh {
		c.hit(hash)
	} else {
		c.others[source].Add(1)
	}
}

// answers returns how many keys were answered with a value from source.
func (c *counters) answers(source Source) uint64 {
	if source == Fresh {
		return c.hits()
	}
	return c.others[source].Load()
}

func (c *counters) hit(hash uint64) { c.striped[hash%stripes].n.Add(1) }

func (c *counters) hits() (n uint64) {
	for i := range c.striped {
		n += c.striped[i].n.Load()
	}
	return n
}
