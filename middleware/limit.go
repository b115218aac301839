package middleware

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/freshet-go/freshet/internal/limit"
	"github.com/freshet-go/freshet/internal/metrics"
	"github.com/freshet-go/freshet/internal/option"
)

// LimitOptions configures a [Limiter]. Only MaxInFlight has to be set.
type LimitOptions struct {
	// Name is the label "route" of the metrics. Empty means "default".
	Name string

	// MaxInFlight bounds the requests that are inside the handler. By
	// Little's law a handler that takes 300 ms needs 150 places for 500
	// requests a second.
	MaxInFlight int

	// MaxQueue bounds the requests that wait for a place, first come first
	// served. One that finds the queue full is answered 503 at once. Zero
	// means MaxInFlight; negative means no queue.
	MaxQueue int

	// QueueTimeout bounds that wait; after it a request is answered 503. Zero
	// means one second.
	QueueTimeout time.Duration
}

const defaultQueueTimeout = time.Second

// Validate reports every field of o that no [Limiter] can be made with, each
// with its name and value.
func (o LimitOptions) Validate() error {
	bad := option.Of("middleware: LimitOptions")
	if o.MaxInFlight < 1 {
		bad.Add("MaxInFlight", o.MaxInFlight, "must be at least 1")
	}
	option.NotNegative(bad, "QueueTimeout", o.QueueTimeout)
	if o.MaxQueue < 0 && o.QueueTimeout > 0 {
		bad.Add("QueueTimeout", o.QueueTimeout, "has no effect without a queue")
	}
	return bad.Err()
}

// A Limiter bounds how many requests a handler serves at once, with a short
// queue in front. What is beyond is answered 503 with Retry-After, at once and
// at little cost: work that is begun for everyone is finished for nobody.
//
// On a route that is cached it belongs inside of the [Cache.Handler], where
// only runs of the handler count:
//
//	r.With(cache.Handler(policy), limiter.Handler).Get("/products/{id}", product)
//
// Under overload, requests are then answered fresh, else stale, else from a
// run that is under way, else after a short wait, else 503. A limiter outside
// of the cache would refuse hits as well.
//
// All methods may be called concurrently.
type Limiter struct {
	opts    LimitOptions // with defaults
	places  *limit.Limiter
	group   *metrics.Group
	wait    *metrics.Histogram
	full    *metrics.Counter
	expired *metrics.Counter
}

// NewLimiter returns a Limiter, or an error that names each bad option.
func NewLimiter(o LimitOptions) (*Limiter, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "default"
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = o.MaxInFlight
	}
	o.MaxQueue = max(o.MaxQueue, 0)
	if o.QueueTimeout == 0 {
		o.QueueTimeout = defaultQueueTimeout
	}
	l := &Limiter{
		opts:   o,
		places: limit.New(limit.Config{InFlight: o.MaxInFlight, Queue: o.MaxQueue, Timeout: o.QueueTimeout}),
		group:  metrics.NewGroup("route", o.Name),
	}
	l.wait = l.group.Histogram("freshet_limit_wait_seconds", "Time that requests waited for a place in front of the handler.")
	const refused = "Requests answered 503 by the limiter, by reason."
	l.full = l.group.Counter("freshet_limit_refused_total", refused, "reason", reasonQueueFull)
	l.expired = l.group.Counter("freshet_limit_refused_total", refused, "reason", reasonQueueTimeout)
	for _, g := range []struct {
		name, help string
		read       func() int64
	}{
		{"freshet_limit_in_flight", "Requests inside the handler.", l.places.InFlight},
		{"freshet_limit_queued", "Requests that wait for a place.", l.places.Queued},
		{"freshet_limit_max_in_flight", "Requests that may be inside the handler.", func() int64 { return int64(o.MaxInFlight) }},
	} {
		l.group.Func(g.name, g.help, metrics.KindGauge, func() float64 { return float64(g.read()) })
	}
	return l, nil
}

// Limit returns a middleware that bounds the handlers it wraps together, as a
// [Limiter] does. It panics if o is not valid; [LimitOptions.Validate] tells
// before.
func Limit(o LimitOptions) func(http.Handler) http.Handler {
	l, err := NewLimiter(o)
	if err != nil {
		panic(err)
	}
	return l.Handler
}

// Reasons why a [Limiter] refuses, values of the label of its own metric.
const (
	reasonQueueFull    = "queue_full"
	reasonQueueTimeout = "queue_timeout"
)

// Handler returns next behind the limiter. All handlers that one Limiter wraps
// share its places. A place is held until the handler returns: for one that
// hijacks its connection, as long as it likes.
func (l *Limiter) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		err := l.places.Acquire(r.Context())
		l.wait.Update(time.Since(began))
		switch {
		case err == nil:
			defer l.places.Release()
			next.ServeHTTP(w, r)
			return
		case errors.Is(err, limit.ErrQueueFull):
			l.full.Inc()
		case errors.Is(err, limit.ErrQueueTimeout):
			l.expired.Inc()
		}
		// Also when the client has left the queue: it will not read this, but
		// logs and metrics outside would count a 200 otherwise.
		failure{status: http.StatusServiceUnavailable, retryAfter: l.opts.QueueTimeout}.answer(w)
	})
}

// LimitStats are counts since a [Limiter] was made, and what goes on now.
type LimitStats struct {
	Refused  uint64 // answered 503
	InFlight int64  // inside the handler now
	Queued   int64  // waiting now
}

// Stats returns a snapshot.
func (l *Limiter) Stats() LimitStats {
	return LimitStats{Refused: l.full.Get() + l.expired.Get(), InFlight: l.places.InFlight(), Queued: l.places.Queued()}
}

// WriteMetrics writes the limiter's metrics to w in the Prometheus text
// format, each family with HELP and TYPE. cachefetch.WriteMetrics writes those
// of several limiters, caches and transports.
func (l *Limiter) WriteMetrics(w io.Writer) { l.group.WriteMetrics(w) }
