package cachefetch

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// backendWriters make the queued changes. Each waits for one answer at a
	// time: at a millisecond a write they make 4,000 a second.
	backendWriters = 4

	// maxClockSkew is how far the clocks of processes that share a backend may
	// be apart. What another one wrote up to this long after a purge may have
	// been generated before it, and is not used. What seems to be generated
	// later than this from now is not used either.
	maxClockSkew = time.Second

	// maxBackendTTL is the longest a backend is asked to keep a value.
	maxBackendTTL = 7 * 24 * time.Hour

	// backendCloseTimeout is how long Close lets the queue be written.
	backendCloseTimeout = 2 * time.Second
)

// A record is a value on its way to a backend or back. It is immutable. Times
// are nanoseconds since 1970 by this process's clock.
type record[V any] struct {
	value           V
	stamp           int64 // when its load began
	freshUntil      int64
	revalidateUntil int64
	errorUntil      int64
	tags            []string
	etag            string
	lastModified    string
	cost            int64 // bytes of memory; not stored
}

// horizon is the time from which the record is of no use.
func (r *record[V]) horizon() int64 { return max(r.freshUntil, r.revalidateUntil, r.errorUntil) }

// An l2 is the second level: a Backend, made harmless. Reads are bounded in
// time and number, writes are queued, and what comes back is believed only
// when it is whole, of this key, and not superseded or purged. None of its
// methods returns an error, and none waits longer than the budget.
type l2[V any] struct {
	backend  Backend
	versions Versions // nil if the backend has none
	codec    Codec[V]
	format   uint32
	prefix   string
	purged   func(key string, tags []string, stamp int64) bool

	calls      *caller
	queue      *queue[V]
	superseded superseded

	ctx     context.Context // of writes; ends when Close gives up
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins
	workers sync.WaitGroup

	hits, misses, bad atomic.Uint64
}

// l2Config says how to make an l2.
type l2Config[V any] struct {
	backend  Backend
	codec    Codec[V]
	prefix   string
	budget   time.Duration
	maxOps   int
	maxBytes int64

	// purged reports whether what was generated at stamp has been purged.
	purged func(key string, tags []string, stamp int64) bool
}

// newL2 returns a running l2, which must be closed.
func newL2[V any](cfg l2Config[V]) *l2[V] {
	l := &l2[V]{
		backend: cfg.backend,
		codec:   cfg.codec,
		format:  crc32.Checksum(fmt.Appendf(nil, "%T", cfg.codec), castagnoli),
		prefix:  cfg.prefix,
		purged:  cfg.purged,
		calls:   newCaller(cfg.budget),
		queue:   newQueue[V](cfg.maxOps, cfg.maxBytes),
		closing: make(chan struct{}),
	}
	l.versions, _ = cfg.backend.(Versions)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range backendWriters {
		l.workers.Go(l.work)
	}
	return l
}

// read returns what the second level has of key, if it may be used in any
// way, perhaps only as a stale value.
func (l *l2[V]) read(ctx context.Context, key string, hash uint64) (*record[V], bool) {
	r, ok := l.lookup(ctx, key, hash)
	if ok {
		l.hits.Add(1)
	} else {
		l.misses.Add(1)
	}
	return r, ok
}

func (l *l2[V]) lookup(ctx context.Context, key string, hash uint64) (*record[V], bool) {
	name := l.prefix + key
	if r, queued := l.queue.pending(name); queued {
		return r, r != nil && !l.purged(key, r.tags, r.stamp) && r.horizon() > time.Now().UnixNano()
	}
	var data []byte
	err := l.calls.read(ctx, func(ctx context.Context) (err error) {
		data, err = l.backend.Get(ctx, name)
		return err
	})
	if err != nil {
		return nil, false // and data may still be written to
	}
	r, err := l.open(key, data)
	if err != nil {
		l.bad.Add(1)
		return nil, false
	}
	// Only now: a delete that came during the read must be seen.
	if _, queued := l.queue.pending(name); queued {
		return nil, false
	}
	now := time.Now()
	least := r.stamp - int64(maxClockSkew) // by the slowest clock that may have drawn it
	if r.horizon() <= now.UnixNano() || least > now.UnixNano() ||
		l.superseded.has(now, hash, least) || l.purged(key, r.tags, least) {
		return nil, false
	}
	return r, true
}

// open returns the record of key that data hold, or an error if they hold
// anything else. It does not panic.
func (l *l2[V]) open(key string, data []byte) (r *record[V], err error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	if e.key != key || e.format != l.format {
		return nil, fmt.Errorf("key %q, format %#x, want key %q, format %#x", e.key, e.format, key, l.format)
	}
	defer func() {
		if v := recover(); v != nil {
			r, err = nil, fmt.Errorf("codec panicked: %v", v)
		}
	}()
	value, err := l.codec.Decode(e.value)
	if err != nil {
		return nil, err
	}
	return &record[V]{
		value: value, stamp: e.stamp,
		freshUntil: e.freshUntil, revalidateUntil: e.revalidateUntil, errorUntil: e.errorUntil,
		tags: e.tags, etag: e.etag, lastModified: e.lastModified,
	}, nil
}

// seal returns the bytes of r. It does not panic.
func (l *l2[V]) seal(key string, r *record[V]) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			b, err = nil, fmt.Errorf("codec panicked: %v", v)
		}
	}()
	e := envelope{
		format: l.format, stamp: r.stamp,
		freshUntil: r.freshUntil, revalidateUntil: r.revalidateUntil, errorUntil: r.errorUntil,
		key: key, etag: r.etag, lastModified: r.lastModified, tags: r.tags,
	}
	return appendEnvelope(nil, &e, func(dst []byte) ([]byte, error) { return l.codec.Append(dst, r.value) })
}

// write has r written behind. Until then, and if it cannot be, nothing older
// is read.
func (l *l2[V]) write(key string, hash uint64, r *record[V]) {
	l.enqueue(&op[V]{key: l.prefix + key, hash: hash, stamp: r.stamp, record: r})
}

// remove has key removed behind. From the moment it is called, nothing of
// stamp or older is read or written. The channel it returns is closed when the
// backend has done it, or it was given up.
func (l *l2[V]) remove(key string, hash uint64, stamp int64) <-chan struct{} {
	o := &op[V]{key: l.prefix + key, hash: hash, stamp: stamp}
	l.enqueue(o)
	return o.done
}

func (l *l2[V]) enqueue(o *op[V]) {
	now := time.Now()
	o.queued, o.done = now, make(chan struct{})
	if l.superseded.has(now, o.hash, o.stamp) {
		close(o.done) // a load that began before a delete that is done
		return
	}
	if !l.queue.put(o) {
		l.superseded.add(now, o.hash, o.stamp, false)
		close(o.done)
	}
}

// close lets the queue be written for a while, drops what is left, and ends
// the workers. Those that a call of the backend does not let go are left
// behind: a second after its context has ended it has had its chance.
func (l *l2[V]) close() {
	l.queue.close()
	close(l.closing)
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
