package level2

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

// Read returns what the second level has of key, if it is wanted, or nil.
func (l *Level[V]) Read(ctx context.Context, key string, wanted func(*Record[V]) bool) (*Record[V], Claim) {
	return l.counted(l.look(ctx, key, wanted))
}

// ReadOrClaim is Read, but if there is nothing that is wanted it also returns
// a claim to load it. If another process is loading it, it waits for that, as
// long as Config.LeaseWait at most; then the caller loads it too, without a
// lease. A lease that cannot be asked for does not delay anything.
func (l *Level[V]) ReadOrClaim(ctx context.Context, key string, wanted func(*Record[V]) bool) (*Record[V], Claim) {
	r, c := l.look(ctx, key, wanted)
	if r == nil && l.leases != nil {
		r, c = l.waitOrClaim(ctx, key, c, wanted)
	}
	return l.counted(r, c)
}

func (l *Level[V]) look(ctx context.Context, key string, wanted func(*Record[V]) bool) (*Record[V], Claim) {
	r, absent := l.lookup(ctx, key)
	if r != nil && wanted(r) {
		return r, Claim{}
	}
	return nil, Claim{Absent: absent}
}

// counted counts r as a hit, or a miss.
func (l *Level[V]) counted(r *Record[V], c Claim) (*Record[V], Claim) {
	if r != nil {
		l.hits.Add(1)
	} else {
		l.misses.Add(1)
	}
	return r, c
}

// waitOrClaim gets the lease of key, or waits for what its holder writes.
func (l *Level[V]) waitOrClaim(ctx context.Context, key string, c Claim, wanted func(*Record[V]) bool) (*Record[V], Claim) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.LeaseWait)
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
			l.Release(c)
			return r, Claim{}
		}
		c.Absent = again.Absent
		if c.token != "" || ctx.Err() != nil {
			return nil, c
		}
	}
}

// claim asks for the lease of key, and reports whether there was an answer.
func (l *Level[V]) claim(ctx context.Context, key string, c *Claim) bool {
	name := l.cfg.Prefix + valueName + key
	var token string
	err := l.calls.read(ctx, func(ctx context.Context) (err error) {
		token, err = l.leases.Acquire(ctx, name, l.cfg.LeaseWait)
		return err
	})
	if err != nil {
		return false // and token may still be written to
	}
	c.key, c.token = name, token
	return true
}
