package cachefetch

import (
	"sync/atomic"
	"time"
)

// A stampClock draws stamps: wall time in nanoseconds since 1970, but never
// the same twice and never back, so that within a process what came later has
// the greater stamp also when the clock is set.
type stampClock struct{ last atomic.Int64 }

func (c *stampClock) next() int64 {
	for {
		last := c.last.Load()
		now := max(time.Now().UnixNano(), last+1)
		if c.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// observe makes later stamps greater than one of another process, of which
// this one has come to know. So what follows from something has the greater
// stamp, also if the clock of this process is a little behind.
func (c *stampClock) observe(stamp int64) {
	if stamp > time.Now().Add(maxClockSkew).UnixNano() {
		return // one far ahead is not followed
	}
	for {
		last := c.last.Load()
		if last >= stamp || c.last.CompareAndSwap(last, stamp) {
			return
		}
	}
}
