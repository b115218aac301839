package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// maxResponseHeader bounds the header of an upstream's response, in bytes.
const maxResponseHeader = 1 << 20

// upstream is one origin with its pool of connections. It outlives the router
// that made it if the next one has the same settings.
type upstream struct {
	config    Upstream // with defaults
	target    *url.URL
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	failures  throttle
	log       *slog.Logger

	active  atomic.Int64 // exchanges under way
	retired atomic.Bool
}

// newUpstream opens nothing yet. The configuration is valid.
func newUpstream(c Upstream, bufs *bufferPool, log *slog.Logger) (*upstream, error) {
	target, err := CheckURL(c.URL)
	if err != nil {
		return nil, err
	}
	u := &upstream{
		config:    c,
		target:    target,
		transport: newTransport(c),
		log:       log.With("upstream", c.Name),
	}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:      u.rewrite,
		Transport:    &connWait{next: u.transport, limit: c.ConnWait},
		BufferPool:   bufs,
		ErrorHandler: u.fail,
		ErrorLog:     slog.NewLogLogger(u.log.Handler(), slog.LevelWarn),
	}
	return u, nil
}

// newTransport sizes a pool for one host. As many connections are kept idle as
// may be open: net/http's default of two makes all others dial again for each
// request. Environment proxies are not used, a gateway's upstream is near.
func newTransport(c Upstream) *http.Transport {
	dialer := &net.Dialer{Timeout: c.DialTimeout, KeepAlive: 15 * time.Second}
	var protocols http.Protocols
	if c.H2C {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    c.TLSTimeout,
		ResponseHeaderTimeout:  c.ResponseHeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        c.IdleTimeout,
		MaxConnsPerHost:        c.MaxConns,
		MaxIdleConnsPerHost:    c.MaxConns,
		MaxIdleConns:           c.MaxConns,
		MaxResponseHeaderBytes: maxResponseHeader,
		Protocols:              &protocols,
		// A dead HTTP/2 connection would otherwise be noticed by timeouts only.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		// Clients get the bytes that the upstream sent, compressed or not.
		DisableCompression: true,
	}
}

// ServeHTTP sends r upstream and the response to w.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.active.Add(1)
	defer func() {
		if u.active.Add(-1) == 0 && u.retired.Load() {
			u.transport.CloseIdleConnections()
		}
	}()
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		// Without this the server reads, and throws away, what is left of the
		// body before it sends the header of a response. An upstream that
		// answers while it still reads needs both.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	u.proxy.ServeHTTP(w, r)
}

// retire closes the idle connections now, and those that are in use when the
// last exchange has ended: one that comes late would keep them open again.
func (u *upstream) retire() {
	u.retired.Store(true)
	u.transport.CloseIdleConnections()
}

// errNoConn says that no connection became free and no dial succeeded in time.
var errNoConn = errors.New("no connection to the upstream in time")

// connWait bounds the wait for a connection. net/http itself queues requests
// beyond MaxConnsPerHost for as long as their contexts last, and a request of
// a patient client has no deadline. A dial under way goes on without the
// request, so that a slow TLS handshake is not started over again and again.
type connWait struct {
	next  http.RoundTripper
	limit time.Duration
}

func (t *connWait) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(t.limit, func() { cancel(errNoConn) })
	trace := &httptrace.ClientTrace{
		// Called again if the transport retries on another connection.
		GetConn: func(string) { timer.Reset(t.limit) },
		GotConn: func(httptrace.GotConnInfo) { timer.Stop() },
	}
	resp, err := t.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, trace)))
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == errNoConn {
			err = errNoConn
		}
		cancel(nil)
		return nil, err
	}
	// The context has to last as long as the body, and ends with that of r.
	return resp, nil
}
