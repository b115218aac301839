package engine

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/inbound"
)

// A Detached context keeps every value of the context it came from, and has a
// deadline of its own in place of that one's cancellation. That one's deadline
// can still be read, by [inbound.Deadline].
//
// It is not made of context.WithoutCancel and context.WithTimeout because its
// deadline can be lifted: a response that turns out not to be shared lives as
// long as its own client, not as long as a load may take.
type Detached struct {
	values   context.Context
	inbound  time.Time // deadline of the request that it came from; zero = none
	liftable bool      // it may go on after its deadline

	mu       sync.Mutex
	done     chan struct{}
	cause    error        // guarded by mu; set once, before done is closed
	deadline time.Time    // guarded by mu; zero if lifted
	lifted   time.Time    // guarded by mu; the deadline that Lift took away
	expired  func() bool  // guarded by mu; see Detach
	timer    *time.Timer  // guarded by mu
	after    []*afterFunc // guarded by mu; called when done
}

type afterFunc struct{ f func() }

// Detach returns a context with the values of ctx that ends after timeout,
// unless expired, which may be nil, is called then and says that it goes on
// without a deadline.
func Detach(ctx context.Context, timeout time.Duration, expired func() (goesOn bool)) *Detached {
	d := &Detached{
		values:   context.WithoutCancel(ctx),
		liftable: expired != nil,
		done:     make(chan struct{}),
		deadline: time.Now().Add(timeout),
	}
	d.inbound, _ = inbound.Deadline(ctx)
	d.mu.Lock() // the timer may fire before d.timer is set
	d.expired = expired
	d.timer = time.AfterFunc(timeout, d.expire)
	d.mu.Unlock()
	return d
}

// expire is called at the deadline.
func (d *Detached) expire() {
	d.mu.Lock()
	expired := d.expired
	d.mu.Unlock()
	if expired != nil && expired() && d.goOn() {
		return
	}
	d.Cancel(context.DeadlineExceeded)
}

// goOn lifts the deadline that is passing, unless Lower was called meanwhile.
func (d *Detached) goOn() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		return false
	}
	d.lift()
	return true
}

// Cancel ends d for a cause. The first call counts.
func (d *Detached) Cancel(cause error) {
	d.mu.Lock()
	if d.cause != nil {
		d.mu.Unlock()
		return
	}
	d.cause = cause
	d.expired = nil // a timer that was stopped may keep d for as long as it had to go
	d.timer.Stop()
	after := d.after
	d.after = nil
	close(d.done)
	d.mu.Unlock()
	for _, a := range after {
		go a.f()
	}
}

// Lift takes the deadline away, if it has not passed.
func (d *Detached) Lift() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lift()
}

func (d *Detached) lift() {
	if d.cause == nil && !d.deadline.IsZero() {
		d.timer.Stop()
		d.deadline, d.lifted = time.Time{}, d.deadline
	}
}

// Lower puts the deadline back that was lifted, and d does not go on after it.
// It ends at once if it has passed.
func (d *Detached) Lower() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause == nil {
		d.deadline, d.expired = cmp.Or(d.deadline, d.lifted), nil
		d.timer.Reset(time.Until(d.deadline))
	}
}

// Deadline implements [context.Context]. One that d may outlive is not told:
// package context gives children with a later deadline no timer of their own.
func (d *Detached) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.liftable {
		return time.Time{}, false
	}
	return d.deadline, !d.deadline.IsZero()
}

// Done implements [context.Context].
func (d *Detached) Done() <-chan struct{} { return d.done }

// Err implements [context.Context]: it is one of the two errors that code
// compares with, whatever the cause.
func (d *Detached) Err() error {
	switch cause := d.Cause(); {
	case cause == nil:
		return nil
	case errors.Is(cause, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// Cause returns what Cancel was given, context.DeadlineExceeded after the
// deadline, and nil as long as d has not ended.
func (d *Detached) Cause() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cause
}

// Value implements [context.Context].
func (d *Detached) Value(key any) any {
	if key == (inbound.Key{}) {
		return d.inbound
	}
	return d.values.Value(key)
}

// AfterFunc makes package context derive children of d without a goroutine
// for each.
func (d *Detached) AfterFunc(f func()) func() bool {
	a := &afterFunc{f: f}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause != nil {
		go f()
		return func() bool { return false }
	}
	d.after = append(d.after, a)
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i, b := range d.after {
			if b == a {
				d.after = append(d.after[:i], d.after[i+1:]...)
				return true
			}
		}
		return false
	}
}
