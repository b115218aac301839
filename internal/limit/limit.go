// Package limit bounds how much work goes on at once, with a short queue in
// front. It is the one limiter under the upstream transport and the handler
// limiter of middleware.
//
// A bound is fixed, or finds itself (see [Law]). What processors can carry is
// bounded beside it (see [Processor]).
package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	// ErrQueueFull is returned to a caller that found no place and no room in
	// the queue, or had to make room for one that came later.
	ErrQueueFull = errors.New("queue is full")

	// ErrQueueTimeout is returned to a caller that waited in the queue for as
	// long as it may.
	ErrQueueTimeout = errors.New("waited too long in the queue")

	// ErrTooLate is returned to a caller whose deadline is nearer than the time
	// that the work takes.
	ErrTooLate = errors.New("deadline is too near")
)

// Config sizes a [Limiter].
type Config struct {
	InFlight int           // places; at least 1
	Least    int           // if not 0, the limiter finds out how many to give out, at least these and at most InFlight
	Queue    int           // callers that may wait for a place; 0 means that none may
	Timeout  time.Duration // longest wait in the queue; more than 0 if Queue is
}

// A Limiter gives out places, and lets a bounded number of callers wait for
// one. All methods may be called concurrently.
type Limiter struct {
	config Config

	mu    sync.Mutex
	taken int
	line  line
	law   *Law // nil if the bound is fixed
}

// New returns a Limiter whose places are all free. The config is the
// program's own, checked by who made it: a bad one panics.
func New(c Config) *Limiter {
	if c.InFlight < 1 || c.Least < 0 || c.Least > c.InFlight || c.Queue < 0 || c.Queue > 0 && c.Timeout <= 0 {
		panic(fmt.Sprintf("limit: bad config %+v", c))
	}
	l := &Limiter{config: c, line: line{most: c.Queue, hasty: c.Least > 0}}
	if c.Least > 0 {
		l.law = NewLaw(c.Least, c.InFlight)
	}
	return l
}

// A Place is what one caller holds. It is given back once.
type Place struct {
	limiter *Limiter
	start   Start
}

// Acquire takes a place, after waiting for one if need be. If the error is nil,
// the place must be given back. It is [ErrQueueFull], [ErrQueueTimeout],
// [ErrTooLate], or that of ctx: a caller that leaves gives up its place in the
// queue at once.
func (l *Limiter) Acquire(ctx context.Context) (Place, error) {
	if err := ctx.Err(); err != nil {
		return Place{}, err
	}
	now := time.Now()
	l.mu.Lock()
	if l.taken < l.bound() && l.line.length() == 0 { // nobody overtakes the queue
		p := l.start(now, l.taken)
		l.taken++
		l.mu.Unlock()
		return p, nil
	}
	if l.law != nil {
		l.law.Full()
	}
	w := l.line.join(ctx, now)
	l.mu.Unlock()
	if w == nil {
		return Place{}, ErrQueueFull
	}
	if err := wait(ctx, w, l.config.Timeout, l.leave); err != nil {
		return Place{}, err
	}
	l.mu.Lock() // counted since its turn came
	defer l.mu.Unlock()
	return l.start(time.Now(), l.taken-1), nil
}

func (l *Limiter) start(now time.Time, beside int) Place {
	if l.law == nil {
		return Place{limiter: l}
	}
	return Place{l, l.law.Begin(now, beside)}
}

// wait waits for w's turn, at most for timeout. If leave reports that w was not
// in the line any more, w's turn has come.
func wait(ctx context.Context, w *waiter, timeout time.Duration, leave func(*waiter) bool) (err error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-w.turn:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = ErrQueueTimeout
	}
	if leave(w) {
		return err
	}
	return <-w.turn
}

func (l *Limiter) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line.leave(w)
}

// Release gives the place back, which goes to the next in the queue.
func (p Place) Release() {
	l, now := p.limiter, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	takes := time.Duration(0)
	if l.law != nil {
		l.law.End(p.start, now)
		takes = l.law.Usual() / 4
	}
	l.taken--
	for l.taken < l.bound() && l.line.next(now, takes) {
		l.taken++
	}
}

// bound returns how many places there are. The caller holds mu.
func (l *Limiter) bound() int {
	if l.law == nil {
		return l.config.InFlight
	}
	return l.law.Limit()
}

// State is what goes on in a [Limiter].
type State struct {
	InFlight int // places taken
	Queued   int // callers that wait
	Limit    int // places that are given out now
}

// State returns a snapshot.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return State{l.taken, l.line.length(), l.bound()}
}

// RetryAfter is how long a client that was refused should stay away, where
// others wait for a place for so long: until all who wait now have been served
// or refused, in whole seconds as the Retry-After field has them (RFC 9110
// 10.2.3), at least one.
func RetryAfter(wait time.Duration) time.Duration {
	return max(1, (wait+time.Second-1)/time.Second) * time.Second
}
