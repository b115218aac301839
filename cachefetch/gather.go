package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// GatherOptions configures a [Gather]. The zero value works.
type GatherOptions struct {
	// Budget bounds the time from [NewGather] on until all parts have to be
	// there. The deadline of the inbound request's context, less Reserve,
	// counts if it comes before. Zero means ten seconds.
	Budget time.Duration

	// Reserve is kept back from the inbound deadline, for putting the answer
	// together and sending it. Zero means nothing is.
	Reserve time.Duration

	// PartTimeout bounds each part by itself, from when it is begun. Zero
	// means only the whole is bounded.
	PartTimeout time.Duration

	// Limit bounds the parts that run at once; others wait their turn. Zero
	// means all do.
	Limit int
}

const defaultGatherBudget = 10 * time.Second

// ErrMissing matches, with errors.Is, the error of a part that was not there
// in time.
var ErrMissing = errors.New("cachefetch: part is not there in time")

// A Gather puts together an answer of which some parts may be missing. All
// parts run side by side under one deadline, taken from the inbound request:
//
//	g := cachefetch.NewGather(r.Context(), cachefetch.GatherOptions{Budget: 500 * time.Millisecond})
//	user := cachefetch.Require(g, "user", func(ctx context.Context) (User, error) { return users.Fetch(ctx, id, loadUser) })
//	ads := cachefetch.Allow(g, "ads", func(ctx context.Context) ([]Ad, error) { return ads.Fetch(ctx, id, loadAds) })
//	if err := g.Wait(); err != nil { ... } // no user
//	page := Page{User: user.Value(), Ads: ads.Value(), Missing: g.Missing()}
//
// It is used by one goroutine: parts first, then Wait, then their values.
type Gather struct {
	opts   GatherOptions
	own    context.Context // the inbound request's
	ctx    context.Context
	cancel context.CancelFunc
	group  errgroup.Group
	turns  *semaphore.Weighted // nil without a limit

	mu     sync.Mutex
	over   bool   // guarded by mu; results that come later are dropped
	failed error  // guarded by mu; of the first required part that failed
	parts  []part // appended to before Wait
}

// part is what a Gather knows of a Part[T].
type part struct {
	name     string
	required bool
	err      *error // guarded by Gather.mu until over
}

// NewGather returns a Gather whose deadline begins to run now. Wait must be
// called. Negative options count as zero.
func NewGather(ctx context.Context, o GatherOptions) *Gather {
	if o.Budget <= 0 {
		o.Budget = defaultGatherBudget
	}
	deadline := time.Now().Add(o.Budget)
	if inbound, ok := ctx.Deadline(); ok {
		if inbound = inbound.Add(-max(o.Reserve, 0)); inbound.Before(deadline) {
			deadline = inbound
		}
	}
	g := &Gather{opts: o, own: ctx}
	g.ctx, g.cancel = context.WithDeadline(ctx, deadline)
	if o.Limit > 0 {
		g.turns = semaphore.NewWeighted(int64(o.Limit))
	}
	return g
}

// A Part is one value of a [Gather]. Its methods are for after Wait.
type Part[T any] struct {
	value T
	err   error
}

// Value returns the value, the zero value if the part is missing.
func (p *Part[T]) Value() T { return p.value }

// Err returns nil if the value is there, and otherwise why it is not: the
// error of the call, a [*PanicError], or one that matches [ErrMissing] and
// context.DeadlineExceeded if it was not there in time.
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
	late := fmt.Errorf("%w: %q: %w", ErrMissing, name, context.DeadlineExceeded)
	p := &Part[T]{err: late}
	g.parts = append(g.parts, part{name, required, &p.err})
	g.group.Go(func() error {
		run(g.ctx, bounded(g, f, late), func(v T, err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			switch {
			case g.over: // Wait has told already that it is missing
			case err == nil:
				p.value, p.err = v, nil
			case g.ctx.Err() == nil: // else it failed because all is over
				p.err = err
				if required {
					g.failed = err
					g.cancel()
				}
			}
		})
		return nil
	})
	return p
}

// bounded makes f wait its turn, and gives it its own time limit.
func bounded[T any](g *Gather, f func(context.Context) (T, error), late error) func(context.Context) (T, error) {
	return func(ctx context.Context) (v T, err error) {
		if g.turns != nil {
			if err := g.turns.Acquire(ctx, 1); err != nil {
				return v, err
			}
			defer g.turns.Release(1)
		}
		if g.opts.PartTimeout <= 0 {
			return f(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, g.opts.PartTimeout)
		defer cancel()
		if v, err = f(ctx); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = late
		}
		return v, err
	}
}

// Wait returns when all parts are there or have failed, the deadline has
// passed, or the inbound request's context has ended. It does not wait for
// calls that do not heed their context: what they return later is dropped. Its
// error is that of a required part, or of the inbound context if that was
// cancelled.
func (g *Gather) Wait() error {
	finished := make(chan struct{})
	go func() {
		_ = g.group.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-g.ctx.Done():
	}
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.failed != nil {
		return g.failed
	}
	if err := g.own.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, p := range g.parts {
		if p.required && *p.err != nil {
			return *p.err
		}
	}
	return nil
}

// Missing returns the names of the parts that are not there, in the order in
// which they were begun, nil if all are. It is for after Wait.
func (g *Gather) Missing() []string {
	var names []string
	for _, p := range g.parts {
		if *p.err != nil {
			names = append(names, p.name)
		}
	}
	return names
}
