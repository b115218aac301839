package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

var (
	// ErrRefused matches every [*RefusedError] with errors.Is.
	ErrRefused = errors.New("upstream: no place for the request now")

	// ErrClosed is returned by a closed [Transport], also for the
	// requests that were under way.
	ErrClosed = errors.New("upstream: transport is closed")
)

// Reasons of a [RefusedError], and values of the label "reason".
const (
	RefusedQueueFull    = "queue_full"    // MaxQueue requests were waiting already
	RefusedTooLate      = "too_late"      // its deadline is nearer than what requests take, and MinInFlight is set
	RefusedQueueTimeout = "queue_timeout" // no place within QueueTimeout
	RefusedConnTimeout  = "conn_timeout"  // no connection within ConnTimeout
)

var reasons = [...]string{RefusedQueueFull, RefusedTooLate, RefusedQueueTimeout, RefusedConnTimeout}

// A RefusedError is a request of which nothing was sent, because the upstream
// is at its limits: it may be sent elsewhere without being done twice. A server passes that on as 503 with Retry-After (RFC 9110
// 15.6.4), unless it has a stale response.
type RefusedError struct {
	Upstream   string        // Options.Name
	Host       string        // as in the request's URL
	Reason     string        // one of the constants above
	RetryAfter time.Duration // when to try again, whole seconds, at least one
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("upstream %q (%s) refused the request: %s, retry after %v", e.Upstream, e.Host, e.Reason, e.RetryAfter)
}

// HTTPFailure returns what a server answers when it has nothing else: 503, with
// the Retry-After.
func (e *RefusedError) HTTPFailure() (status int, retryAfter time.Duration) {
	return http.StatusServiceUnavailable, e.RetryAfter
}

// Is reports whether target is [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Phases of a request, in their order, and values of the label "phase". An
// [*Error] has the one that the request failed in.
const (
	PhaseQueue      = "queue"      // waiting for a place
	PhaseConnection = "connection" // waiting for a connection to become free
	PhaseDial       = "dial"       // name lookup and TCP connect
	PhaseTLS        = "tls"        // TLS handshake
	PhaseFirstByte  = "first_byte" // request sent, or being sent; no response yet
	PhaseHeader     = "header"     // response began, its header is not complete
	PhaseBody       = "body"       // header received, body not complete
)

var phases = [...]string{PhaseQueue, PhaseConnection, PhaseDial, PhaseTLS, PhaseFirstByte, PhaseHeader, PhaseBody}

// An Error is a request that failed. Err tells the cause:
// [context.DeadlineExceeded] for a budget of the Transport's own that ran out,
// a [*net.DNSError], a [*net.OpError] with ECONNREFUSED or ECONNRESET, io.EOF
// or io.ErrUnexpectedEOF for a connection that ended too soon. When the
// caller's own context ended, its error is returned as it is instead.
type Error struct {
	Upstream string // Options.Name
	Host     string // as in the request's URL
	Phase    string // one of the constants beginning with Phase
	Sent     bool   // the upstream may have got the request, and may have acted on it
	Err      error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("upstream %q (%s): %s: %v", e.Upstream, e.Host, e.Phase, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether a time limit was exceeded. It makes that of
// [*url.Error], which [http.Client] wraps errors in, tell the same.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// HTTPFailure returns what a server answers when it has nothing else: 504 for a
// time limit that was exceeded, else 502.
func (e *Error) HTTPFailure() (status int, retryAfter time.Duration) {
	if e.Timeout() {
		return http.StatusGatewayTimeout, 0
	}
	return http.StatusBadGateway, 0
}

// budgetError says which budget of a Transport ran out. It is the cause that
// the context of a request is cancelled with.
type budgetError struct {
	field string
	limit time.Duration
}

func (e *budgetError) Error() string {
	return fmt.Sprintf("Options.%s of %v exceeded", e.field, e.limit)
}
func (e *budgetError) Timeout() bool { return true }
func (e *budgetError) Unwrap() error { return context.DeadlineExceeded }
