package cachefetch

import (
	"context"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// The first and the longest pause between two looks at a key that another
// process is loading.
const (
	leasePoll    = 10 * time.Millisecond
	leaseMaxPoll = 200 * time.Millisecond
)

// A claim is the lease of a key, held or not. The zero claim holds none.
type claim struct {
	key    string
	token  string // "" if not held
	absent bool   // the backend has nothing under the key
}

// read returns what the second level has of key, if it is wanted, or nil.
func (l *l2[V]) read(ctx context.Context, key string, wanted func(*record[V]) bool) (*record[V], claim) {
	return l.counted(l.look(ctx, key, wanted))
}

// readOrClaim is read, but if there is nothing that is wanted it also returns
// a claim to load it. If another process is loading it, it waits for that, as
// long as Options.LeaseWait at most; then the caller loads it too, without a
// lease. A lease that cannot be asked for does not delay anything.
func (l *l2[V]) readOrClaim(ctx context.Context, key string, wanted func(*record[V]) bool) (*record[V], claim) {
	r, c := l.look(ctx, key, wanted)
	if r == nil && l.leases != nil {
		r, c = l.waitOrClaim(ctx, key, c, wanted)
	}
	return l.counted(r, c)
}

func (l *l2[V]) look(ctx context.Context, key string, wanted func(*record[V]) bool) (*record[V], claim) {
	r, absent := l.lookup(ctx, key)
	if r != nil && wanted(r) {
		return r, claim{}
	}
	return nil, claim{absent: absent}
}

// counted counts r as a hit, or a miss.
func (l *l2[V]) counted(r *record[V], c claim) (*record[V], claim) {
	if r != nil {
		l.hits.Add(1)
	} else {
		l.misses.Add(1)
	}
	return r, c
}

// waitOrClaim gets the lease of key, or waits for what its holder writes.
func (l *l2[V]) waitOrClaim(ctx context.Context, key string, c claim, wanted func(*record[V]) bool) (*record[V], claim) {
	ctx, cancel := context.WithTimeout(ctx, l.leaseWait)
	defer cancel()
	for pause := leasePoll; ; pause = min(2*pause, leaseMaxPoll) {
		if ok := l.claim(ctx, key, &c); !ok {
			return nil, c
		}
		if c.token == "" {
			// Processes that wait for one key should not ask in step.
			sleep(ctx, engine.Jitter(pause, 0.3))
		}
		// With the lease too: its last holder may have written since the
		// look before.
		r, again := l.look(ctx, key, wanted)
		if r != nil {
			l.release(c)
			return r, claim{}
		}
		c.absent = again.absent
		if c.token != "" || ctx.Err() != nil {
			return nil, c
		}
	}
}

// claim asks for the lease of key, and reports whether there was an answer.
func (l *l2[V]) claim(ctx context.Context, key string, c *claim) bool {
	name := l.prefix + valueName + key
	var token string
	err := l.calls.read(ctx, func(ctx context.Context) (err error) {
		token, err = l.leases.Acquire(ctx, name, l.leaseWait)
		return err
	})
	if err != nil {
		return false // and token may still be written to
	}
	c.key, c.token = name, token
	return true
}

// release gives c back, behind. If that fails, it ends by itself.
func (l *l2[V]) release(c claim) {
	if c.token != "" {
		s := l.clock.next()
		l.enqueue(&op[V]{kind: opNote, key: l.prefix + leaseName + c.token, stamp: s, bound: renewal(s), claim: c})
	}
}
