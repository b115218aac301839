package engine

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// admission moves entries from the window into the store.
//
// The window is the part of the budget that holds what the store does not:
// entries not yet offered to the store, and entries that the store's policy
// refused, oldest first. The last is what a W-TinyLFU
// window is for: a new entry gets a while to show that it is asked for before
// its frequency is compared with that of old ones.
//
// Writers do the work themselves, one at a time (flat combining): whoever
// finds mu free moves everything that is queued, the others go on. A writer
// waits only when the window is full, so writes cannot outrun the store.
type admission[V any] struct {
	limit int64        // bytes of the window
	used  atomic.Int64 // bytes of it in use; never above limit

	queueMu sync.Mutex
	queue   []change[V] // guarded by queueMu

	// mu makes its holder the only writer of the store. No shard lock is held
	// while waiting for it.
	mu     sync.Mutex
	closed bool        // guarded by mu
	fifo   []*Entry[V] // guarded by mu; refused entries, oldest first, dead ones not yet taken out
	gone   int         // guarded by mu; dead entries in fifo
	batch  []*Entry[V] // guarded by mu; scratch

	store *store[V]
	index *index[V]

	resident  atomic.Int64 // bytes in the store
	evictions atomic.Uint64
	refusals  atomic.Uint64
}

// A change tells admission of an entry that was put into the index or taken
// out of it. Changes of one hash are queued in the order of the index.
type change[V any] struct {
	entry   *Entry[V]
	removed bool
}

// batchSize bounds the entries offered to the store before the verdict is
// awaited. It is far below ristretto's 32,768 slots, so no set is ever dropped.
const batchSize = 512

func newAdmission[V any](window, main int64, index *index[V]) (*admission[V], error) {
	a := &admission[V]{limit: window, index: index}
	s, err := newStore(main, a.evicted, a.refused)
	if err != nil {
		return nil, err
	}
	a.store = s
	return a, nil
}

// reserve takes n bytes of the window, making room if need be. It reports
// false if they cannot be had: n is more than the window.
func (a *admission[V]) reserve(n int64) bool {
	if a.take(n) {
		return true
	}
	if n > a.limit {
		return false
	}
	defer a.help() // with what came while mu was held here
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.closed {
		if !a.work() {
			a.trim(n)
		}
		if a.take(n) { // as soon as there is room: the rest is for others
			return true
		}
		// Other writers took it first, and are now between here and enqueue,
		// where nothing makes them wait.
		runtime.Gosched()
	}
	return false
}

func (a *admission[V]) take(n int64) bool {
	for {
		used := a.used.Load()
		if used+n > a.limit {
			return false
		}
		if a.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (a *admission[V]) release(n int64) { a.used.Add(-n) }

// enqueue notes changes. The caller holds the lock of the entries' shard.
func (a *admission[V]) enqueue(changes ...change[V]) {
	a.queueMu.Lock()
	a.queue = append(a.queue, changes...)
	a.queueMu.Unlock()
}

func (a *admission[V]) pending() bool {
	a.queueMu.Lock()
	defer a.queueMu.Unlock()
	return len(a.queue) > 0
}

// help does queued work unless somebody else is at it. Whoever holds mu looks at
// the queue again after letting go. It stops after a few batches, since others
// go on queueing: what one writer is held up by does not grow with what all
// write. What it leaves is in the window, visible, and done by the next writer.
func (a *admission[V]) help() {
	for range maxHelp {
		if !a.pending() || !a.mu.TryLock() {
			return
		}
		a.work()
		a.mu.Unlock()
	}
}

// maxHelp bounds the batches that one writer works off.
const maxHelp = 4

// work does a batch of what is queued, and reports whether there was any. The
// caller holds mu.
func (a *admission[V]) work() bool {
	a.queueMu.Lock()
	work := a.queue[:min(len(a.queue), batchSize)]
	a.queue = a.queue[len(work):]
	if len(a.queue) == 0 {
		a.queue = nil // lets go of the array and of the entries in it
	}
	a.queueMu.Unlock()
	if len(work) == 0 {
		return false
	}
	if a.closed {
		return true
	}
	// Removals first, while the store has nothing to decide: once something
	// is offered, refused and evicted run beside this goroutine, and an
	// entry must not be evicted and forgotten at the same time. An entry
	// that both comes and goes in work is dead, and never offered.
	for _, c := range work {
		if c.removed {
			a.forget(c.entry)
		}
	}
	for _, c := range work {
		if !c.removed {
			a.offer(c.entry)
		}
	}
	a.judge()
	return true
}

// forget lets go of an entry that left the index.
func (a *admission[V]) forget(e *Entry[V]) {
	switch e.place {
	case resident:
		a.store.del(e)
		a.resident.Add(-e.cost)
	case rejected:
		a.release(e.cost)
		a.gone++
	}
	e.place = nowhere
	// Entries that are refused and replaced again and again would pile up in
	// fifo: their bytes are free, so nothing ever makes room.
	if a.gone > batchSize && a.gone > len(a.fifo)/2 {
		a.fifo = slices.DeleteFunc(a.fifo, func(e *Entry[V]) bool { return e.place != rejected })
		a.gone = 0
	}
}

// offer hands e to the store and reports true, or lets go of it if it is dead.
// The verdict follows in judge. Until then e.place belongs to the store's
// goroutine.
func (a *admission[V]) offer(e *Entry[V]) bool {
	if e.dead.Load() {
		a.release(e.cost)
		e.place = nowhere
		return false
	}
	e.place = resident // unless refused says otherwise
	a.batch = append(a.batch, e)
	a.store.set(e)
	return true
}

// judge waits for the store's verdict on what was offered and books it.
func (a *admission[V]) judge() {
	if len(a.batch) == 0 {
		return
	}
	a.store.wait()
	for i, e := range a.batch {
		switch e.place {
		case resident:
			a.resident.Add(e.cost)
			a.release(e.cost)
		case rejected:
			a.fifo = append(a.fifo, e)
		case nowhere: // evicted again by a later one of the same batch
			a.resident.Add(e.cost) // as evicted already took it off
			a.release(e.cost)
		}
		a.batch[i] = nil
	}
	a.batch = a.batch[:0]
}

// trim makes room for n bytes by offering the oldest refused entries a second
// time and dropping those that are refused again. The caller holds mu.
func (a *admission[V]) trim(n int64) {
	// A little more than asked for, so that a full window does not mean one
	// round for every entry.
	goal := a.limit - n - a.limit/16
	for a.used.Load() > goal && len(a.fifo) > 0 {
		over := a.used.Load() - goal
		var second []*Entry[V]
		for len(a.fifo) > 0 && over > 0 && len(second) < batchSize {
			e := a.fifo[0]
			a.fifo[0] = nil
			a.fifo = a.fifo[1:]
			if e.place != rejected { // forgotten meanwhile
				a.gone--
				continue
			}
			over -= e.cost
			if a.offer(e) { // else it is dead and its removal queued
				second = append(second, e)
			}
		}
		kept := len(a.fifo)
		a.judge()
		clear(a.fifo[kept:])
		a.fifo = a.fifo[:kept]
		for _, e := range second {
			if e.place == rejected {
				e.place = nowhere
				a.index.remove(e)
				a.release(e.cost)
				a.evictions.Add(1)
			}
		}
	}
}

// refused is the store's verdict against e. It runs on the store's goroutine
// between an offer and the end of judge.
func (a *admission[V]) refused(e *Entry[V]) {
	e.place = rejected
	a.refusals.Add(1)
}

// evicted says that the store gave e up for others. It runs like refused.
func (a *admission[V]) evicted(e *Entry[V]) {
	if a.closed {
		return
	}
	e.place = nowhere
	a.resident.Add(-e.cost)
	a.index.remove(e)
	a.evictions.Add(1)
}

func (a *admission[V]) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.store.close()
	a.fifo = nil
}
