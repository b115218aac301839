// Package limit bounds how much work goes on at once, with a short queue in
// front. It is the one limiter under the upstream transport of cachefetch and
// the handler limiter of middleware.
package limit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

var (
	// ErrQueueFull is returned to a caller that found no place and no room in
	// the queue.
	ErrQueueFull = errors.New("queue is full")

	// ErrQueueTimeout is returned to a caller that waited in the queue for as
	// long as it may.
	ErrQueueTimeout = errors.New("waited too long in the queue")
)

// Config sizes a [Limiter].
type Config struct {
	InFlight int           // places; at least 1
	Queue    int           // callers that may wait for one; 0 means that none may
	Timeout  time.Duration // longest wait in the queue; more than 0 if Queue is
}

// A Limiter gives out places, and lets a bounded number of callers wait for
// one, first come first served. All methods may be called concurrently.
type Limiter struct {
	config   Config
	places   *semaphore.Weighted
	inFlight atomic.Int64
	queued   atomic.Int64
}

// New returns a Limiter whose places are all free. The config is the
// program's own, checked by who made it: a bad one panics.
func New(c Config) *Limiter {
	if c.InFlight < 1 || c.Queue < 0 || c.Queue > 0 && c.Timeout <= 0 {
		panic(fmt.Sprintf("limit: bad config %+v", c))
	}
	return &Limiter{config: c, places: semaphore.NewWeighted(int64(c.InFlight))}
}

// Acquire takes a place, after waiting for one if need be. The place must be
// given back by Release if the error is nil. It is [ErrQueueFull],
// [ErrQueueTimeout], or that of ctx: a caller that leaves gives up its place
// in the queue at once.
func (l *Limiter) Acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// TryAcquire fails while anybody waits, so nobody overtakes the queue.
	if !l.places.TryAcquire(1) {
		if err := l.wait(ctx); err != nil {
			return err
		}
	}
	l.inFlight.Add(1)
	return nil
}

func (l *Limiter) wait(ctx context.Context) error {
	defer l.queued.Add(-1)
	if l.queued.Add(1) > int64(l.config.Queue) {
		return ErrQueueFull
	}
	waiting, cancel := context.WithTimeout(ctx, l.config.Timeout)
	defer cancel()
	if err := l.places.Acquire(waiting, 1); err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrQueueTimeout
}

// Release gives back a place, which goes to the first in the queue.
func (l *Limiter) Release() {
	l.inFlight.Add(-1)
	l.places.Release(1)
}

// InFlight returns how many places are taken now.
func (l *Limiter) InFlight() int64 { return l.inFlight.Load() }

// Queued returns how many callers wait now. It counts one that is just being
// refused too.
func (l *Limiter) Queued() int64 { return l.queued.Load() }

// RetryAfter is how long a client that was refused should stay away, where
// others wait for a place for so long: until all who wait now have been served
// or refused, in whole seconds as the Retry-After field has them (RFC 9110
// 10.2.3), at least one.
func RetryAfter(wait time.Duration) time.Duration {
	return max(1, (wait+time.Second-1)/time.Second) * time.Second
}
