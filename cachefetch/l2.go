package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// backendWriters make the queued changes. Each waits for one answer at a
	// time: at a millisecond a write they make 4,000 a second.
	backendWriters = 4

	// maxBackendTTL is the longest a backend is asked to keep a value.
	maxBackendTTL = 7 * 24 * time.Hour

	// backendCloseTimeout is how long Close lets the queue be written.
	backendCloseTimeout = 2 * time.Second
)

// An l2 is the second level: a Backend, made harmless. Reads are bounded in
// time and number, writes are queued, and what comes back is believed only
// when it is whole, of this key, and not superseded or purged. None of its
// methods returns an error, and none waits longer than the budget.
type l2[V any] struct {
	l2Config[V]
	versions      Versions      // nil if the backend has none
	invalidations Invalidations // the same
	leases        Lease         // the same
	format        uint32        // what codec, for what type
	seed          maphash.Seed

	calls *caller
	reader
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

// l2Config says how to make an l2. The functions may be called concurrently.
type l2Config[V any] struct {
	backend   Backend
	codec     Codec[V]
	prefix    string
	budget    time.Duration // of one call
	leaseWait time.Duration
	maxOps    int
	maxBytes  int64
	clock     *stampClock

	// purged reports whether what was generated at a time by the clock was
	// purged since by this process, or by another that has told it.
	purged func(key string, tags []string, at int64) bool

	// forgotten returns the time since when purged remembers all purges.
	forgotten func() int64

	// applyPurge applies a purge of another process to what is in memory.
	// heard is the stamp at which it came.
	applyPurge func(p purge, heard stamp)

	// resync is called when purges of others may have been missed: what is in
	// memory must be looked up in the backend again.
	resync func()
}

// newL2 returns an l2 that has yet to begin.
func newL2[V any](cfg l2Config[V]) *l2[V] {
	l := &l2[V]{
		l2Config: cfg,
		format:   crc32.Checksum(fmt.Appendf(nil, "%T", cfg.codec), castagnoli),
		seed:     maphash.MakeSeed(),
		calls:    newCaller(cfg.budget),
		queue:    newQueue[V](cfg.maxOps, cfg.maxBytes),
		looks:    newLooks(),
		closing:  make(chan struct{}),
	}
	l.clock.begin()
	l.versions, _ = cfg.backend.(Versions)
	l.invalidations, _ = cfg.backend.(Invalidations)
	l.leases, _ = cfg.backend.(Lease)
	l.connected.Store(neverConnected)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.reader = reader{of: cfg.backend, calls: l.calls, ctx: l.ctx}
	l.reader.many, _ = cfg.backend.(Many)
	return l
}

// begin has l do its work until it is closed. It calls the functions of its
// l2Config from now on.
func (l *l2[V]) begin() {
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
func (l *l2[V]) lookup(ctx context.Context, key string) (r *record[V], absent bool) {
	name := l.prefix + valueName + key
	if r, ok := l.queue.pending(name); ok {
		now := time.Now()
		if r == nil || r.horizon() <= now.UnixNano() || l.purgedOwn(key, r) ||
			!l.superseded.of(now, l.hash(name)).allows(r.stamp) {
			return nil, false
		}
		return r, false
	}
	data, err := l.get(ctx, name)
	if err != nil {
		return nil, errors.Is(err, ErrMiss)
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
func (l *l2[V]) usable(ctx context.Context, name, key string, r *record[V]) bool {
	if !l.trusts(r.stamp) {
		return false
	}
	l.clock.observe(r.stamp)
	remembered := l.forgotten()
	if l.marked(ctx, r.tags, r.stamp) {
		return false
	}
	// Only now: a delete that came during the reads must be seen.
	now, earliest := time.Now().UnixNano(), l.clock.earliest(r.stamp)
	return l.boundOf(name, l.hash(name)).allows(r.stamp) &&
		!l.purged(key, r.tags, earliest) && l.forgotten() == remembered && r.horizon() > now
}

// purgedOwn reports whether r, which this process has generated and not yet
// written, may have been purged since.
func (l *l2[V]) purgedOwn(key string, r *record[V]) bool {
	return l.purged(key, r.tags, r.stamp.at) || r.stamp.at <= l.forgotten()
}

// write has r, which this process has generated, written behind. Until then,
// and if it cannot be, nothing older is read. A claim is given back afterwards.
// If it is final, the other processes are told to forget what they have that is
// older.
func (l *l2[V]) write(key string, r *record[V], c claim, final bool) <-chan struct{} {
	o := &op[V]{key: l.prefix + valueName + key, stamp: r.stamp, bound: renewal(r.stamp), record: r, claim: c, final: final}
	if final {
		o.bound = removal(r.stamp, r.stamp)
		o.tell = l.told(purge{kind: purgeOlder, name: key, stamp: r.stamp})
	}
	return l.enqueue(o)
}

// remove has key removed behind. From the moment it is called, nothing of
// before s is read or written. The channel it returns is closed when that is
// done, or was given up. For the claim and final see write.
func (l *l2[V]) remove(key string, s stamp, c claim, final bool) <-chan struct{} {
	o := &op[V]{key: l.prefix + valueName + key, stamp: s, bound: renewal(s), claim: c, final: final}
	if final {
		o.bound = removal(s, s)
		o.tell = l.told(purge{kind: purgeKey, name: key, stamp: s})
	}
	return l.enqueue(o)
}

// supersede notes that another process has removed a key, or has put a newer
// value in its place, and returns what is too old now.
func (l *l2[V]) supersede(p purge, heard stamp) bound {
	name := l.prefix + valueName + p.name
	hash, b := l.hash(name), removal(p.stamp, heard)
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
func (l *l2[V]) enqueue(o *op[V]) <-chan struct{} {
	o.done = make(chan struct{})
	o.hash = l.hash(o.key)
	now := time.Now()
	if o.final { // at once, and whatever becomes of it in the queue
		l.superseded.add(now, o.hash, o.bound, true)
	}
	placed := outdated // a load that began before a delete that is done
	if o.kind != opValue || o.record == nil || l.superseded.of(now, o.hash).allows(o.stamp) {
		placed = l.queue.put(o)
	}
	if placed == refused {
		l.lose(o)
		l.cover(o)
	}
	if placed == outdated && o.final { // what is newer may be no more than a load
		l.lookLater(o.key, o.hash, o.bound)
		if o.tell.kind != purgeNone {
			l.enqueue(l.note(o.tell))
		}
	}
	if placed != queued {
		close(o.done)
		if o.kind != opNote {
			l.release(o.claim)
		}
	}
	return o.done
}

// lose notes that o is given up: nothing as old as it is read from the backend
// any more.
func (l *l2[V]) lose(o *op[V]) {
	switch o.kind {
	case opValue:
		l.superseded.add(time.Now(), o.hash, o.bound, false)
	case opMark:
		l.superseded.raise(removal(o.stamp, o.stamp))
	}
}

// wait waits until all of done are closed, but no longer than a call may take
// or ctx lasts.
func (l *l2[V]) wait(ctx context.Context, done ...<-chan struct{}) {
	if open, _ := l.calls.writing.state(); open {
		return // it will take longer
	}
	timer := time.NewTimer(l.budget)
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

// close lets the queue be written for a while, drops what is left, and ends
// the workers. Those that a call of the backend does not let go are left
// behind: a second after its context has ended it has had its chance.
func (l *l2[V]) close() {
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
