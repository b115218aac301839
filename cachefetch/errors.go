package cachefetch

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

var (
	// ErrClosed is returned by the methods of a closed [Cache].
	ErrClosed = errors.New("cachefetch: cache is closed")

	// ErrNotFound is for loaders to return, alone or wrapped, when there is
	// no value for a key. It is the only error that is remembered, for
	// Options.NegativeTTL.
	ErrNotFound error = &httpError{"cachefetch: not found", http.StatusNotFound, 0}

	// ErrWaitTimeout is returned to a Fetch that waited longer than
	// Options.WaitTimeout for a load that another Fetch began.
	ErrWaitTimeout error = &httpError{"cachefetch: waited too long for another caller's load", http.StatusServiceUnavailable, time.Second}

	// ErrLoadTimeout is returned when a load exceeded Options.LoadTimeout.
	// errors.Is(err, context.DeadlineExceeded) is true as well.
	ErrLoadTimeout = errors.New("cachefetch: load timed out")

	// ErrNested is returned by a Fetch inside a load of the same key of the
	// same cache. The load would wait for itself.
	ErrNested = errors.New("cachefetch: nested fetch of the same key")

	// ErrTooLarge is returned by Set for a value that costs more than one
	// entry may. What was stored under the key before is gone all the same.
	ErrTooLarge = errors.New("cachefetch: value is too large to be stored")
)

// An httpError is an error that knows what a server answers when it has nothing
// else.
type httpError struct {
	text       string
	status     int
	retryAfter time.Duration // zero means it is not told
}

func (e *httpError) Error() string { return e.text }
func (e *httpError) HTTPFailure() (status int, retryAfter time.Duration) {
	return e.status, e.retryAfter
}

// A PanicError is what the other callers of a [Cache.Fetch] get when the load
// they share panics, or ends its goroutine with runtime.Goexit. The caller who
// began the load gets the panic itself, with its original value.
type PanicError struct {
	Key   string
	Value any    // the panic's value, nil after runtime.Goexit
	Stack []byte // of the goroutine that panicked
}

// Error implements error. It leaves out the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return fmt.Sprintf("cachefetch: load of key %q called runtime.Goexit", e.Key)
	}
	return fmt.Sprintf("cachefetch: load of key %q panicked: %v", e.Key, e.Value)
}

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
