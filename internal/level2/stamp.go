package level2

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// maxClockSkew is how far the clocks of processes that share a backend may be
// apart. What another one wrote up to this long after a removal may have been
// generated before it, and is not used. What seems to be generated later than
// this from now is not used either.
const maxClockSkew = time.Second

// A Stamp says when something was generated, and by which process. No two
// things bear the same stamp.
type Stamp struct {
	At int64  // nanoseconds since 1970, by the clock of that process
	By uint64 // the process, by a random number that is not 0
}

// A Clock draws the stamps of one process: wall time, but never the same
// twice and never back, so that what came later has the greater stamp also when
// the clock is set.
type Clock struct {
	by   uint64
	last atomic.Int64
}

// NewClock returns the clock of a process of its own.
func NewClock() *Clock {
	c := new(Clock)
	for c.by == 0 {
		c.by = rand.Uint64()
	}
	return c
}

// Next draws a stamp: greater than all before.
func (c *Clock) Next() Stamp {
	for {
		last := c.last.Load()
		now := max(time.Now().UnixNano(), last+1)
		if c.last.CompareAndSwap(last, now) {
			return Stamp{now, c.by}
		}
	}
}

// observe makes later stamps greater than one of another process, of which
// this one has come to know. So what follows from something has the greater
// stamp, also if the clock of this process is a little behind.
func (c *Clock) observe(s Stamp) {
	if s.At > time.Now().Add(maxClockSkew).UnixNano() {
		return // one far ahead is not followed
	}
	for {
		last := c.last.Load()
		if last >= s.At || c.last.CompareAndSwap(last, s.At) {
			return
		}
	}
}

// Earliest returns the earliest time by the clock c at which s may have been
// drawn: that of c itself is exact.
func (c *Clock) Earliest(s Stamp) int64 {
	if s.By == c.by {
		return s.At
	}
	return s.At - int64(maxClockSkew)
}

// A Bound says what of a key is too old to be used, after changes of it. It is
// one process's view: the order of its own stamps it knows, those of others may
// be drawn by a clock that is ahead.
type Bound struct {
	heard  Stamp // this process's own, when it made or heard of the last change: what it generated before is too old
	others int64 // what others generated up to here is too old
	from   Stamp // but what the maker of the last change generated since is not; the zero stamp: no such exception
}

// removal returns the bound of a change that nothing older may survive, made at
// s, and made or heard of here at heard.
func removal(s, heard Stamp) Bound {
	return Bound{heard: heard, others: s.At + int64(maxClockSkew), from: s}
}

// renewal returns the bound of a value that this process generated at s. An
// older one is worse than it, but not wrong.
func renewal(s Stamp) Bound { return Bound{heard: s, others: s.At, from: s} }

// Allows reports whether what was generated at s is not too old.
func (b Bound) Allows(s Stamp) bool {
	switch {
	case b.from != (Stamp{}) && s.By == b.from.By && s.At >= b.from.At:
		return true
	case s.By == b.heard.By:
		return s.At > b.heard.At
	}
	return s.At > b.others
}

// and returns the bound after the changes of both, in whatever order they were:
// of two processes' changes within the skew of their clocks it is not known.
func (b Bound) and(c Bound) Bound {
	if c.from.At > b.from.At {
		b, c = c, b // the newer exception is preferred
	}
	from := Stamp{}
	switch {
	case c.Allows(b.from):
		from = b.from
	case b.Allows(c.from):
		from = c.from
	}
	if c.heard.At > b.heard.At {
		b.heard = c.heard
	}
	return Bound{heard: b.heard, others: max(b.others, c.others), from: from}
}
