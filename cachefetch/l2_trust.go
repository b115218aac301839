package cachefetch

import (
	"sync"
	"time"
)

// A process whose clock is further ahead than maxClockSkew stamps what it
// generates as if it were of later. A value of it that was purged seems to be
// generated after the purge once its time has come. So nothing is read of a
// process that was ever seen to be ahead: by what it wrote, or by a message.
// Processes greet each other when they connect, so that this is seen early.

// clocksKnown bounds the processes of whose clocks something is known.
const clocksKnown = 1024

// clocks is what is known of the clocks of other processes.
type clocks struct {
	mu       sync.RWMutex
	ahead    map[uint64]struct{}  // guarded by mu; that were seen to be
	answered map[uint64]time.Time // guarded by mu; when the greeting of a process was
}

// sees notes a stamp that has come to be known, and reports whether its clock
// can be trusted.
func (c *clocks) sees(s stamp, now time.Time) bool {
	if s.at <= now.Add(maxClockSkew).UnixNano() {
		c.mu.RLock()
		defer c.mu.RUnlock()
		_, ahead := c.ahead[s.by]
		return !ahead
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == nil || len(c.ahead) >= clocksKnown {
		c.ahead = make(map[uint64]struct{})
	}
	c.ahead[s.by] = struct{}{}
	return false
}

// answers reports whether a greeting of a process is to be answered: not again
// before it can have connected again.
func (c *clocks) answers(by uint64, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.answered[by]; ok && now.Sub(last) < subscribePause/2 {
		return false
	}
	if c.answered == nil || len(c.answered) >= clocksKnown {
		c.answered = make(map[uint64]time.Time)
	}
	c.answered[by] = now
	return true
}

// trusts reports whether what was generated at s may be used as far as its
// clock is concerned.
func (l *l2[V]) trusts(s stamp) bool { return s.by == l.clock.by || l.clocks.sees(s, time.Now()) }

// greet tells the others what time it is here.
func (l *l2[V]) greet() {
	s := stamp{time.Now().UnixNano(), l.clock.by} // the clock itself, not what it follows
	o := l.note(l.told(purge{kind: greeting, stamp: s}))
	o.stamp = l.clock.next()
	o.bound = renewal(o.stamp)
	l.enqueue(o)
}

// greeted takes a greeting. One that seems to be late may show that this
// process is ahead of who sent it, who can only see that by an answer.
func (l *l2[V]) greeted(s stamp) {
	now := time.Now()
	if l.trusts(s) && s.at < now.Add(-maxClockSkew).UnixNano() && l.clocks.answers(s.by, now) {
		l.greet()
	}
}
