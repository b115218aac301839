package middleware

import (
	"context"
	"errors"
	"fmt"
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

	// MinInFlight, if it is not 0, makes the limit adaptive: it finds itself
	// between MinInFlight and MaxInFlight, by how long the handler takes, and
	// requests wait as well while the process is short of processors. When the
	// queue does not become empty for a tenth of a second, those who came last
	// are served first, and nobody waits in it for longer than that.
	MinInFlight int

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
	option.NotNegative(bad, "MinInFlight", o.MinInFlight)
	if o.MinInFlight > o.MaxInFlight {
		bad.Add("MinInFlight", o.MinInFlight, fmt.Sprintf("more than {MaxInFlight}, %d", o.MaxInFlight), "MaxInFlight")
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
	opts   LimitOptions // with defaults
	places *limit.Limiter

	processor *limit.Processor // nil if the limit is fixed

	group   *metrics.Group
	wait    *metrics.Histogram
	full    *metrics.Counter
	expired *metrics.Counter
	late    *metrics.Counter
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
		places: limit.New(limit.Config{InFlight: o.MaxInFlight, Least: o.MinInFlight, Queue: o.MaxQueue, Timeout: o.QueueTimeout}),
		group:  metrics.NewGroup("route", o.Name),
	}
	if o.MinInFlight > 0 {
		l.processor = limit.NewProcessor(o.MaxQueue, nil)
		l.group.Func("freshet_limit_begin_rate", "Requests that may enter the handler in a second, as processors are short; 0 if they are not.", metrics.KindGauge, func() float64 {
			if s := l.processor.State(); s.Bounded {
				return s.Rate
			}
			return 0
		})
	}
	l.wait = l.group.Histogram("freshet_limit_wait_seconds", "Time that requests waited for a place in front of the handler.")
	const refused = "Requests answered 503 by the limiter, by reason."
	l.full = l.group.Counter("freshet_limit_refused_total", refused, "reason", reasonQueueFull)
	l.late = l.group.Counter("freshet_limit_refused_total", refused, "reason", reasonTooLate)
	l.expired = l.group.Counter("freshet_limit_refused_total", refused, "reason", reasonQueueTimeout)
	for _, g := range []struct {
		name, help string
		read       func(limit.State) int
	}{
		{"freshet_limit_in_flight", "Requests inside the handler.", func(s limit.State) int { return s.InFlight }},
		{"freshet_limit_queued", "Requests that wait for a place.", func(s limit.State) int { return s.Queued }},
		{"freshet_limit_places", "Requests that may be inside the handler now.", func(s limit.State) int { return s.Limit }},
		{"freshet_limit_max_in_flight", "Requests that may ever be inside the handler.", func(limit.State) int { return o.MaxInFlight }},
	} {
		l.group.Func(g.name, g.help, metrics.KindGauge, func() float64 { return float64(g.read(l.places.State())) })
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
	reasonTooLate      = "too_late"
)

// Handler returns next behind the limiter. All handlers that one Limiter wraps
// share its places. A place is held until the handler returns: for one that
// hijacks its connection, as long as it likes.
func (l *Limiter) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		place, err := l.enter(r.Context())
		l.wait.Update(time.Since(began))
		switch {
		case err == nil:
			defer place.Release()
			next.ServeHTTP(w, r)
			return
		case errors.Is(err, limit.ErrTooLate):
			l.late.Inc()
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

// enter waits for a place, and where the limit is adaptive, for a processor first:
// a place is not held by who waits for one.
func (l *Limiter) enter(ctx context.Context) (limit.Place, error) {
	if l.processor != nil {
		if err := l.processor.Begin(ctx); err != nil {
			return limit.Place{}, err
		}
	}
	return l.places.Acquire(ctx)
}

// LimitStats are counts since a [Limiter] was made, and what goes on now.
type LimitStats struct {
	Refused  uint64 // answered 503
	InFlight int64  // inside the handler now
	Queued   int64  // waiting now
	Places   int64  // that there are now
}

// Stats returns a snapshot.
func (l *Limiter) Stats() LimitStats {
	s := l.places.State()
	return LimitStats{
		Refused:  l.full.Get() + l.expired.Get() + l.late.Get(),
		InFlight: int64(s.InFlight),
		Queued:   int64(s.Queued),
		Places:   int64(s.Limit),
	}
}

// WriteMetrics writes the limiter's metrics to w in the Prometheus text
// format, each family with HELP and TYPE. cachefetch.WriteMetrics writes those
// of several limiters, caches and transports.
func (l *Limiter) WriteMetrics(w io.Writer) { l.group.WriteMetrics(w) }
