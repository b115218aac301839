package level2

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/internal/guard"
)

var (
	errBreakerOpen = errors.New("backend left alone after failures")
	errBusy        = errors.New("too many calls of the backend under way")
)

// backendReads bounds the goroutines that read from the backend, those
// included that it never lets go. At a millisecond a read it allows 256,000 a
// second.
const backendReads = 256

// callCounts say how the calls of a backend went. Misses are no errors.
type callCounts struct {
	errors   atomic.Uint64
	timeouts atomic.Uint64
	skips    atomic.Uint64 // not made: breaker open, or too many under way
}

// A caller makes the calls of a backend: within a budget of time, behind a
// breaker, and so that a panic is an error. Reads and writes have a breaker
// each, since one may work where the other does not.
type caller struct {
	budget  time.Duration
	reading breaker
	writing breaker
	places  chan struct{} // a token for each read under way
	counts  callCounts
}

func newCaller(budget time.Duration) *caller {
	return &caller{budget: budget, places: make(chan struct{}, backendReads)}
}

// read calls f and returns no later than after the budget, or when ctx ends:
// then f may go on, but what it returns is not looked at any more. Before that
// it may wait for a place, as long again, which is not the backend's time.
func (c *caller) read(ctx context.Context, f func(context.Context) error) error {
	if c.reading.wait(time.Now()) > 0 { // before a place: those may all be held by what does not answer
		c.counts.skips.Add(1)
		return errBreakerOpen
	}
	if !c.place(ctx) {
		c.counts.skips.Add(1)
		return errBusy
	}
	if !c.reading.allow(time.Now()) {
		<-c.places
		c.counts.skips.Add(1)
		return errBreakerOpen
	}
	limited, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	done := contain(limited, f, func() { <-c.places })
	var err error
	select {
	case err = <-done:
	case <-limited.Done():
		err = limited.Err()
	}
	if err != nil && ctx.Err() != nil {
		c.reading.cancel() // this call says nothing about the backend
		return err
	}
	c.report(&c.reading, err)
	return err
}

// place waits for a place among the reads, and reports whether it got one.
func (c *caller) place(ctx context.Context) bool {
	select {
	case c.places <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(c.budget)
	defer timer.Stop()
	select {
	case c.places <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// write calls f and returns when f has returned, however late that is: two
// writes of one key must not overtake each other. Its callers are few and have
// nobody waiting behind them. The breaker hears of it when the budget is over.
func (c *caller) write(ctx context.Context, f func(context.Context) error) error {
	if !c.writing.allow(time.Now()) {
		return errBreakerOpen
	}
	limited, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	done := contain(limited, f, nil)
	select {
	case err := <-done:
		c.report(&c.writing, err)
		return err
	case <-limited.Done():
	}
	c.report(&c.writing, limited.Err())
	<-done
	return limited.Err()
}

// report tells a breaker and the counters how an allowed call ended.
func (c *caller) report(b *breaker, err error) {
	ok := err == nil || errors.Is(err, backend.ErrMiss)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		c.counts.timeouts.Add(1)
	default:
		c.counts.errors.Add(1)
	}
	b.done(time.Now(), ok)
}

// state returns whether a breaker is open, and how often one has opened.
func (c *caller) state() (open bool, opened uint64) {
	reading, r := c.reading.state()
	writing, w := c.writing.state()
	return reading || writing, r + w
}

// contain runs f on a goroutine of its own and sends what it returns. That f
// does not return is an error. cleanup, if not nil, is called before that.
func contain(ctx context.Context, f func(context.Context) error, cleanup func()) <-chan error {
	done := make(chan error, 1)
	go func() {
		var err error
		guard.Catch(func() { err = f(ctx) }, func(crash *guard.Crash) {
			if crash != nil {
				err = crash
			}
			if cleanup != nil {
				cleanup()
			}
			done <- err
		})
	}()
	return done
}
