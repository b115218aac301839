package cachefetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"
)

// TransportOptions configures a [Transport]. The zero value works. A size that
// is left out follows from those that are given; two that contradict each
// other are an error of [NewTransport]. docs/tuning.md has worked examples.
type TransportOptions struct {
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

	// MaxConnsPerHost bounds the connections to one host, those being dialled
	// included. Zero means what follows from RequestsPerSecond and Latency,
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

	// TLSClientConfig is cloned. Nil means the defaults of crypto/tls.
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

// complaints collects what is wrong with some options.
type complaints []error

func (c *complaints) add(field string, value any, format string, args ...any) {
	*c = append(*c, fmt.Errorf("cachefetch: TransportOptions.%s: %v: %s", field, value, fmt.Sprintf(format, args...)))
}

// WithDefaults returns o as [NewTransport] uses it, with the sizes and times
// that follow from those given, or an error that names every field no
// transport can be made with, and its value.
func (o TransportOptions) WithDefaults() (TransportOptions, error) {
	var bad complaints
	if o.Name == "" {
		o.Name = "default"
	}
	o.checkSizes(&bad)
	if len(bad) == 0 { // a negative size would be complained about twice
		o.checkAgreement(&bad)
		o.fillSizes()
	}
	o.checkTimes(&bad)
	if o.H2C && o.DisableHTTP2 {
		bad.add("H2C", true, "cannot be combined with DisableHTTP2")
	}
	if o.H2C && o.TLSClientConfig != nil {
		bad.add("H2C", true, "is for connections without TLS, but there is a TLSClientConfig")
	}
	return o, errors.Join(bad...)
}

// checkSizes looks at each size by itself.
func (o *TransportOptions) checkSizes(bad *complaints) {
	if !(o.RequestsPerSecond >= 0 && !math.IsInf(o.RequestsPerSecond, 1)) {
		bad.add("RequestsPerSecond", o.RequestsPerSecond, "must be a number and not negative")
	}
	if o.Latency < 0 {
		bad.add("Latency", o.Latency, "must not be negative")
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"MaxConnsPerHost", o.MaxConnsPerHost},
		{"MaxIdleConnsPerHost", o.MaxIdleConnsPerHost},
		{"MaxIdleConns", o.MaxIdleConns},
		{"MaxInFlight", o.MaxInFlight},
	} {
		if n.value < 0 {
			bad.add(n.field, n.value, "must not be negative")
		}
	}
	if o.MaxConnsPerHost > maxConns {
		bad.add("MaxConnsPerHost", o.MaxConnsPerHost, "must be at most %d, the ports of a client", maxConns)
	}
}

// checkAgreement looks at the sizes that are given together.
func (o *TransportOptions) checkAgreement(bad *complaints) {
	intent := o.RequestsPerSecond > 0
	conns := o.MaxConnsPerHost
	switch {
	case intent && o.Latency == 0:
		bad.add("Latency", o.Latency, "is needed with RequestsPerSecond")
	case !intent && o.Latency > 0:
		bad.add("RequestsPerSecond", o.RequestsPerSecond, "is needed with Latency")
	case intent && conns > 0 && conns != ConnsFor(o.RequestsPerSecond, o.Latency):
		bad.add("MaxConnsPerHost", conns, "does not agree with RequestsPerSecond and Latency, which need %d",
			ConnsFor(o.RequestsPerSecond, o.Latency))
	case intent:
		conns = ConnsFor(o.RequestsPerSecond, o.Latency)
		if conns > maxIntentConns {
			bad.add("RequestsPerSecond", o.RequestsPerSecond,
				"at %v each needs %d connections, but a client has about %d ports to one address", o.Latency, conns, maxIntentConns)
		}
	}
	if conns > 0 && o.MaxInFlight > 0 && o.MaxInFlight < conns {
		bad.add("MaxInFlight", o.MaxInFlight, "must be at least the number of connections, %d: the others could not be used", conns)
	}
	if conns > 0 && o.MaxIdleConnsPerHost > conns {
		bad.add("MaxIdleConnsPerHost", o.MaxIdleConnsPerHost, "must be at most the number of connections, %d", conns)
	}
	if o.MaxInFlight > 0 && o.MaxIdleConnsPerHost > o.MaxInFlight {
		bad.add("MaxIdleConnsPerHost", o.MaxIdleConnsPerHost, "must be at most MaxInFlight, %d", o.MaxInFlight)
	}
	if o.MaxIdleConns > 0 && o.MaxIdleConnsPerHost > o.MaxIdleConns {
		bad.add("MaxIdleConns", o.MaxIdleConns, "must be at least MaxIdleConnsPerHost, %d", o.MaxIdleConnsPerHost)
	}
	if o.MaxQueue < 0 && o.QueueTimeout > 0 {
		bad.add("QueueTimeout", o.QueueTimeout, "has no effect without a queue, and MaxQueue is %d", o.MaxQueue)
	}
}

// fillSizes derives the sizes that are left out. Those given agree.
func (o *TransportOptions) fillSizes() {
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = max(defaultMaxConns, o.MaxIdleConnsPerHost)
		if o.RequestsPerSecond > 0 {
			o.MaxConnsPerHost = ConnsFor(o.RequestsPerSecond, o.Latency)
		} else if o.MaxInFlight > 0 {
			o.MaxConnsPerHost = min(o.MaxConnsPerHost, o.MaxInFlight)
		}
	}
	if o.MaxIdleConnsPerHost == 0 {
		o.MaxIdleConnsPerHost = o.MaxConnsPerHost
		if o.MaxIdleConns > 0 {
			o.MaxIdleConnsPerHost = min(o.MaxIdleConnsPerHost, o.MaxIdleConns)
		}
	}
	if o.MaxIdleConns == 0 {
		o.MaxIdleConns = 4 * o.MaxIdleConnsPerHost
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 2 * o.MaxConnsPerHost
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = o.MaxInFlight
	}
}

// checkTimes looks at the durations and fills in those that are left out.
func (o *TransportOptions) checkTimes(bad *complaints) {
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"QueueTimeout", o.QueueTimeout},
		{"ConnTimeout", o.ConnTimeout},
		{"DialTimeout", o.DialTimeout},
		{"TLSTimeout", o.TLSTimeout},
		{"ResponseHeaderTimeout", o.ResponseHeaderTimeout},
		{"BodyTimeout", o.BodyTimeout},
		{"IdleConnTimeout", o.IdleConnTimeout},
	} {
		if d.value < 0 {
			bad.add(d.field, d.value, "must not be negative")
		}
	}
	fill(&o.RequestTimeout, max(defaultRequestTimeout, 2*o.ResponseHeaderTimeout))
	queue, header := defaultQueueTimeout, defaultResponseHeaderTimeout
	if whole := o.RequestTimeout; whole > 0 {
		if o.QueueTimeout >= whole {
			bad.add("QueueTimeout", o.QueueTimeout, "must be less than RequestTimeout, %v, or no time is left for the request", whole)
		}
		if o.ResponseHeaderTimeout > whole {
			bad.add("ResponseHeaderTimeout", o.ResponseHeaderTimeout, "must be at most RequestTimeout, %v", whole)
		}
		queue, header = min(queue, whole/2), min(header, whole)
	}
	if o.MaxQueue >= 0 {
		fill(&o.QueueTimeout, queue)
	}
	fill(&o.ConnTimeout, defaultConnTimeout)
	fill(&o.DialTimeout, defaultDialTimeout)
	fill(&o.TLSTimeout, defaultTLSTimeout)
	fill(&o.ResponseHeaderTimeout, header)
	fill(&o.BodyTimeout, defaultBodyTimeout)
	fill(&o.IdleConnTimeout, defaultIdleConnTimeout)
	if o.Latency >= o.ResponseHeaderTimeout && o.ResponseHeaderTimeout > 0 {
		bad.add("Latency", o.Latency, "must be less than ResponseHeaderTimeout, %v, which would end most requests", o.ResponseHeaderTimeout)
	}
}

func fill(d *time.Duration, zero time.Duration) {
	if *d == 0 {
		*d = zero
	}
}
