package limit

import (
	"container/list"
	"context"
	"time"
)

// standing is how long a line may stand before it is taken for overload, and how
// long anyone waits in it from then on.
const standing = 100 * time.Millisecond

// A line is of callers who wait for their turn. It is served first come first
// served. A hasty line is served differently while it stands, which is when it has
// not been empty for longer than a burst takes: then who came last has the best
// chance of an answer in time, and who has waited as long as a burst takes is
// refused. Whoever has the line's lock calls its methods.
type line struct {
	hasty bool
	most  int // callers

	waiters list.List // of *waiter, who came first in front
	since   time.Time // it has been occupied without a break, if it is
}

// A waiter is one caller in a line.
type waiter struct {
	came time.Time
	ends time.Time     // deadline of its context, or zero
	turn chan error    // gets nil for its turn, or why it is refused
	at   *list.Element // nil once it is not in the line any more
}

func (l *line) length() int { return l.waiters.Len() }

func (l *line) standing(now time.Time) bool {
	return l.hasty && l.length() > 0 && now.Sub(l.since) > standing
}

// join puts a caller into the line, or returns nil if it is full. A line that
// stands is never full: who came first makes room.
func (l *line) join(ctx context.Context, now time.Time) *waiter {
	stood := l.standing(now)
	l.hurry(now)
	if l.length() >= l.most {
		if l.most == 0 || !l.standing(now) {
			return nil
		}
		l.tell(l.first(), ErrQueueFull)
	}
	w := &waiter{came: now, turn: make(chan error, 1)}
	w.ends, _ = ctx.Deadline()
	if l.length() == 0 && !stood { // else it is empty since all were refused
		l.since = now
	}
	w.at = l.waiters.PushBack(w)
	return w
}

func (l *line) first() *waiter { return l.waiters.Front().Value.(*waiter) }

// leave takes w out and reports whether it was in.
func (l *line) leave(w *waiter) bool {
	if w.at == nil {
		return false
	}
	l.waiters.Remove(w.at)
	w.at = nil
	return true
}

// tell takes w out: it is its turn, or it is refused for a reason.
func (l *line) tell(w *waiter, why error) {
	l.leave(w)
	w.turn <- why
}

// next gives whose turn it is its turn, and reports whether there is one. It
// refuses whose deadline is nearer than what work takes at least: nobody would
// have the result.
func (l *line) next(now time.Time, takes time.Duration) bool {
	l.hurry(now)
	for l.length() > 0 {
		w := l.first()
		if l.standing(now) {
			w = l.waiters.Back().Value.(*waiter)
		}
		if !w.ends.IsZero() && w.ends.Sub(now) < takes {
			l.tell(w, ErrTooLate)
			continue
		}
		l.tell(w, nil)
		return true
	}
	return false
}

// hurry refuses whoever has waited in a standing line for as long as a burst
// takes.
func (l *line) hurry(now time.Time) {
	for l.standing(now) && now.Sub(l.first().came) > standing {
		l.tell(l.first(), ErrQueueTimeout)
	}
}
