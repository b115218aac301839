package upstream

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Options configures a [Transport]. The zero value works. A size that
// is left out follows from those that are given; two that contradict each
// other are an error of [New]. docs/tuning.md has worked examples.
type Options struct {
	// Name is the label "upstream" of the metrics, and stands in errors. With
	// a name, metrics are part of what package VictoriaMetrics/metrics
	// writes, until Close, and a name that another Transport has is an error.
	// Empty means "default", and that only Transport.WriteMetrics writes
	// them.
	Name string

	// Unlisted leaves the metrics to Transport.WriteMetrics although there is
	// a Name: for a Transport that replaces one of the same name while
	// requests of that are still under way.
	Unlisted bool

	// RequestsPerSecond and Latency say what is expected of one host: its
	// share of requests, and the mean time from the request to the end of the
	// response body. By Little's law L = RequestsPerSecond x Latency requests
	// are in flight on average. MaxConnsPerHost is then L + 3 x sqrt(L): the
	// number in flight is Poisson distributed for any distribution of
	// latencies if requests come at random, so three standard deviations on
	// top are exceeded for 0.1 % of the time, which is what the queue is for.
	// Both or neither, and no other MaxConnsPerHost beside them.
	RequestsPerSecond float64
	Latency           time.Duration

	// MaxConnsPerHost bounds the HTTP/1.1 connections to one host, those being
	// dialled included. Over HTTP/2 it bounds the dials under way and nothing
	// else: a connection there carries as many requests as the upstream
	// allows, often 100 or 250, and net/http opens another when all are taken.
	// What bounds those is MaxInFlight. Zero means what follows from RequestsPerSecond and Latency,
	// else 1024 (341 requests a second at 3 s, 10,000 at 100 ms), or
	// MaxInFlight if that is less. Connections are opened as needed, and cost
	// about 22 KiB each.
	MaxConnsPerHost int

	// MaxIdleConnsPerHost is how many of them are kept when idle. Zero means
	// MaxConnsPerHost: with fewer, the rest is dialled again and again, as
	// with net/http's default of 2 (golang/go #13801).
	MaxIdleConnsPerHost int

	// MaxIdleConns bounds the idle connections to all hosts together. Zero
	// means 4 x MaxIdleConnsPerHost: a Transport is for one upstream, which
	// may be a few hosts.
	MaxIdleConns int

	// MaxInFlight bounds the requests to one host that are under way, from
	// before a connection is sought until the response body was read or
	// closed. Zero means 2 x MaxConnsPerHost, so that a connection that
	// becomes free is handed on at once. Over HTTP/2, where one connection
	// carries many requests, this is the limit that counts.
	MaxInFlight int

	// MinInFlight, if it is not 0, makes that limit adaptive: it finds itself
	// between MinInFlight and MaxInFlight, by how long requests take. When the
	// queue does not become empty for a tenth of a second, those who came last
	// are served first, and nobody waits in it for longer than that.
	MinInFlight int

	// MaxQueue bounds the requests to one host that wait for a place among
	// those in flight, first come first served. One that finds the queue full
	// fails at once with a [*RefusedError]. Zero means MaxInFlight; negative
	// means no queue.
	MaxQueue int

	// QueueTimeout bounds that wait; after it a request fails with a
	// [*RefusedError]. Zero means one second, or half of RequestTimeout if
	// that is less: a client that has to wait longer is better told to come
	// back.
	QueueTimeout time.Duration

	// ConnTimeout bounds the wait for a connection of a request that has a
	// place: for one to become free, or for a dial and handshake. After it a
	// request fails with a [*RefusedError]; the dial goes on, for the next
	// one. Zero means 10 seconds.
	ConnTimeout time.Duration

	// DialTimeout bounds one name lookup and TCP connect. Zero means 5
	// seconds, enough for a lost SYN packet to be sent again twice.
	DialTimeout time.Duration

	// TLSTimeout bounds one TLS handshake, apart from the dial and whatever
	// the request's own budget is: cutting handshakes short makes a slow
	// upstream do them again and again (golang/go #59017). Zero means 10
	// seconds.
	TLSTimeout time.Duration

	// ResponseHeaderTimeout bounds the time from the end of the request to
	// the header of the response. Zero means 30 seconds, or RequestTimeout if
	// that is less. It must exceed Latency.
	ResponseHeaderTimeout time.Duration

	// BodyTimeout bounds how long a response body may stand still: a Read
	// waits for the upstream, or the caller neither reads nor closes it. In
	// the second case the body is a leak: its connection is closed, its place
	// freed, and Stats.Leaked counts it. Zero means one minute.
	BodyTimeout time.Duration

	// RequestTimeout bounds the whole: queue, connection, a retry, response
	// body. Zero means one minute, or twice ResponseHeaderTimeout if that is
	// more. Negative means none, for long streams, which BodyTimeout still
	// watches over.
	RequestTimeout time.Duration

	// IdleConnTimeout is how long an idle connection is kept. It should be
	// less than the upstream's own limit, or requests meet connections that
	// are just being closed. Zero means 90 seconds, as in net/http.
	IdleConnTimeout time.Duration

	// MaxConnAge is how long a connection takes new requests, so that a change
	// of the upstream's addresses is seen. The first request after it asks for
	// the connection to be closed after the response, and no request is cut.
	// An idle connection is closed after MaxConnAge if IdleConnTimeout is
	// longer. Zero means 5 minutes; negative means no limit.
	MaxConnAge time.Duration

	// DisableHTTP2 keeps to HTTP/1.1 where TLS would negotiate HTTP/2.
	DisableHTTP2 bool

	// H2C speaks HTTP/2 without TLS to http URLs, with prior knowledge.
	H2C bool

	// DisableCompression leaves Accept-Encoding and bodies as they are. When
	// false, gzip is asked for and decoded behind the caller's back, as in
	// net/http.
	DisableCompression bool

	// Proxy returns the proxy for a request. Nil means that of the
	// environment, as [http.ProxyFromEnvironment] reads it.
	Proxy func(*http.Request) (*url.URL, error)

	// DialContext opens a TCP connection. Nil means a [net.Dialer].
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSClientConfig is cloned. Nil means the defaults of crypto/tls. Without
	// a ClientSessionCache it gets one, so that sessions are resumed, unless
	// there is a VerifyPeerCertificate.
	TLSClientConfig *tls.Config
}

const (
	defaultMaxConns              = 1024
	defaultQueueTimeout          = time.Second
	defaultConnTimeout           = 10 * time.Second
	defaultDialTimeout           = 5 * time.Second
	defaultTLSTimeout            = 10 * time.Second
	defaultResponseHeaderTimeout = 30 * time.Second
	defaultBodyTimeout           = time.Minute
	defaultRequestTimeout        = time.Minute
	defaultIdleConnTimeout       = 90 * time.Second
	defaultMaxConnAge            = 5 * time.Minute

	// Linux gives a client 28,232 ports towards one address and port.
	maxIntentConns = 28_000
	maxConns       = 65_535
)

// ConnsFor returns how many connections carry a number of requests per second
// that take latency on average, by Little's law with room for their coming at
// random: L + 3 x sqrt(L), rounded up, where L is their product.
func ConnsFor(requestsPerSecond float64, latency time.Duration) int {
	inFlight := requestsPerSecond * latency.Seconds()
	conns := math.Ceil(inFlight + 3*math.Sqrt(inFlight))
	if !(conns < math.MaxInt32) { // NaN too; an int is 32 bits on some platforms
		return math.MaxInt32
	}
	return int(conns)
}
