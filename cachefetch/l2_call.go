package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
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

// A caller makes the calls of a backend: within a budget of time, behind the
// breaker, and so that a panic is an error.
type caller struct {
	budget  time.Duration
	breaker breaker
	reads   chan struct{} // a token for each read under way
	counts  callCounts
}

func newCaller(budget time.Duration) *caller {
	return &caller{budget: budget, reads: make(chan struct{}, backendReads)}
}

// read calls f and returns no later than after the budget, or when ctx ends:
// then f may go on, but what it returns is not looked at any more.
func (c *caller) read(ctx context.Context, f func(context.Context) error) error {
	if !c.breaker.allow(time.Now()) {
		c.counts.skips.Add(1)
		return errBreakerOpen
	}
	limited, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	select {
	case c.reads <- struct{}{}:
	case <-limited.Done():
		c.breaker.cancel() // this call says nothing about the backend
		c.counts.skips.Add(1)
		return errBusy
	}
	done := contain(limited, f, func() { <-c.reads })
	var err error
	select {
	case err = <-done:
	case <-limited.Done():
		err = limited.Err()
	}
	if err != nil && ctx.Err() != nil {
		c.breaker.cancel()
		return err
	}
	c.report(err)
	return err
}

// write calls f and returns when f has returned, however late that is: two
// writes of one key must not overtake each other. Its callers are few and have
// nobody waiting behind them. The breaker hears of it when the budget is over.
//
// The breaker has allowed it before.
func (c *caller) write(ctx context.Context, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	done := contain(limited, f, nil)
	select {
	case err := <-done:
		c.report(err)
		return err
	case <-limited.Done():
	}
	c.report(limited.Err())
	<-done
	return limited.Err()
}

// report tells the breaker and the counters how an allowed call ended.
func (c *caller) report(err error) {
	ok := err == nil || errors.Is(err, ErrMiss)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		c.counts.timeouts.Add(1)
	default:
		c.counts.errors.Add(1)
	}
	c.breaker.done(time.Now(), ok)
}

// contain runs f on a goroutine of its own and sends what it returns. A panic,
// or an end by runtime.Goexit, is an error. cleanup, if not nil, is called
// before that.
func contain(ctx context.Context, f func(context.Context) error, cleanup func()) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("ended its goroutine")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panicked: %v", v)
			}
			if cleanup != nil {
				cleanup()
			}
			done <- err
		}()
		err = f(ctx)
	}()
	return done
}
