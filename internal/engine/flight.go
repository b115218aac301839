package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/freshet-go/freshet/internal/guard"
)

// Errors of waiting for a flight.
var (
	// ErrWaitTimeout is a follower's own limit.
	ErrWaitTimeout = errors.New("wait for the load of another caller timed out")

	// errAbandoned is the cancellation of a load that nobody waits for.
	errAbandoned = fmt.Errorf("everyone who waited for this load has left: %w", context.Canceled)

	// errClosed is the cancellation of a load by Close. Loaders ask their
	// context's error whether it is context.Canceled.
	errClosed = fmt.Errorf("%w: %w", ErrClosed, context.Canceled)

	// errEnded is the cancellation of a run's context after the run.
	errEnded = fmt.Errorf("load has ended: %w", context.Canceled)
)

// A Crash is the end of a run that did not return. A run that panics with a
// *Crash ends as that one did, with its stack: so does work that several runs
// share.
type Crash = guard.Crash

// Flights coalesces runs by key, over singleflight: of all callers that join a
// key while a run is under way, one causes it and all share it. What they
// share is a state S, which the run fills in.
//
// Singleflight by itself runs on the first caller's context, cannot be left,
// kills the process when a run panics under DoChan, and hangs for ever when
// it calls Goexit. Here a run has a detached context and a goroutine of its
// own, callers come and go, and a crash is a value.
type Flights[S any] struct {
	shards [64]flightShard[S]
}

type flightShard[S any] struct {
	group singleflight.Group

	// A call is in group under a key iff its flight is in flights: every call
	// of DoChan and Forget is made with mu held.
	mu      sync.Mutex
	flights map[string]*Flight[S]   // guarded by mu; those that may be joined
	running map[*Flight[S]]struct{} // guarded by mu; those, and disowned ones under way
	closed  bool                    // guarded by mu
}

// A Flight is one run and those who wait for it.
type Flight[S any] struct {
	State S
	Gen   uint64 // drawn before the run began

	// Context is the run's own. Those who wait should look at it too: it ends
	// at the deadline even if the run does not.
	Context *Detached

	key   string
	also  string // guarded by shard.mu; another key, "" = none
	shard *flightShard[S]

	waiters int         // guarded by shard.mu
	keep    bool        // guarded by shard.mu; go on when there are no waiters
	left    func() bool // in place of keep; nil = none
	crash   *Crash      // written before the run is over

	over chan struct{} // closed when the run is over

	// publishing makes "not doomed, so store" one step against Doom. A flight
	// that nobody may join any more is not doomed by that: it is found by Doom
	// as long as it runs.
	publishing sync.Mutex
	doomed     bool // guarded by publishing
}

// A Ticket is one caller's share in a flight. It must be given back by Leave.
type Ticket[S any] struct {
	*Flight[S]
	Leader bool // this caller caused the run

	done <-chan singleflight.Result
	left bool // guarded by shard.mu
}

// A Start says how to begin a flight if there is none to join.
type Start[S any] struct {
	Timeout time.Duration           // of the run's context
	Expired func(f *Flight[S]) bool // called after Timeout: whether the run goes on without one; nil = not
	Keep    bool                    // let the run go on when nobody waits for it
	Left    func(f *Flight[S]) bool // in place of Keep: asked when nobody waits any more; must not call Flights
	Gen     func() uint64           // draws the generation
	State   func(f *Flight[S]) S    // makes the state that is shared
	Run     func(f *Flight[S])      // fills it, on a goroutine of its own
	Crashed func(f *Flight[S])      // called after a Run that crashed, before it is over; nil = not
	Joins   func(f *Flight[S]) bool // whether a flight under way may be joined; nil = yes
}

// Join returns a share in the flight of key, which it starts if there is none
// that may still be joined: one whose context has ended, or that was doomed or
// disowned, answers for those who already wait, and for nobody else.
func (t *Flights[S]) Join(ctx context.Context, hash uint64, key string, start Start[S]) (*Ticket[S], error) {
	s := &t.shards[hash%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	f := s.flights[key]
	if f != nil && (f.Context.Err() != nil || start.Joins != nil && !start.Joins(f)) {
		s.forget(f)
		f = nil
	}
	leader := f == nil
	if leader {
		f = &Flight[S]{Gen: start.Gen(), key: key, shard: s, over: make(chan struct{})}
		made := make(chan struct{})
		defer close(made)
		var expired func() bool
		if start.Expired != nil {
			expired = func() bool {
				<-made // however short the timeout
				return start.Expired(f)
			}
		}
		if start.Left != nil {
			f.left = func() bool { return start.Left(f) }
		}
		f.Context = Detach(ctx, start.Timeout, expired)
		begun := false
		defer func() {
			if !begun { // State has panicked: there is no run that a deadline could end
				f.Context.Cancel(errAbandoned)
			}
		}()
		f.State = start.State(f)
		begun = true
		if s.flights == nil {
			s.flights = make(map[string]*Flight[S])
			s.running = make(map[*Flight[S]]struct{})
		}
		s.flights[key] = f
		s.running[f] = struct{}{}
	}
	f.keep = f.keep || start.Keep
	f.waiters++
	done := s.group.DoChan(f.key, func() (any, error) { // f.key, by whatever name it was found
		f.fly(start)
		return nil, nil
	})
	return &Ticket[S]{Flight: f, Leader: leader, done: done}, nil
}

// fly runs the flight and takes it off the board.
func (f *Flight[S]) fly(start Start[S]) {
	// A goroutine inside singleflight's: Goexit ends the goroutine it is
	// called on, and singleflight's is the one that delivers to the waiters.
	f.crash = guard.Run(func() { start.Run(f) })
	if f.crash != nil && start.Crashed != nil {
		start.Crashed(f)
	}
	close(f.over)
	f.shard.mu.Lock()
	f.shard.forget(f)
	delete(f.shard.running, f)
	f.shard.mu.Unlock()
	f.Context.Cancel(errEnded) // frees its timer
}

// forget makes the next caller of f's keys start anew. The caller holds mu.
func (s *flightShard[S]) forget(f *Flight[S]) {
	if s.flights[f.key] != f {
		return
	}
	delete(s.flights, f.key)
	s.group.Forget(f.key)
	if f.also != "" && s.flights[f.also] == f {
		delete(s.flights, f.also)
	}
}

// Alias lets f be joined under another key of the same hash too, as long as it
// can be joined at all: what it brings has turned out to be for that one. A
// flight has one alias, and takes nobody else's key.
func (f *Flight[S]) Alias(key string) {
	s := f.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[f.key] == f && s.flights[key] == nil && f.also == "" {
		f.also = key
		s.flights[key] = f
	}
}

// doom forgets f, and keeps it from storing anything. The caller holds mu.
func (s *flightShard[S]) doom(f *Flight[S]) {
	s.forget(f)
	f.publishing.Lock()
	f.doomed = true
	f.publishing.Unlock()
}

// Wait returns nil when the run is over: then State is complete, and Crash says
// whether it crashed. Else it returns why it did not wait any longer: ctx has
// ended, or the run's own context (its deadline passed, or the cache was
// closed) although the run goes on, or, if limit is not 0, ErrWaitTimeout.
func (t *Ticket[S]) Wait(ctx context.Context, limit time.Duration) error {
	var expired <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return ErrWaitTimeout
	case <-t.Context.Done():
		if err := t.Context.Cause(); err != errEnded {
			return err
		}
		<-t.done
		return nil
	}
}

// Over returns a channel that is closed when the run is over, whatever becomes
// of its context.
func (f *Flight[S]) Over() <-chan struct{} { return f.over }

// Crash returns how the run ended if it did not return, else nil. It may be
// called when the run is over.
func (f *Flight[S]) Crash() *Crash { return f.crash }

// Leave gives the share back. When nobody is left and the flight is not to be
// kept, its context is cancelled, and who comes later starts anew.
func (t *Ticket[S]) Leave() {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.left {
		return
	}
	t.left = true
	t.waiters--
	t.abandonLocked()
}

func (f *Flight[S]) abandonLocked() {
	if f.waiters > 0 || f.keep {
		return
	}
	select {
	case <-f.over: // nothing goes on
		return
	default:
	}
	if f.left == nil || !f.left() {
		f.shard.doom(f)
		f.Context.Cancel(errAbandoned)
	}
}

// Waiters returns how many hold a share of f.
func (f *Flight[S]) Waiters() int {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.waiters
}

// Disown makes the next caller of the key start a flight of its own, while
// those who are on this one stay.
func (f *Flight[S]) Disown() {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	f.shard.forget(f)
}

// Publish calls store unless the flight was doomed or its context has ended,
// and reports whether it did.
func (f *Flight[S]) Publish(store func()) bool {
	f.publishing.Lock()
	defer f.publishing.Unlock()
	if f.doomed || f.Context.Err() != nil {
		return false
	}
	store()
	return true
}

// Doom makes sure that no flight of key stores anything after Doom returned,
// and that who comes later starts anew. Those who already wait still get their
// answer. A caller that then removes the key's entry removes all that was
// generated before.
func (t *Flights[S]) Doom(hash uint64, key string) {
	t.DoomAll(hash, func(other string) bool { return other == key })
}

// DoomThen is Doom, and calls then before anyone can begin a flight of key: what
// that stores or removes comes after all flights that were, and before all that
// will be. It holds a lock that other keys share, so it must not wait.
func (t *Flights[S]) DoomThen(hash uint64, key string, then func()) {
	s := &t.shards[hash%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.running {
		if f.key == key {
			s.doom(f)
		}
	}
	then()
}

// DoomAll is Doom for all keys of one hash that match. It looks at the flights
// under way, of which a shard has few.
func (t *Flights[S]) DoomAll(hash uint64, match func(key string) bool) {
	s := &t.shards[hash%uint64(len(t.shards))]
	s.mu.Lock()
	for f := range s.running {
		if match(f.key) {
			s.doom(f)
		}
	}
	s.mu.Unlock()
}

// Close refuses further flights and ends the contexts of those under way.
func (t *Flights[S]) Close() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.closed = true
		for f := range s.running {
			s.doom(f)
			f.Context.Cancel(errClosed)
		}
		s.mu.Unlock()
	}
}
