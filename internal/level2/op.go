package level2

import "time"

// An opKind says what an op is about.
type opKind uint8

const (
	opValue opKind = iota // a value, or its removal
	opMark                // a mark, see marks.go
	opNote                // nothing in the backend: a message, or a lease to give back
)

// An op is one change of the backend that is queued, and what follows when it
// is made: a message to the other processes, a lease to give back.
type op[V any] struct {
	kind  opKind
	key   string // as the backend knows it
	hash  uint64 // of key
	stamp Stamp
	done  chan struct{} // closed when the op is over, however it ended

	// What has no room in the queue goes into one that covers it, and that
	// is always taken: there are few of those.
	covers bool

	// Guarded by queue.mu, but a worker that has the op may read them. What
	// it replaces is covered: see queue.replaceLocked.
	record *Record[V] // of an opValue; nil: remove the key
	bound  Bound      // what is too old after it
	final  bool       // a Set or Delete: nothing older is to be read anywhere
	tell   Purge      // the message, or none
	claim  Claim      // the lease, perhaps none
	cost   int64

	made     bool // the change is, only what follows is left; the worker's
	attempts int  // failed; the worker's
}

// version returns the version for [backend.Versions]. It follows the bound, so that
// what is too old gives way in the backend too.
func (o *op[V]) version() int64 { return o.bound.others }

// A Claim is the lease of a key, held or not. The zero claim holds none.
type Claim struct {
	key    string
	token  string // "" if not held
	Absent bool   // the backend has nothing under the key
}

// A slot is what is queued for one key. It is in ready, or running, or
// waiting for its retry.
type slot[V any] struct {
	op      *op[V]      // the next to be made, or the one under way
	next    *op[V]      // set only while running: what came meanwhile
	running bool        // a worker has op
	retry   *time.Timer // set while op waits for it
}

// last returns the newest change of s, which may be nil, or nil.
func (s *slot[V]) last() *op[V] {
	switch {
	case s == nil:
		return nil
	case s.next != nil:
		return s.next
	}
	return s.op
}

// waiting returns the change of s, which may be nil, that is not under way yet,
// or nil.
func (s *slot[V]) waiting() *op[V] {
	switch {
	case s == nil:
		return nil
	case s.running:
		return s.next
	}
	return s.op
}
