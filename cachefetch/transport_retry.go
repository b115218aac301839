package cachefetch

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
)

// A retryBudget allows retries for a tenth of all requests, counted in tenths
// of a retry. More would make an outage worse: every layer that retries three
// times multiplies the load by three.
type retryBudget struct{ tenths atomic.Int64 }

const (
	retryCost = 10
	// maxRetrySaved is ten retries, also at the beginning: a restart of the
	// upstream cuts several connections at once.
	maxRetrySaved = 10 * retryCost
)

func newRetryBudget() *retryBudget {
	b := new(retryBudget)
	b.tenths.Store(maxRetrySaved)
	return b
}

// earn counts a request.
func (b *retryBudget) earn() {
	if n := b.tenths.Load(); n < maxRetrySaved {
		b.tenths.CompareAndSwap(n, n+1) // one that is lost to a race is no matter
	}
}

// spend takes one retry out of the budget, and reports whether there was one.
func (b *retryBudget) spend() bool {
	for {
		n := b.tenths.Load()
		if n < retryCost {
			return false
		}
		if b.tenths.CompareAndSwap(n, n-retryCost) {
			return true
		}
	}
}

// replayable reports whether a request can be sent again without harm: its
// method is idempotent (RFC 9110 9.2.2), or the client says so by
// Idempotency-Key, and its body can be had again.
func replayable(r *http.Request) bool {
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// connectionLost reports whether err is the end of a connection rather than a
// timeout, a cancellation, or an answer that cannot be understood.
func connectionLost(err error) bool {
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// again returns r to be sent once more.
func again(r *http.Request) (*http.Request, error) {
	out := *r
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	return &out, nil
}
