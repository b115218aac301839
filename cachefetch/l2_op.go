package cachefetch

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
	kind  opKind
	key   string // as the backend knows it
	hash  uint64 // of key
	stamp stamp
	done  chan struct{} // closed when the op is over, however it ended

	// What has no room in the queue goes into one that covers it, and that
	// is always taken: there are few of those.
	covers bool

	// Guarded by queue.mu, but a worker that has the op may read them. What
	// it replaces is covered: see queue.replaceLocked.
	record *record[V] // of an opValue; nil: remove the key
	bound  bound      // what is too old after it
	final  bool       // a Set or Delete: nothing older is to be read anywhere
	tell   purge      // the message, or none
	claim  claim      // the lease, perhaps none
	cost   int64

	made     bool // the change is, only what follows is left; the worker's
	attempts int  // failed; the worker's
}

// version returns the version for [Versions]. It follows the bound, so that
// what is too old gives way in the backend too.
func (o *op[V]) version() int64 { return o.bound.others }
