package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/inbound"
)

// GatherOptions configures a [Gather]. The zero value works.
type GatherOptions struct {
	// Budget bounds the time from [NewGather] on until all parts have to be
	// there. The deadline of the inbound request, less Reserve, counts if it
	// comes before. Zero means ten seconds.
	Budget time.Duration

	// Reserve is kept back from the inbound deadline, for putting the answer
	// together and sending it. Zero means nothing is.
	Reserve time.Duration

	// PartTimeout bounds each part by itself, from when it is begun. Zero
	// means only the whole is bounded.
	PartTimeout time.Duration

	// Limit bounds the parts that run at once. The others wait, and are begun
	// in the order of Require and Allow. Zero means all run at once.
	Limit int
}

const defaultGatherBudget = 10 * time.Second

// Validate returns an error that names every field no [Gather] can be made
// with, and its value.
func (o GatherOptions) Validate() error {
	var bad []error
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Budget", o.Budget}, {"Reserve", o.Reserve}, {"PartTimeout", o.PartTimeout}} {
		if d.value < 0 {
			bad = append(bad, fmt.Errorf("fanout: GatherOptions.%s: %v: must not be negative", d.field, d.value))
		}
	}
	if o.Limit < 0 {
		bad = append(bad, fmt.Errorf("fanout: GatherOptions.Limit: %d: must not be negative", o.Limit))
	}
	return errors.Join(bad...)
}

var (
	// ErrMissing matches the error of a part that was not there in time: it
	// exceeded PartTimeout, or all the time for the whole was over.
	// errors.Is(err, context.DeadlineExceeded) is true as well.
	ErrMissing = errors.New("fanout: part is not there in time")

	// ErrPartCancelled matches the error of a part that was given up although
	// there was time: a required part had failed, or the inbound request's
	// context was cancelled. errors.Is(err, context.Canceled) is true as well.
	ErrPartCancelled = errors.New("fanout: part was cancelled")
)

// InboundDeadline returns the deadline of the inbound request that ctx comes
// from. In a handler behind the cache, and in a load, the context itself ends
// later: others may share what comes of it. A refresh that no request waits for
// has no inbound deadline.
func InboundDeadline(ctx context.Context) (deadline time.Time, ok bool) { return inbound.Deadline(ctx) }

// A Gather puts together an answer of which some parts may be missing. All
// parts run side by side under one deadline, taken from the inbound request:
//
//	g := fanout.NewGather(r.Context(), fanout.GatherOptions{Budget: 500 * time.Millisecond})
//	user := fanout.Require(g, "user", func(ctx context.Context) (User, error) { return users.Fetch(ctx, id, loadUser) })
//	ads := fanout.Allow(g, "ads", func(ctx context.Context) ([]Ad, error) { return ads.Fetch(ctx, id, loadAds) })
//	if err := g.Wait(); err != nil { ... } // no user
//	page := Page{User: user.Value(), Ads: ads.Value(), Missing: g.Missing()}
//
// It is used by one goroutine: parts first, then Wait, then their values.
type Gather struct {
	opts   GatherOptions
	own    context.Context // the inbound request's
	ctx    context.Context // its cause tells why all is over
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	parts   []*part       // guarded by mu; in the order they were begun in
	waiting []func()      // guarded by mu; calls that wait for their turn, first come first served
	running int           // guarded by mu
	idle    chan struct{} // guarded by mu; closed when nothing runs or waits; nil before Wait
	failed  error         // guarded by mu; of the first required part that failed, or of the options
	over    bool          // guarded by mu; results that come later are dropped
}

// A part is what a Gather knows of a Part[T].
type part struct {
	name     string
	required bool
	err      error // guarded by Gather.mu until over; errPending at first
}

var errPending = errors.New("fanout: part is read before Wait")

// A siblingError ends all parts because one of them, a required one, failed.
// It does not wrap that error, which is not theirs.
type siblingError struct {
	name string
	err  error
}

func (e *siblingError) Error() string {
	return fmt.Sprintf("required part %q failed: %v", e.name, e.err)
}
func (e *siblingError) Unwrap() error { return context.Canceled }

// NewGather returns a Gather whose deadline begins to run now. Wait must be
// called. With options that are not valid no part is begun, and Wait returns
// the error of [GatherOptions.Validate].
func NewGather(ctx context.Context, o GatherOptions) *Gather {
	g := &Gather{opts: o, own: ctx, failed: o.Validate()}
	budget := o.Budget
	if budget == 0 {
		budget = defaultGatherBudget
	}
	deadline := time.Now().Add(budget)
	if in, ok := InboundDeadline(ctx); ok {
		if in = in.Add(-o.Reserve); in.Before(deadline) {
			deadline = in
		}
	}
	ended, end := context.WithCancelCause(ctx)
	if g.failed != nil {
		end(g.failed)
	}
	timed, stop := context.WithDeadline(ended, deadline)
	g.ctx = timed
	g.cancel = func(cause error) {
		end(cause)
		stop()
	}
	return g
}

// A Part is one value of a [Gather]. Its methods are for after Wait.
type Part[T any] struct {
	part
	value T
}

// Value returns the value, the zero value if the part is missing.
func (p *Part[T]) Value() T { return p.value }

// Err returns nil if the value is there, and otherwise why it is not: the
// error of the call, a [*PanicError], one that matches [ErrMissing] if it was
// not there in time, or one that matches [ErrPartCancelled] if it was given up
// before.
func (p *Part[T]) Err() error { return p.err }

// Require begins a part that the answer cannot do without: if it fails, all
// others are cancelled, and Wait returns its error.
func Require[T any](g *Gather, name string, f func(context.Context) (T, error)) *Part[T] {
	return begin(g, name, true, f)
}

// Allow begins a part that the answer can do without: if it fails or is late
// it is marked missing, with its error.
func Allow[T any](g *Gather, name string, f func(context.Context) (T, error)) *Part[T] {
	return begin(g, name, false, f)
}

func begin[T any](g *Gather, name string, required bool, f func(context.Context) (T, error)) *Part[T] {
	p := &Part[T]{part: part{name: name, required: required, err: errPending}}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts = append(g.parts, &p.part)
	g.waiting = append(g.waiting, func() {
		run(g.ctx, bounded(g, name, f), func(v T, err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if !g.over { // else Wait has told already why it is missing
				if err == nil {
					p.value = v
				}
				g.settleLocked(&p.part, err)
			}
			g.running--
			g.nextLocked()
		})
	})
	g.nextLocked()
	return p
}

// bounded gives f its own time limit, and does not call it when all is over.
func bounded[T any](g *Gather, name string, f func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (v T, err error) {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		if g.opts.PartTimeout == 0 {
			return f(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, g.opts.PartTimeout)
		defer cancel()
		if v, err = f(ctx); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = tooLate(name)
		}
		return v, err
	}
}

func tooLate(name string) error {
	return fmt.Errorf("%w: %q: %w", ErrMissing, name, context.DeadlineExceeded)
}

// settleLocked notes what has become of a part. One that fails when all is over
// fails because of that.
func (g *Gather) settleLocked(p *part, err error) {
	if err != nil && g.ctx.Err() != nil {
		err = g.absent(p.name)
	} else if err != nil && p.required {
		g.failed = err
		g.cancel(&siblingError{p.name, err})
	}
	p.err = err
}

// absent returns why a part is not there when all is over.
func (g *Gather) absent(name string) error {
	if errors.Is(g.ctx.Err(), context.DeadlineExceeded) {
		return tooLate(name)
	}
	return fmt.Errorf("%w: %q: %w", ErrPartCancelled, name, context.Cause(g.ctx))
}

// nextLocked begins as many of the calls that wait as may run.
func (g *Gather) nextLocked() {
	for len(g.waiting) > 0 && (g.opts.Limit <= 0 || g.running < g.opts.Limit) {
		call := g.waiting[0]
		g.waiting = g.waiting[1:]
		g.running++
		go call()
	}
	if g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Wait returns when all parts are there or have failed, the deadline has
// passed, or the inbound request's context has ended. It does not wait for
// calls that do not heed their context: what they return later is dropped. Its
// error is that of a required part, or of the inbound context if that was
// cancelled.
func (g *Gather) Wait() error {
	idle := make(chan struct{})
	g.mu.Lock()
	g.idle = idle
	g.nextLocked()
	g.mu.Unlock()
	select {
	case <-idle:
	case <-g.ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	for _, p := range g.parts {
		if p.err == errPending {
			p.err = g.absent(p.name)
		}
	}
	g.cancel(context.Canceled)
	if g.failed != nil {
		return g.failed
	}
	if err := g.own.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, p := range g.parts {
		if p.required && p.err != nil {
			return p.err
		}
	}
	return nil
}

// Missing returns the names of the parts that are not there, in the order in
// which they were begun, nil if all are. It is for after Wait.
func (g *Gather) Missing() []string {
	var names []string
	for _, p := range g.parts {
		if p.err != nil {
			names = append(names, p.name)
		}
	}
	return names
}
