package cachefetch

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

// A stamp says when something was generated, and by which process. No two
// things bear the same stamp.
type stamp struct {
	at int64  // nanoseconds since 1970, by the clock of that process
	by uint64 // the process, by a random number that is not 0
}

// A stampClock draws the stamps of one process: wall time, but never the same
// twice and never back, so that what came later has the greater stamp also when
// the clock is set.
type stampClock struct {
	by   uint64
	last atomic.Int64
}

// begin makes c the clock of a process of its own.
func (c *stampClock) begin() {
	for c.by == 0 {
		c.by = rand.Uint64()
	}
}

func (c *stampClock) next() stamp {
	for {
		last := c.last.Load()
		now := max(time.Now().UnixNano(), last+1)
		if c.last.CompareAndSwap(last, now) {
			return stamp{now, c.by}
		}
	}
}

// observe makes later stamps greater than one of another process, of which
// this one has come to know. So what follows from something has the greater
// stamp, also if the clock of this process is a little behind.
func (c *stampClock) observe(s stamp) {
	if s.at > time.Now().Add(maxClockSkew).UnixNano() {
		return // one far ahead is not followed
	}
	for {
		last := c.last.Load()
		if last >= s.at || c.last.CompareAndSwap(last, s.at) {
			return
		}
	}
}

// earliest returns the earliest time by the clock c at which s may have been
// drawn: that of c itself is exact.
func (c *stampClock) earliest(s stamp) int64 {
	if s.by == c.by {
		return s.at
	}
	return s.at - int64(maxClockSkew)
}

// A bound says what of a key is too old to be used, after changes of it. It is
// one process's view: the order of its own stamps it knows, those of others may
// be drawn by a clock that is ahead.
type bound struct {
	heard  stamp // this process's own, when it made or heard of the last change: what it generated before is too old
	others int64 // what others generated up to here is too old
	from   stamp // but what the maker of the last change generated since is not; the zero stamp: no such exception
}

// removal returns the bound of a change that nothing older may survive, made at
// s, and made or heard of here at heard.
func removal(s, heard stamp) bound {
	return bound{heard: heard, others: s.at + int64(maxClockSkew), from: s}
}

// renewal returns the bound of a value that this process generated at s. An
// older one is worse than it, but not wrong.
func renewal(s stamp) bound { return bound{heard: s, others: s.at, from: s} }

// allows reports whether what was generated at s is not too old.
func (b bound) allows(s stamp) bool {
	switch {
	case b.from != (stamp{}) && s.by == b.from.by && s.at >= b.from.at:
		return true
	case s.by == b.heard.by:
		return s.at > b.heard.at
	}
	return s.at > b.others
}

// and returns the bound after the changes of both, in whatever order they were:
// of two processes' changes within the skew of their clocks it is not known.
func (b bound) and(c bound) bound {
	if c.from.at > b.from.at {
		b, c = c, b // the newer exception is preferred
	}
	from := stamp{}
	switch {
	case c.allows(b.from):
		from = b.from
	case b.allows(c.from):
		from = c.from
	}
	if c.heard.at > b.heard.at {
		b.heard = c.heard
	}
	return bound{heard: b.heard, others: max(b.others, c.others), from: from}
}
