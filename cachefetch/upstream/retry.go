package upstream

import (
	"errors"
	"net/http"
	"sync/atomic"
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
// method is idempotent (RFC 9110 9.2.2), or the client says so as net/http has
// it, by Idempotency-Key or X-Idempotency-Key, and its body can be had again.
func replayable(r *http.Request) bool {
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, key := r.Header["Idempotency-Key"]
	_, xKey := r.Header["X-Idempotency-Key"]
	return key || xKey
}

// markReplayable makes net/http send a request again, on a kept connection that
// proves to be closed, of whatever method it is: net/http by itself does that
// to PUT and DELETE only if they have a key. One without a value is not sent.
func markReplayable(h http.Header) {
	if _, ok := h["Idempotency-Key"]; !ok {
		h["Idempotency-Key"] = nil
	}
}

// connectionLost reports whether err, of a request that was sent and got no
// answer, is the end of a connection. It is unless a time limit was exceeded:
// net/http has many words for it, not all of them to be told by errors.Is.
func connectionLost(err error) bool {
	var limit interface{ Timeout() bool }
	return !errors.As(err, &limit) || !limit.Timeout()
}

// again returns r to be sent once more, as the attempt before was.
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
