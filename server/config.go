package server

import (
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A Config describes a gateway. It is plain data: [Parse] reads it from YAML,
// a program may as well fill it in. Zero values mean the defaults given with
// each field. [New] and [Server.Reload] never change the Config they are given.
type Config struct {
	// Listen is the TCP address of the gateway, host:port. Empty means
	// 127.0.0.1:8080; port 0 lets the system choose one.
	Listen string

	// Admin is the TCP address of the admin listener. Empty means
	// 127.0.0.1:9090, "off" means none. An address beyond loopback needs an
	// AdminToken.
	Admin string

	// AdminToken, when set, is asked for on every path of the admin listener
	// but /healthz and /readyz, as Authorization: Bearer <token>.
	AdminToken string

	// MaxBytes is the budget of the cache in bytes. Zero means 256 MiB.
	MaxBytes int64

	// Name is the label "cache" of the metrics, of which no other cache of
	// the process may have the same. Empty means "default", which any may.
	Name string

	// RefreshWorkers is how many background refreshes run at once. Zero
	// means 16.
	RefreshWorkers int

	// DrainTimeout bounds how long requests may take to finish after the
	// server was told to stop. Zero means 30 seconds.
	DrainTimeout time.Duration

	// ReadHeaderTimeout bounds how long a client may take to send the header
	// of a request. Zero means 10 seconds. There is no limit on the time that
	// bodies take, in either direction: they may be long.
	ReadHeaderTimeout time.Duration

	// IdleTimeout is how long a client connection is kept open between
	// requests. Zero means 120 seconds.
	IdleTimeout time.Duration

	// MaxHeaderBytes bounds the header of a request. Zero means 64 KiB.
	MaxHeaderBytes int

	// MaxHeaderFields bounds the fields in the header of a request, and those
	// in its trailers: each takes more memory than its bytes. Zero means 128.
	MaxHeaderFields int

	// MaxConnections bounds the connections of clients, and
	// MaxConnectionsPerAddress those of one address. A new one takes the place
	// of one that is idle, or else is answered 503. Zero means half of the descriptors that the process may have open,
	// less 32 (an upstream's connection takes one too), and a half of that.
	MaxConnections, MaxConnectionsPerAddress int

	// H2C lets clients speak HTTP/2 without TLS, with prior knowledge.
	H2C bool

	// Upstreams are the origins, each with a name of its own.
	Upstreams []Upstream

	// Routes say what goes where. At least one is needed. A request that
	// matches none is answered 404.
	Routes []Route

	// where knows the place in a file that a value was read from.
	where places
}

// An Upstream is one origin server with a connection pool of its own.
type Upstream struct {
	// Name is what routes call it.
	Name string

	// URL is where it is: scheme http or https, host, and perhaps a path that
	// is put before that of each request. User information and a query are
	// refused: the gateway has no credentials of its own, and passes those of
	// its clients on.
	URL string

	// PreserveHost sends the client's Host upstream instead of that of URL.
	PreserveHost bool

	// NoVia leaves out the Via field that RFC 9110 7.6.3 asks of gateways.
	// Some origins do not compress responses to requests that carry it.
	NoVia bool

	// H2C speaks HTTP/2 without TLS to an http URL. Upgrades (WebSocket) do
	// not pass then. An https upstream negotiates HTTP/2 by itself.
	H2C bool

	// NoHTTP2 keeps to HTTP/1.1 where TLS would negotiate HTTP/2.
	NoHTTP2 bool

	// Proxy uses the proxy that the environment names (HTTPS_PROXY and so
	// on). False means none is: a gateway's upstream is near.
	Proxy bool

	// What follows is about the client of the upstream, which is a
	// [upstream.Transport]. Zero means what its options say, unless there is
	// something else here.

	// RequestsPerSecond and Latency say what is expected of the upstream; the
	// number of connections follows. Both or neither.
	RequestsPerSecond float64
	Latency           time.Duration

	// MaxConns bounds the connections, and MaxIdleConns those that are kept
	// when idle.
	MaxConns, MaxIdleConns int

	// MaxInFlight bounds the requests that are under way, MaxQueue those that
	// wait for a place (-1 means none may), and QueueTimeout how long. What is
	// beyond is answered with a stale response, else 503 with Retry-After.
	MaxInFlight, MaxQueue int
	QueueTimeout          time.Duration

	// ConnTimeout bounds how long a request waits for a connection, for one
	// that is free or the dial of a new one, before it is answered the same
	// way. The dial goes on, for the next request.
	ConnTimeout time.Duration

	// DialTimeout bounds one TCP connect, TLSTimeout one TLS handshake.
	DialTimeout, TLSTimeout time.Duration

	// ResponseHeaderTimeout bounds the time from the end of the request to
	// the header of the response, which is answered 504 after it. Zero means
	// 60 seconds, or RequestTimeout if that is less.
	ResponseHeaderTimeout time.Duration

	// BodyTimeout bounds how long a response body may stand still, for the
	// upstream or for a client that does not read. Zero means 5 minutes.
	BodyTimeout time.Duration

	// RequestTimeout bounds a whole exchange, its body included. Zero means
	// no limit.
	RequestTimeout time.Duration

	// IdleTimeout is how long an idle connection is kept. It should be less
	// than the upstream's own limit.
	IdleTimeout time.Duration

	// MaxConnAge is how long a connection takes new requests, so that a change
	// of the upstream's addresses is seen. Zero means 5 minutes.
	MaxConnAge time.Duration
}

// A Route sends the requests of one pattern to an upstream, through the cache.
type Route struct {
	// Pattern is a path in chi's syntax: /products/{id}, /static/*, /*. All
	// methods match.
	Pattern string

	// Upstream is the name of one of Config.Upstreams.
	Upstream string

	// StripPrefix is taken off the path before it goes upstream: /api for the
	// pattern /api/*. The cache's key keeps the whole path.
	StripPrefix string

	// Policy says what is stored. Its Name defaults to Pattern. The zero
	// Policy stores only what the response itself allows.
	Policy cachemw.Policy

	// Limit, if its MaxInFlight is set, bounds the requests that this route
	// has upstream at once. Hits, stale responses and those who join another
	// request's exchange do not count. Its Name is that of Policy; routes of
	// one name share one limit.
	Limit cachemw.LimitOptions
}

// limited reports whether any of the limit's settings is there.
func (r Route) limited() bool {
	limit := r.Limit
	limit.Name = ""
	return limit != cachemw.LimitOptions{}
}

// adminOff is the value of Config.Admin that means: no admin listener.
const adminOff = "off"

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// withDefaults returns c with the zero values replaced.
func (c Config) withDefaults() Config {
	orDefault(&c.Listen, "127.0.0.1:8080")
	orDefault(&c.Admin, "127.0.0.1:9090")
	orDefault(&c.MaxBytes, 256<<20)
	orDefault(&c.RefreshWorkers, 16)
	orDefault(&c.DrainTimeout, 30*time.Second)
	orDefault(&c.ReadHeaderTimeout, 10*time.Second)
	orDefault(&c.IdleTimeout, 120*time.Second)
	orDefault(&c.MaxHeaderBytes, 64<<10)
	orDefault(&c.MaxHeaderFields, 128)
	orDefault(&c.MaxConnections, max(descriptors()/2-32, 16))
	orDefault(&c.MaxConnectionsPerAddress, (c.MaxConnections+1)/2)
	ups := make([]Upstream, len(c.Upstreams))
	for i, u := range c.Upstreams {
		ups[i] = u.withDefaults()
	}
	c.Upstreams = ups
	routes := make([]Route, len(c.Routes))
	for i, r := range c.Routes {
		orDefault(&r.Policy.Name, r.Pattern)
		r.Limit.Name = r.Policy.Name
		routes[i] = r
	}
	c.Routes = routes
	return c
}

// restartKeys names the settings that differ between two configurations and
// that a running server cannot change. Values are left out: one is a secret.
func restartKeys(old, new Config) []string {
	old, new = old.withDefaults(), new.withDefaults()
	var keys []string
	for _, s := range []struct {
		key       string
		different bool
	}{
		{"listen", old.Listen != new.Listen},
		{"admin", old.Admin != new.Admin},
		{"admin_token", old.AdminToken != new.AdminToken},
		{"max_bytes", old.MaxBytes != new.MaxBytes},
		{"name", old.Name != new.Name},
		{"refresh_workers", old.RefreshWorkers != new.RefreshWorkers},
		{"drain_timeout", old.DrainTimeout != new.DrainTimeout},
		{"read_header_timeout", old.ReadHeaderTimeout != new.ReadHeaderTimeout},
		{"idle_timeout", old.IdleTimeout != new.IdleTimeout},
		{"max_header_bytes", old.MaxHeaderBytes != new.MaxHeaderBytes},
		{"max_header_fields", old.MaxHeaderFields != new.MaxHeaderFields},
		{"max_connections", old.MaxConnections != new.MaxConnections},
		{"max_connections_per_address", old.MaxConnectionsPerAddress != new.MaxConnectionsPerAddress},
		{"h2c", old.H2C != new.H2C},
	} {
		if s.different {
			keys = append(keys, s.key)
		}
	}
	return keys
}
