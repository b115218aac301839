package level2

import (
	"sync"
	"time"
)

const (
	// maxValueAge is how old a value may be when it is written. A load that
	// takes longer, or that had to wait here, could undo a removal of its key
	// that other processes have forgotten.
	maxValueAge = supersededFor / 2

	// A delete that fails is tried again after a while, doubled each time:
	// for about a quarter of an hour, plus all the time the breaker is open.
	maxAttempts = 10
	firstRetry  = time.Second

	// rememberMade bounds the keys of which is known what was last made. Two
	// writers of a key may come to the queue in the wrong order, the later one
	// after the other's change is made; it is then known for the next few
	// thousand changes of other keys.
	rememberMade = 4096

	opBookkeeping = 256 // bytes, for what an operation takes beside its strings and value
)

// A queue holds the changes that workers have yet to make, at most one a key
// and one of a key under way. The newest stamp wins. Pending changes answer
// for their key, since the backend cannot yet.
type queue[V any] struct {
	maxOps   int
	maxBytes int64

	mu     sync.Mutex
	wake   sync.Cond           // a worker may have something to do; on mu
	slots  map[string]*slot[V] // guarded by mu
	ready  []*slot[V]          // guarded by mu; in the order they are to be made
	ops    int                 // guarded by mu
	bytes  int64               // guarded by mu
	drops  uint64              // guarded by mu; values not written, removals not made
	closed bool                // guarded by mu; nothing new is taken

	made       map[uint64]Bound // guarded by mu; by hash, of the last change made
	madeBefore map[uint64]Bound // guarded by mu; the same, before made was last full
}

func newQueue[V any](maxOps int, maxBytes int64) *queue[V] {
	q := &queue[V]{
		maxOps: maxOps, maxBytes: maxBytes,
		slots: make(map[string]*slot[V]),
		made:  make(map[uint64]Bound),
	}
	q.wake.L = &q.mu
	return q
}

// A placing is what put did with an op.
type placing uint8

const (
	queued   placing = iota
	outdated         // something newer is queued, or was made: there is nothing to do
	refused          // the queue is full or closed
)

// put queues o in place of what is queued for its key. If there is no room for a value
// that was set, there may be for the removal of the one before it.
func (q *queue[V]) put(o *op[V]) placing {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.slots[o.key]
	if !q.boundLocked(o.hash, s).Allows(o.stamp) {
		return outdated
	}
	old := s.waiting()
	if !q.fitsLocked(o, old) {
		q.drops++
		if q.closed || old == nil && (o.record == nil || !o.final) {
			return refused
		}
		// In place of what is queued, a removal is taken in any case: else
		// that would be made, and read meanwhile.
		if o.record = nil; !q.fitsLocked(o, old) && old == nil {
			return refused
		}
	}
	q.ops++
	q.bytes += o.cost
	if old != nil {
		q.replaceLocked(old, o)
	}
	switch {
	case s == nil:
		s = &slot[V]{op: o}
		q.slots[o.key] = s
		q.readyLocked(s)
	case s.running:
		s.next = o
	default:
		s.op = o
		if s.retry != nil { // a new change need not wait for the old one's retry
			s.retry.Stop()
			s.retry = nil
			q.readyLocked(s)
		}
	}
	return queued
}

// fitsLocked sets the cost of o and reports whether there is room for it in
// place of old, if that is not nil. What carries no value finds as much room
// again: to lose it leaves other processes with what is gone.
func (q *queue[V]) fitsLocked(o, old *op[V]) bool {
	o.cost = opBookkeeping + int64(len(o.key)+len(o.tell.Name))
	maxOps, maxBytes := 2*q.maxOps, 2*q.maxBytes
	if o.record != nil {
		o.cost += o.record.Cost
		maxOps, maxBytes = q.maxOps, q.maxBytes
	}
	ops, bytes := q.ops+1, q.bytes+o.cost
	if old != nil {
		ops--
		bytes -= old.cost
	}
	return !q.closed && (o.covers || ops <= maxOps && bytes <= maxBytes)
}

// boundLocked returns what is too old for the key of this hash, by what is
// queued in its slot s, which may be nil, and what was made not long ago.
func (q *queue[V]) boundLocked(hash uint64, s *slot[V]) Bound {
	b := q.made[hash].and(q.madeBefore[hash])
	if s != nil {
		b = b.and(s.op.bound)
		if s.next != nil {
			b = b.and(s.next.bound)
		}
	}
	return b
}

func (q *queue[V]) readyLocked(s *slot[V]) {
	q.ready = append(q.ready, s)
	q.wake.Signal()
}

// endLocked takes o out of the accounts and wakes who waits for it.
func (q *queue[V]) endLocked(o *op[V]) {
	q.ops--
	q.bytes -= o.cost
	close(o.done)
}

// replaceLocked ends o, in whose place newer is made. What was to come of o
// comes of newer: what o was to remove is removed, and told. An older message
// of the key is covered by a newer one, and a lease that is lost by another one
// ends by itself.
func (q *queue[V]) replaceLocked(o, newer *op[V]) {
	newer.bound = newer.bound.and(o.bound)
	newer.final = newer.final || o.final && !o.made
	if newer.tell.Kind == 0 && o.tell.Kind != 0 {
		newer.tell = o.tell
		newer.cost += int64(len(o.tell.Name))
		q.bytes += int64(len(o.tell.Name))
	}
	if newer.claim.token == "" {
		newer.claim = o.claim
	}
	q.endLocked(o)
}

// take waits for a change to be made and returns it, or nil when the queue is
// closed and empty. The worker must give it back by finish or retry.
func (q *queue[V]) take() *op[V] {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 {
		if q.closed {
			return nil
		}
		q.wake.Wait()
	}
	s := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	s.running = true
	return s.op
}

// newest returns what a worker that holds o should make in place of it: o, or
// what has come for its key meanwhile.
func (q *queue[V]) newest(o *op[V]) *op[V] {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.slots[o.key]
	if s.next != nil {
		q.replaceLocked(o, s.next)
		s.op, s.next = s.next, nil
	}
	return s.op
}

// forgetRecord gives up the value of o, which a worker holds: o becomes the
// removal of its key.
func (q *queue[V]) forgetRecord(o *op[V]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o.record != nil {
		q.drops++
		o.cost -= o.record.Cost
		q.bytes -= o.record.Cost
		o.record = nil
	}
}

// finish ends o. dropped says that it was given up.
func (q *queue[V]) finish(o *op[V], dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if dropped {
		q.drops++
	}
	if len(q.made) >= rememberMade {
		q.made, q.madeBefore = make(map[uint64]Bound), q.made
	}
	q.made[o.hash] = o.bound.and(q.made[o.hash])
	s := q.slots[o.key]
	q.endLocked(o)
	s.running = false
	if s.next == nil {
		delete(q.slots, o.key)
		return
	}
	s.op, s.next = s.next, nil
	q.readyLocked(s)
}

// retry puts o back, to be made again after d, unless something newer has
// come for its key.
func (q *queue[V]) retry(o *op[V], d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.slots[o.key]
	s.running = false
	if s.next != nil {
		q.replaceLocked(o, s.next)
		s.op, s.next = s.next, nil
		q.readyLocked(s)
		return
	}
	if q.closed { // no time to wait
		q.readyLocked(s)
		return
	}
	s.retry = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if s.op == o && s.retry != nil {
			s.retry = nil
			q.readyLocked(s)
		}
	})
}

// newestStamp returns the stamp of what is queued last for key, and whether
// anything is.
func (q *queue[V]) newestStamp(key string) (Stamp, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o := q.slots[key].last(); o != nil {
		return o.stamp, true
	}
	return Stamp{}, false
}

// pending returns the newest value that is queued for key, or nil for a
// removal, and whether anything is queued.
func (q *queue[V]) pending(key string) (r *Record[V], ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o := q.slots[key].last(); o != nil {
		return o.record, true
	}
	return nil, false
}

// bound returns what is too old for key, whose hash this is.
func (q *queue[V]) bound(key string, hash uint64) Bound {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.boundLocked(hash, q.slots[key])
}

// close takes nothing new. What waits for a retry is tried once more.
func (q *queue[V]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, s := range q.slots {
		if s.retry != nil {
			s.retry.Stop()
			s.retry = nil
			q.ready = append(q.ready, s)
		}
	}
	q.wake.Broadcast()
}

// queueUsage is a snapshot of a queue.
type queueUsage struct {
	ops   int
	bytes int64
	drops uint64
}

func (q *queue[V]) usage() queueUsage {
	q.mu.Lock()
	defer q.mu.Unlock()
	return queueUsage{ops: q.ops, bytes: q.bytes, drops: q.drops}
}
