package cachefetch

import "time"

// An opKind says what an op is about.
type opKind uint8

const (
	opValue opKind = iota // a value, or its removal
	opMark                // a mark, see l2_marks.go
	opNote                // nothing in the backend: a message, or a lease to give back
)

// An op is one change of the backend that is queued, and what follows when it
// is made: a message to the other processes, a lease to give back.
type op[V any] struct {
	kind   opKind
	key    string // as the backend knows it
	hash   uint64 // of key
	stamp  int64
	queued time.Time
	done   chan struct{} // closed when the op is over, however it ended
	final  bool          // a Set or Delete: nothing older is to be read anywhere

	// Guarded by queue.mu, but a worker that has the op may read them.
	record *record[V] // of an opValue; nil: remove the key
	event  []byte     // the message, or nil
	claim  claim      // the lease, perhaps none
	cost   int64

	made     bool // the change is, only what follows is left; the worker's
	attempts int  // failed; the worker's
}

// bound returns what o makes too old.
func (o *op[V]) bound() bound {
	b := bound{stamp: o.stamp, exact: o.record != nil, own: o.stamp, others: o.stamp}
	if o.final {
		b.others += int64(maxClockSkew)
	}
	return b
}

// version returns the version for [Versions]. It follows the bound, so that
// what is too old gives way in the backend too.
func (o *op[V]) version() int64 { return o.bound().others }
