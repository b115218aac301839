package level2

import (
	"sync"
	"time"
)

// A process whose clock is further ahead than maxClockSkew stamps what it
// generates as if it were of later. A value of it that was purged seems to be
// generated after the purge once its time has come. So nothing is read of a
// process that was ever seen to be ahead: by what it wrote, or by a message.
// Processes greet each other when they connect, so that this is seen early.

const (
	// clocksKnown bounds the processes of whose clocks something is known.
	clocksKnown = 1024

	// answerPause is how long a process whose greeting was answered is not
	// answered again: it cannot have connected again before.
	answerPause = subscribePause / 2

	// The pause before Subscribe is called again after it returned, at first
	// and at most.
	subscribePause    = time.Second
	subscribeMaxPause = 30 * time.Second
)

// clocks is what is known of the clocks of other processes.
type clocks struct {
	mu       sync.RWMutex
	ahead    map[uint64]struct{}  // guarded by mu; that were seen to be
	answered map[uint64]time.Time // guarded by mu; when the greeting of a process was
}

// sees notes a stamp that has come to be known, and reports whether its clock
// can be trusted.
func (c *clocks) sees(s Stamp, now time.Time) bool {
	if s.At <= now.Add(maxClockSkew).UnixNano() {
		c.mu.RLock()
		defer c.mu.RUnlock()
		_, ahead := c.ahead[s.By]
		return !ahead
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == nil || len(c.ahead) >= clocksKnown {
		c.ahead = make(map[uint64]struct{})
	}
	c.ahead[s.By] = struct{}{}
	return false
}

// answers reports whether a greeting of a process is to be answered.
func (c *clocks) answers(by uint64, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.answered[by]; ok && now.Sub(last) < answerPause {
		return false
	}
	if c.answered == nil || len(c.answered) >= clocksKnown {
		c.answered = make(map[uint64]time.Time)
	}
	c.answered[by] = now
	return true
}
