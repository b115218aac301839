package cachefetch

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/freshet-go/freshet/internal/guard"
)

var (
	// ErrClosed is returned by the methods of a closed [Cache].
	ErrClosed = errors.New("cachefetch: cache is closed")

	// ErrNotFound is for loaders to return, alone or wrapped, when there is
	// no value for a key. It is remembered for Options.NegativeTTL. What a
	// fetch returns for it matches it by errors.Is. A loader that returns what
	// a fetch of another key, or of another cache, has returned to it has not
	// said that its own key has no value: that is an error like any other, and
	// does not match ErrNotFound any more.
	ErrNotFound error = &httpError{"cachefetch: not found", http.StatusNotFound, 0}

	// ErrWaitTimeout is returned to a Fetch that waited longer than
	// Options.WaitTimeout for a load that another Fetch began.
	ErrWaitTimeout error = &httpError{"cachefetch: waited too long for another caller's load", http.StatusServiceUnavailable, time.Second}

	// ErrLoadTimeout is returned when a load exceeded Options.LoadTimeout.
	// errors.Is(err, context.DeadlineExceeded) is true as well.
	ErrLoadTimeout = errors.New("cachefetch: load timed out")

	// ErrNested is returned at once by a fetch with the context of a load that
	// is under way, if that load would wait for itself: the fetch is of the
	// same key of the same cache, or it would wait for a load, of whatever
	// cache, that waits for this one.
	ErrNested = errors.New("cachefetch: nested fetch: the load would wait for itself")

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

// A PanicError says that a load has panicked, or has ended its goroutine with
// runtime.Goexit. It is what the other callers of a [Cache.Fetch] get when the
// load they share does so, and what Observer.LoadEnds is told. The caller who
// began the load panics: with an error that wraps the PanicError, and whose
// text has the stack of the load. Only http.ErrAbortHandler, which net/http
// compares with ==, is the panic's value there as it was.
type PanicError struct {
	Key   string
	Value any    // the panic's value, nil after runtime.Goexit
	Stack []byte // of the goroutine that ended, and of those it was raised on
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

func panicError(key string, crash *guard.Crash) *PanicError {
	p := &PanicError{Key: key, Value: crash.Value, Stack: crash.Stack}
	if inner, ok := p.Value.(raised); ok { // of a load inside this one
		p.Value, p.Stack = inner.error, slices.Concat(inner.stack, []byte("\n"), p.Stack)
	}
	return p
}

// raise does to the calling goroutine, which began the load, what that has done
// to its own.
func (e *PanicError) raise() {
	if e.Value == nil {
		runtime.Goexit()
	}
	if e.Value == any(http.ErrAbortHandler) {
		panic(e.Value)
	}
	panic(raised{e, e.Stack})
}

// raised is the value of a panic that happened on another goroutine, whose
// stack nobody would see otherwise.
type raised struct {
	error
	stack []byte
}

func (r raised) Error() string { return fmt.Sprintf("%v\n\n%s", r.error, r.stack) }
func (r raised) Unwrap() error { return r.error }

// An absence is the ErrNotFound of one key of one cache. It marks what a fetch
// has returned, so that a load that returns it in turn is not taken to speak of
// its own key.
type absence struct{ err error }

func (a *absence) Error() string { return a.err.Error() }
func (a *absence) Unwrap() error { return a.err }

// isAbsence reports whether err, of a load, says that its key has no value.
func isAbsence(err error) bool {
	switch x := err.(type) {
	case nil, *absence, *PanicError:
		return false
	case interface{ Unwrap() error }:
		if isAbsence(x.Unwrap()) {
			return true
		}
	case interface{ Unwrap() []error }:
		if slices.ContainsFunc(x.Unwrap(), isAbsence) {
			return true
		}
	}
	is, ok := err.(interface{ Is(error) bool })
	return err == ErrNotFound || ok && is.Is(ErrNotFound)
}

// foreign is the error of a load that failed since something else was not found.
type foreign struct{ err error }

func (f *foreign) Error() string        { return f.err.Error() }
func (f *foreign) Is(target error) bool { return target != ErrNotFound && errors.Is(f.err, target) }
func (f *foreign) As(target any) bool   { return errors.As(f.err, target) }
