// Package fanout calls functions side by side: a few of different types with
// [Join2] to [Join4], many of one kind with [Map], and those of which some may be
// missing with a [Gather]. It is for the upstream calls that one answer is made
// of, which take as long as the slowest then, and not as long as all together.
//
// Functions are given a context that ends when their result is of no use any
// more, and should heed it. A function that panics, or ends its goroutine, takes
// nobody with it: that is a [*PanicError].
package fanout

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/freshet-go/freshet/internal/guard"
)

// Join2 calls two functions side by side and returns both values, or the first
// error. An error cancels the context of the other call, and so does the end
// of Join2; a panic, or runtime.Goexit, is a [*PanicError]. Join2 returns when
// all calls have: their context tells them when it is time.
//
// It takes as long as the slowest call, where one call after the other takes
// the sum. A call that is cached is one line:
//
//	user, orders, err := fanout.Join2(ctx,
//		func(ctx context.Context) (User, error) { return users.Fetch(ctx, id, loadUser) },
//		func(ctx context.Context) ([]Order, error) { return orders.Fetch(ctx, id, loadOrders) })
func Join2[A, B any](ctx context.Context,
	a func(context.Context) (A, error),
	b func(context.Context) (B, error),
) (va A, vb B, err error) {
	f := newFan(ctx)
	spawn(f, a, &va)
	spawn(f, b, &vb)
	err = f.wait()
	return va, vb, err
}

// Join3 is [Join2] for three functions.
func Join3[A, B, C any](ctx context.Context,
	a func(context.Context) (A, error),
	b func(context.Context) (B, error),
	c func(context.Context) (C, error),
) (va A, vb B, vc C, err error) {
	f := newFan(ctx)
	spawn(f, a, &va)
	spawn(f, b, &vb)
	spawn(f, c, &vc)
	err = f.wait()
	return va, vb, vc, err
}

// Join4 is [Join2] for four functions.
func Join4[A, B, C, D any](ctx context.Context,
	a func(context.Context) (A, error),
	b func(context.Context) (B, error),
	c func(context.Context) (C, error),
	d func(context.Context) (D, error),
) (va A, vb B, vc C, vd D, err error) {
	f := newFan(ctx)
	spawn(f, a, &va)
	spawn(f, b, &vb)
	spawn(f, c, &vc)
	spawn(f, d, &vd)
	err = f.wait()
	return va, vb, vc, vd, err
}

// Map calls f for every item, at most limit at once, and returns the values in
// the order of the items. The first error cancels the context of the calls
// under way, no further ones are begun, and Map returns it with a nil slice
// when all calls have returned. So it does when ctx ends. A limit below 1 is
// an error.
func Map[T, R any](ctx context.Context, limit int, items []T, f func(context.Context, T) (R, error)) ([]R, error) {
	if limit < 1 {
		return nil, fmt.Errorf("fanout: Map: limit %d: must be at least 1", limit)
	}
	fan := newFan(ctx)
	fan.turns = semaphore.NewWeighted(int64(limit))
	values := make([]R, len(items))
	for i, item := range items {
		if err := fan.turns.Acquire(fan.ctx, 1); err != nil {
			fan.fail(err)
			break
		}
		spawn(fan, func(ctx context.Context) (R, error) { return f(ctx, item) }, &values[i])
	}
	if err := fan.wait(); err != nil {
		return nil, err
	}
	return values, nil
}

// A fan is some calls side by side. It uses neither the context that errgroup
// would make, because a call that ends its goroutine returns no error to it,
// nor its limit, because waiting for a turn would not end with the context.
type fan struct {
	group  errgroup.Group
	ctx    context.Context
	cancel context.CancelFunc
	turns  *semaphore.Weighted // nil if all run at once; spawn gives a turn back

	once sync.Once
	err  error // written in once, read after all calls are over
}

func newFan(ctx context.Context) *fan {
	f := new(fan)
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

// fail cancels the other calls. The first error counts: those after it may be
// its consequence.
func (f *fan) fail(err error) {
	f.once.Do(func() {
		f.err = err
		f.cancel()
	})
}

func (f *fan) wait() error {
	_ = f.group.Wait()
	f.cancel()
	return f.err
}

// spawn calls a function on a goroutine of its own and puts its value in into.
func spawn[T any](f *fan, call func(context.Context) (T, error), into *T) {
	f.group.Go(func() error {
		run(f.ctx, call, func(v T, err error) {
			if err == nil {
				*into = v
			} else {
				f.fail(err)
			}
			if f.turns != nil { // last, so that no call is begun after an error
				f.turns.Release(1)
			}
		})
		return nil
	})
}

// run calls f and then done, on every way that f can end.
//
// It is tempting to let a panic pass: it would be on a goroutine that nobody
// can recover, and end the program.
func run[T any](ctx context.Context, f func(context.Context) (T, error), done func(T, error)) {
	var v T
	var err error
	guard.Catch(func() { v, err = f(ctx) }, func(crash *guard.Crash) {
		if crash != nil {
			err = &PanicError{Value: crash.Value, Stack: crash.Stack}
		}
		done(v, err)
	})
}

// A PanicError is a call that panicked, or ended its goroutine with
// runtime.Goexit.
type PanicError struct {
	Value any    // the panic's value, nil after runtime.Goexit
	Stack []byte // of the goroutine that ended
}

// Error implements error. It leaves out the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "fanout: call ended by runtime.Goexit"
	}
	return fmt.Sprintf("fanout: call panicked: %v", e.Value)
}

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
