package engine

import (
	"context"
	"sync"
	"time"
)

// A Detached context keeps every value of the context it came from, and has a
// deadline of its own in place of that one's cancellation.
//
// It is not made of context.WithoutCancel and context.WithTimeout because its
// deadline can be lifted: a response that turns out not to be shared lives as
// long as its own client, not as long as a load may take.
type Detached struct {
	values context.Context

	mu       sync.Mutex
	done     chan struct{}
	err      error        // guarded by mu; set once, before done is closed
	deadline time.Time    // guarded by mu; zero if lifted
	timer    *time.Timer  // guarded by mu
	after    []*afterFunc // guarded by mu; called when done
}

type afterFunc struct{ f func() }

// Detach returns a context with the values of ctx that ends after timeout.
func Detach(ctx context.Context, timeout time.Duration) *Detached {
	d := &Detached{
		values:   context.WithoutCancel(ctx),
		done:     make(chan struct{}),
		deadline: time.Now().Add(timeout),
	}
	d.mu.Lock() // the timer may fire before d.timer is set
	d.timer = time.AfterFunc(timeout, func() { d.Cancel(context.DeadlineExceeded) })
	d.mu.Unlock()
	return d
}

// Cancel ends d with err. The first call counts.
func (d *Detached) Cancel(err error) {
	d.mu.Lock()
	if d.err != nil {
		d.mu.Unlock()
		return
	}
	d.err = err
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
	if d.err == nil {
		d.timer.Stop()
		d.deadline = time.Time{}
	}
}

// Deadline implements [context.Context].
func (d *Detached) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deadline, !d.deadline.IsZero()
}

// Done implements [context.Context].
func (d *Detached) Done() <-chan struct{} { return d.done }

// Err implements [context.Context]. After the deadline it is
// context.DeadlineExceeded, else what Cancel was given.
func (d *Detached) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Value implements [context.Context].
func (d *Detached) Value(key any) any { return d.values.Value(key) }

// AfterFunc makes package context derive children of d without a goroutine
// for each.
func (d *Detached) AfterFunc(f func()) func() bool {
	a := &afterFunc{f: f}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
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
