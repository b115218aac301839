package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/internal/limit"
)

// A trip is one request on its way, from the queue to the end of the response
// body.
type trip struct {
	t    *Transport
	host string
	own  context.Context // the caller's

	// ctx ends with own, by a budget, or at the end of the trip. Its cause
	// tells which.
	ctx    context.Context
	cancel context.CancelCauseFunc
	detach func() bool // from Transport.closing

	whole    *time.Timer     // RequestTimeout, nil if there is none
	connWait *time.Timer     // ConnTimeout, running while waiting for a connection
	release  func(kept bool) // gives the place back, nil before there is one
	kept     atomic.Bool     // the connection was kept, or carries others too
	ended    sync.Once

	// header is that of the first attempt, the trip's own until it is sent.
	header http.Header

	// net/http calls the trace on goroutines of its own, also for a dial that
	// outlives the trip.
	mu    sync.Mutex
	phase string    // guarded by mu
	since time.Time // guarded by mu; when the phase began
	tls   time.Time // guarded by mu; when a handshake began
	conns int       // guarded by mu; how often a connection was got in this attempt
	sent  bool      // guarded by mu; the request, or a part of it, may be upstream
}

// tripKey finds the trip in the context of a dial that it made necessary.
type tripKey struct{}

// newTrip starts the clock of a request.
func newTrip(t *Transport, r *http.Request) *trip {
	x := &trip{t: t, host: r.URL.Host, own: r.Context(), phase: PhaseQueue, since: time.Now()}
	x.ctx, x.cancel = context.WithCancelCause(x.own)
	x.detach = context.AfterFunc(t.closing, func() { x.cancel(ErrClosed) })
	if limit := t.opts.RequestTimeout; limit > 0 {
		x.whole = time.AfterFunc(limit, func() { x.cancel(&budgetError{"RequestTimeout", limit}) })
	}
	return x
}

// send waits for a place and sends r, once more if its connection is lost.
func (x *trip) send(r *http.Request) (*http.Response, error) {
	release, err := x.t.hosts.acquire(x.ctx, r.URL)
	x.t.metrics.queue.Update(time.Since(x.since))
	if err != nil {
		closeBody(r)
		return nil, err
	}
	x.release = release
	x.connWait = time.AfterFunc(x.t.opts.ConnTimeout, func() { x.cancel(x.t.noConn) })
	x.connWait.Stop()
	ctx := context.WithValue(x.ctx, tripKey{}, x)
	out := r.WithContext(httptrace.WithClientTrace(ctx, x.trace()))
	if out.Header = maps.Clone(r.Header); out.Header == nil {
		out.Header = make(http.Header)
	}
	if replayable(r) {
		markReplayable(out.Header)
	}
	x.header = out.Header
	resp, err := x.t.pool.Load().RoundTrip(out)
	if err != nil && x.mayRetry(r, err) {
		if out, err = again(out); err == nil {
			x.t.metrics.retries.Inc()
			x.restart()
			resp, err = x.t.pool.Load().RoundTrip(out)
		}
	}
	x.connWait.Stop()
	return resp, err
}

// mayRetry reports whether a request that failed may be sent once more, and
// takes that out of the budget.
func (x *trip) mayRetry(r *http.Request, err error) bool {
	return x.now() == PhaseFirstByte && x.ctx.Err() == nil &&
		replayable(r) && connectionLost(err) && x.t.retry.spend()
}

// trace follows the request through its phases.
func (x *trip) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              x.getConn,
		GotConn:              x.gotConn,
		PutIdleConn:          x.putIdleConn,
		TLSHandshakeStart:    x.tlsStart,
		TLSHandshakeDone:     x.tlsDone,
		GotFirstResponseByte: x.firstByte,
	}
}

// getConn is called again when net/http replays the request on another
// connection.
func (x *trip) getConn(string) {
	x.at(PhaseConnection)
	x.connWait.Reset(x.t.opts.ConnTimeout)
}

func (x *trip) gotConn(info httptrace.GotConnInfo) {
	x.connWait.Stop()
	x.mu.Lock()
	first := !x.sent
	x.sent = true
	x.conns++
	replay := x.conns > 1
	x.mu.Unlock()
	if first {
		x.retire(info.Conn)
	}
	m := x.t.metrics
	m.connection.Update(x.at(PhaseFirstByte))
	if info.Reused {
		m.reusedConns.Inc()
	} else {
		m.newConns.Inc()
	}
	if replay {
		m.replays.Inc()
	}
}

// retire makes this request the last one on its connection if that is too old:
// Connection: close ends it after the response, and over HTTP/2, where it is
// not sent, takes it out of net/http's pool. It is for the first connection
// that a trip gets, before anybody else reads the header.
func (x *trip) retire(c net.Conn) {
	limit := x.t.opts.MaxConnAge
	if _, taken := x.header["Connection"]; taken || limit < 0 { // an upgrade, say
		return
	}
	if opened := openedAt(c); !opened.IsZero() && time.Since(opened) >= limit {
		x.header["Connection"] = []string{"close"}
	}
}

func (x *trip) putIdleConn(err error) {
	if err == nil {
		x.kept.Store(true)
	}
}

func (x *trip) tlsStart() {
	x.from(PhaseDial, PhaseTLS)
	x.mu.Lock()
	x.tls = time.Now()
	x.mu.Unlock()
}

func (x *trip) tlsDone(tls.ConnectionState, error) {
	x.mu.Lock()
	took := time.Since(x.tls)
	x.mu.Unlock()
	x.t.metrics.tls.Update(took)
}

func (x *trip) firstByte() { x.t.metrics.firstByte.Update(x.at(PhaseHeader)) }

// restart is the beginning of a second attempt.
func (x *trip) restart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conns = 0
}

// at begins a phase, and returns how long that took which comes before it:
// the phase that at began last.
func (x *trip) at(phase string) (took time.Duration) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	took = now.Sub(x.since)
	x.phase, x.since = phase, now
	return took
}

// from goes on to a part of the wait for a connection. A dial that goes on
// for somebody else must not put the request back.
func (x *trip) from(before, phase string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase == before {
		x.phase = phase
	}
}

func (x *trip) now() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.phase
}

// failure says in this package's words why the trip failed, and counts it.
func (x *trip) failure(err error) error {
	cause := context.Cause(x.ctx)
	x.mu.Lock()
	phase, sent := x.phase, x.sent
	x.mu.Unlock()
	if reason := x.t.refusal(err, cause); reason != "" && !sent {
		x.t.metrics.refused[reason].Inc()
		return &RefusedError{Upstream: x.t.opts.Name, Host: x.host, Reason: reason, RetryAfter: limit.RetryAfter(x.t.opts.QueueTimeout)}
	}
	if own := x.own.Err(); own != nil {
		x.t.metrics.abandoned.Inc()
		return own
	}
	x.t.metrics.failed[phase].Inc()
	if x.t.closing.Err() != nil {
		return ErrClosed
	}
	if cause != nil {
		err = cause
	} else {
		err = x.t.named(phase, err)
	}
	return &Error{Upstream: x.t.opts.Name, Host: x.host, Phase: phase, Sent: sent, Err: err}
}

// refusal returns which limit of the transport's kept a request from getting a
// place or a connection, or "".
func (t *Transport) refusal(err, cause error) (reason string) {
	switch {
	case errors.Is(err, limit.ErrQueueFull):
		return RefusedQueueFull
	case errors.Is(err, limit.ErrQueueTimeout):
		return RefusedQueueTimeout
	case errors.Is(err, limit.ErrTooLate):
		return RefusedTooLate
	case cause == error(t.noConn):
		return RefusedConnTimeout
	}
	return ""
}

// named says which option set the limit that net/http reports.
func (t *Transport) named(phase string, err error) error {
	var limit interface{ Timeout() bool }
	if !errors.As(err, &limit) || !limit.Timeout() || errors.As(err, new(*budgetError)) {
		return err
	}
	switch phase {
	case PhaseTLS:
		return fmt.Errorf("%w: %w", &budgetError{"TLSTimeout", t.opts.TLSTimeout}, err)
	case PhaseFirstByte, PhaseHeader:
		return fmt.Errorf("%w: %w", &budgetError{"ResponseHeaderTimeout", t.opts.ResponseHeaderTimeout}, err)
	}
	return err
}

// end gives back what the trip holds. Only the first call counts.
func (x *trip) end() {
	x.ended.Do(func() {
		x.detach()
		if x.whole != nil {
			x.whole.Stop()
		}
		x.cancel(context.Canceled)
		x.leave()
	})
}

// leave gives the place back, if the trip has one.
func (x *trip) leave() {
	if x.release != nil {
		x.release(x.kept.Load())
		x.release = nil
	}
}
