// Package upstream is a client for the services that a program waits for: an
// [http.RoundTripper] with a pool of connections that is large enough for them to
// be reused, a bound on the requests in flight with a short queue in front, and a
// time limit on everything that waits.
//
//	transport, err := upstream.New(upstream.Options{Name: "users", RequestsPerSecond: 500, Latency: 300 * time.Millisecond})
//	if err != nil { ... }
//	defer transport.Close()
//	client := &http.Client{Transport: transport}
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/internal/limit"
)

// A Transport is an [http.RoundTripper] for one upstream: a pool of
// connections large enough to be reused, a bound on the requests in flight to
// each host with a short queue in front, and a time limit on everything that
// waits. It is made by [New], used as http.Client.Transport, and
// should be closed after use. All methods may be called concurrently.
//
// A request that cannot be sent now fails with a [*RefusedError], one that
// fails on its way with an [*Error], and one whose own context ends
// with that context's error.
//
// A Transport sends a request again at most once: when the connection was lost
// before the first byte of the response, the request is idempotent, its body
// (if any) has a GetBody, and retries were less than a tenth of the requests
// lately. A request is idempotent by its method (GET, HEAD, OPTIONS, TRACE, PUT,
// DELETE), or by an Idempotency-Key or X-Idempotency-Key. Besides, net/http
// itself sends such a request again when a kept connection proves to be closed:
// that costs the upstream nothing, and does not count.
//
// Response bodies must be closed, as always. One that is closed early is read
// on a little, so that its connection can be used again; one that is forgotten
// is found after Options.BodyTimeout.
//
// A host that cannot be reached leaves about 600 bytes behind in net/http. At
// 1,000 such hosts the Transport begins with a new pool, closes the idle
// connections of the one before, and those in use when they become idle.
type Transport struct {
	opts    Options // with defaults
	pool    atomic.Pointer[http.Transport]
	conns   conns
	hosts   hosts
	retry   *retryBudget
	metrics *transportMetrics
	noConn  *budgetError // the cause that ends a wait for a connection

	closing context.Context // ended by Close
	close   context.CancelFunc
}

// New returns a Transport, or an error that names every option that
// no transport can be made with.
func New(o Options) (*Transport, error) {
	named := o.Name != ""
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	t := &Transport{
		opts:   o,
		retry:  newRetryBudget(),
		noConn: &budgetError{"ConnTimeout", o.ConnTimeout},
		hosts: hosts{
			config: limit.Config{InFlight: o.MaxInFlight, Least: min(o.MinInFlight, o.MaxInFlight), Queue: max(o.MaxQueue, 0), Timeout: o.QueueTimeout},
			byName: make(map[hostName]*host),
			unkept: make(map[hostName]struct{}),
		},
	}
	t.hosts.full = t.renew
	t.closing, t.close = context.WithCancel(context.Background())
	t.opts.TLSClientConfig = resuming(o.TLSClientConfig)
	t.pool.Store(t.newPool())
	t.metrics = newTransportMetrics(t)
	if named && !o.Unlisted && !t.metrics.group.Register() {
		t.close()
		return nil, fmt.Errorf("upstream: Options.Name: %q: another transport has this name", o.Name)
	}
	return t, nil
}

const (
	// pingAfter is how long an HTTP/2 connection may be silent before it is
	// asked whether it is alive, and pingTimeout how long it may take to
	// answer. Without pings a dead one takes requests until they time out
	// (golang/go #36026).
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second

	tcpKeepAlive      = 15 * time.Second
	maxResponseHeader = 1 << 20 // bytes; net/http's own bound is ten times that
)

// resuming returns a copy of c with which a connection takes up the session of
// one before, which saves the upstream most of a handshake. Who looks at each
// certificate by VerifyPeerCertificate is left to decide that for themselves:
// it is not called for sessions that are resumed.
func resuming(c *tls.Config) *tls.Config {
	if c = c.Clone(); c == nil {
		c = new(tls.Config)
	}
	if c.ClientSessionCache == nil && c.VerifyPeerCertificate == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0) // for 64 hosts
	}
	return c
}

// renew begins with another pool. The idle connections of the one before are
// closed now, and those in use when they become idle.
func (t *Transport) renew() { t.pool.Swap(t.newPool()).CloseIdleConnections() }

// newPool makes the net/http transport underneath.
func (t *Transport) newPool() *http.Transport {
	o := &t.opts
	var protocols http.Protocols
	protocols.SetHTTP1(!o.H2C)
	protocols.SetHTTP2(!o.H2C && !o.DisableHTTP2)
	protocols.SetUnencryptedHTTP2(o.H2C)
	proxy := o.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	idle := o.IdleConnTimeout
	if o.MaxConnAge > 0 {
		idle = min(idle, o.MaxConnAge)
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            t.dial,
		TLSClientConfig:        o.TLSClientConfig.Clone(),
		TLSHandshakeTimeout:    o.TLSTimeout,
		MaxConnsPerHost:        o.MaxConnsPerHost,
		MaxIdleConnsPerHost:    o.MaxIdleConnsPerHost,
		MaxIdleConns:           o.MaxIdleConns,
		IdleConnTimeout:        idle,
		ResponseHeaderTimeout:  o.ResponseHeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     o.DisableCompression,
		Protocols:              &protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter,
			PingTimeout:     pingTimeout,
			// A connection whose streams are all in use would make requests
			// wait for one of them although another could be opened.
			StrictMaxConcurrentRequests: false,
		},
	}
}

// dial opens one TCP connection. Its context is net/http's: it has the values
// of the request that asked first, and outlives it.
func (t *Transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.DialTimeout)
	defer cancel()
	defer context.AfterFunc(t.closing, cancel)()
	dial := t.opts.DialContext
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: tcpKeepAlive}).DialContext
	}
	if x, ok := ctx.Value(tripKey{}).(*trip); ok {
		x.from(PhaseConnection, PhaseDial)
	}
	began := time.Now()
	conn, err := dial(ctx, network, address)
	t.metrics.dial.Update(time.Since(began))
	if err != nil {
		t.metrics.dialErrors.Inc()
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("%w: %w", &budgetError{"DialTimeout", t.opts.DialTimeout}, err)
		}
		return nil, err
	}
	return t.conns.add(conn)
}

// RoundTrip sends r and returns the response, as [http.RoundTripper] has it.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.metrics.requests.Inc()
	t.retry.earn()
	if r.URL == nil {
		closeBody(r)
		return nil, errors.New("upstream: request without URL")
	}
	if t.closing.Err() != nil {
		closeBody(r)
		t.metrics.failed[PhaseQueue].Inc()
		return nil, ErrClosed
	}
	x := newTrip(t, r)
	resp, err := x.send(r)
	if err != nil {
		err = x.failure(err)
		x.end()
		return nil, err
	}
	resp.Request = r
	x.deliver(resp)
	return resp, nil
}

// closeBody does what RoundTrip owes for a request that is not sent.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// CloseIdleConnections closes the connections that no request uses now.
func (t *Transport) CloseIdleConnections() { t.pool.Load().CloseIdleConnections() }

// Close ends all requests, those whose response body is still being read
// included, with [ErrClosed], ends all dials, and closes all
// connections, those that became something else by an upgrade included. When
// it has returned, nothing is sent any more. It returns nil, and may be called
// more than once.
func (t *Transport) Close() error {
	t.close()
	t.conns.close()
	t.pool.Load().CloseIdleConnections()
	t.metrics.group.Unregister()
	return nil
}
