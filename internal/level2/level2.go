// Package level2 is the second level of a typed cache: it makes a
// [backend.Backend], which may be slow, down or wrong, harmless. It knows records
// and their stamps, and nothing of the cache in front.
//
// Level is the whole. A Record is what is stored: its envelope is bytes, its
// stamp says when and by whom it was generated, and a Bound which stamps are too
// old. A reader reads; changes are queued as ops, and workers make them. Marks,
// messages (Purge) and leases are for the other processes.
package level2

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

const (
	// backendWriters make the queued changes. Each waits for one answer at a
	// time: at a millisecond a write they make 4,000 a second.
	backendWriters = 4

	// MaxTTL is the longest a backend is asked to keep a value.
	MaxTTL = 7 * 24 * time.Hour

	// backendCloseTimeout is how long Close lets the queue be written.
	backendCloseTimeout = 2 * time.Second
)

// A Level is a second level: a Backend, made harmless. Reads are bounded in
// time and number, writes are queued, and what comes back is believed only
// when it is whole, of this key, and not superseded or purged. None of its
// methods returns an error, and none waits longer than its Config allows.
type Level[V any] struct {
	cfg           Config[V]
	versions      backend.Versions      // nil if the backend has none
	invalidations backend.Invalidations // the same
	leases        backend.Lease         // the same
	seed          maphash.Seed

	calls *caller
	reader
	sealer[V]
	queue      *queue[V]
	superseded superseded
	looks      *looks
	marks      marks
	clocks     clocks

	connected   atomic.Int64 // time since when no message is lost
	connections atomic.Uint64

	ctx     context.Context // of writes; ends when Close gives up
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins
	workers sync.WaitGroup

	hits, misses, bad, received, resyncs atomic.Uint64
}

// Config says how to make a [Level]. All fields must be set. The functions are
// called concurrently, with no lock of the Level held.
type Config[V any] struct {
	Backend   backend.Backend
	Codec     Codec[V]
	Prefix    string        // of all keys in Backend
	Timeout   time.Duration // of one call
	LeaseWait time.Duration // how long a load waits for that of another process
	MaxOps    int           // changes that are queued, and
	MaxBytes  int64         // their bytes
	Clock     *Clock        // of this process

	// Purged reports whether what was generated at a time by the clock was
	// purged since by this process, or by another that has told it.
	Purged func(key string, tags []string, at int64) bool

	// Forgotten returns the time since when Purged remembers all purges.
	Forgotten func() int64

	// Apply applies a purge of another process to what is in memory.
	// heard is the stamp at which it came.
	Apply func(p Purge, heard Stamp)

	// Resync is called when purges of others may have been missed: what is in
	// memory must be looked up in the backend again.
	Resync func()
}

// New returns a Level that has yet to begin.
func New[V any](cfg Config[V]) *Level[V] {
	l := &Level[V]{
		cfg:     cfg,
		sealer:  newSealer(cfg.Codec),
		seed:    maphash.MakeSeed(),
		calls:   newCaller(cfg.Timeout),
		queue:   newQueue[V](cfg.MaxOps, cfg.MaxBytes),
		looks:   newLooks(),
		closing: make(chan struct{}),
	}
	l.versions, _ = cfg.Backend.(backend.Versions)
	l.invalidations, _ = cfg.Backend.(backend.Invalidations)
	l.leases, _ = cfg.Backend.(backend.Lease)
	l.connected.Store(neverConnected)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.reader = reader{of: cfg.Backend, calls: l.calls, ctx: l.ctx}
	l.reader.many, _ = cfg.Backend.(backend.Many)
	return l
}

// Begin has l do its work until it is closed. It calls the functions of its
// Config from now on.
func (l *Level[V]) Begin() {
	l.workers.Go(l.lookAtLate)
	for range backendWriters {
		l.workers.Go(l.work)
	}
	if l.invalidations != nil {
		l.workers.Go(l.listen)
	}
}

// lookup returns what the second level has of key, if it may be used in any
// way, perhaps only as a stale value. Otherwise it returns nil, and whether the
// backend has said that there is nothing.
func (l *Level[V]) lookup(ctx context.Context, key string) (r *Record[V], absent bool) {
	name := l.cfg.Prefix + valueName + key
	if r, ok := l.queue.pending(name); ok {
		now := time.Now()
		if r == nil || r.horizon() <= now.UnixNano() || l.purgedOwn(key, r) ||
			!l.superseded.of(now, l.hash(name)).Allows(r.Stamp) {
			return nil, false
		}
		return r, false
	}
	data, err := l.get(ctx, name)
	if err != nil {
		return nil, errors.Is(err, backend.ErrMiss)
	}
	r, err = l.open(key, data)
	if err != nil {
		l.bad.Add(1)
		return nil, false
	}
	if !l.usable(ctx, name, key, r) {
		return nil, false
	}
	return r, false
}

// usable reports whether r, which was read under name, is in its time, and
// nothing has superseded or purged it.
func (l *Level[V]) usable(ctx context.Context, name, key string, r *Record[V]) bool {
	if !l.trusts(r.Stamp) {
		return false
	}
	l.cfg.Clock.observe(r.Stamp)
	remembered := l.cfg.Forgotten()
	if l.marked(ctx, r.Tags, r.Stamp) {
		return false
	}
	// Only now: a delete that came during the reads must be seen.
	now, earliest := time.Now().UnixNano(), l.cfg.Clock.Earliest(r.Stamp)
	return l.boundOf(name, l.hash(name)).Allows(r.Stamp) &&
		!l.cfg.Purged(key, r.Tags, earliest) && l.cfg.Forgotten() == remembered && r.horizon() > now
}

// purgedOwn reports whether r, which this process has generated and not yet
// written, may have been purged since.
func (l *Level[V]) purgedOwn(key string, r *Record[V]) bool {
	return l.cfg.Purged(key, r.Tags, r.Stamp.At) || r.Stamp.At <= l.cfg.Forgotten()
}

// Write has r, which this process has generated, written behind. Until then,
// and if it cannot be, nothing older is read. A claim is given back afterwards.
// If it is final, the other processes are told to forget what they have that is
// older.
func (l *Level[V]) Write(key string, r *Record[V], c Claim, final bool) <-chan struct{} {
	o := &op[V]{key: l.cfg.Prefix + valueName + key, stamp: r.Stamp, bound: renewal(r.Stamp), record: r, claim: c, final: final}
	if final {
		o.bound = removal(r.Stamp, r.Stamp)
		o.tell = l.told(Purge{Kind: PurgeOlder, Name: key, Stamp: r.Stamp})
	}
	return l.enqueue(o)
}

// Remove has key removed behind. From the moment it is called, nothing of
// before s is read or written. The channel it returns is closed when that is
// done, or was given up. For the claim and final see Write.
func (l *Level[V]) Remove(key string, s Stamp, c Claim, final bool) <-chan struct{} {
	o := &op[V]{key: l.cfg.Prefix + valueName + key, stamp: s, bound: renewal(s), claim: c, final: final}
	if final {
		o.bound = removal(s, s)
		o.tell = l.told(Purge{Kind: PurgeKey, Name: key, Stamp: s})
	}
	return l.enqueue(o)
}

// Supersede notes that another process has removed a key, or has put a newer
// value in its place, and returns what is too old now.
func (l *Level[V]) Supersede(p Purge, heard Stamp) Bound {
	name := l.cfg.Prefix + valueName + p.Name
	hash, b := l.hash(name), removal(p.Stamp, heard)
	// Another process, or a load here, may be about to write what it read
	// before; and the backend may show the change late.
	l.superseded.add(time.Now(), hash, b, true)
	if r, ok := l.queue.pending(name); ok && r != nil {
		// Perhaps being written at this moment.
		l.enqueue(&op[V]{key: name, stamp: heard, bound: b})
	}
	return b
}

// enqueue queues o and returns the channel that is closed when it is over.
func (l *Level[V]) enqueue(o *op[V]) <-chan struct{} {
	o.done = make(chan struct{})
	o.hash = l.hash(o.key)
	now := time.Now()
	if o.final { // at once, and whatever becomes of it in the queue
		l.superseded.add(now, o.hash, o.bound, true)
	}
	placed := outdated // a load that began before a delete that is done
	if o.kind != opValue || o.record == nil || l.superseded.of(now, o.hash).Allows(o.stamp) {
		placed = l.queue.put(o)
	}
	if placed == refused {
		l.lose(o)
		l.cover(o)
	}
	if placed == outdated && o.final { // what is newer may be no more than a load
		l.lookLater(o.key, o.hash, o.bound)
		if o.tell.Kind != purgeNone {
			l.enqueue(l.note(o.tell))
		}
	}
	if placed != queued {
		close(o.done)
		if o.kind != opNote {
			l.Release(o.claim)
		}
	}
	return o.done
}

// lose notes that o is given up: nothing as old as it is read from the backend
// any more.
func (l *Level[V]) lose(o *op[V]) {
	switch o.kind {
	case opValue:
		l.superseded.add(time.Now(), o.hash, o.bound, false)
	case opMark:
		l.superseded.raise(removal(o.stamp, o.stamp))
	}
}

// Release gives c back, behind. If that fails, it ends by itself.
func (l *Level[V]) Release(c Claim) {
	if c.token != "" {
		s := l.cfg.Clock.Next()
		l.enqueue(&op[V]{kind: opNote, key: l.cfg.Prefix + leaseName + c.token, stamp: s, bound: renewal(s), claim: c})
	}
}

// Wait waits until all of done are closed, but no longer than a call may take
// or ctx lasts.
func (l *Level[V]) Wait(ctx context.Context, done ...<-chan struct{}) {
	if open, _ := l.calls.writing.state(); open {
		return // it will take longer
	}
	timer := time.NewTimer(l.cfg.Timeout)
	defer timer.Stop()
	for _, d := range done {
		select {
		case <-d:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Close lets the queue be written for a while, drops what is left, and ends
// the workers. Those that a call of the backend does not let go are left
// behind: a second after its context has ended it has had its chance.
func (l *Level[V]) Close() {
	l.queue.close()
	close(l.closing) // ends the subscription, and waits for the breaker
	done := make(chan struct{})
	go func() {
		l.workers.Wait()
		close(done)
	}()
	for _, limit := range []time.Duration{backendCloseTimeout, time.Second} {
		timer := time.NewTimer(limit)
		select {
		case <-done:
			timer.Stop()
			l.cancel()
			return
		case <-timer.C:
			l.cancel() // workers give up the rest
		}
	}
}
