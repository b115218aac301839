package upstream

import (
	"io"

	"github.com/freshet-go/freshet/internal/metrics"
)

// Stats are counts since a [Transport] was made, and what goes on now.
type Stats struct {
	Requests  uint64 // calls of RoundTrip
	Refused   uint64 // of these, failed with a RefusedError
	Failed    uint64 // of these, failed with an Error or ErrClosed, in their body too
	Abandoned uint64 // of these, ended by the caller's own context

	NewConns    uint64 // requests that were the first on their connection
	ReusedConns uint64 // requests on a connection that others had used
	Dials       uint64 // TCP connects, failed ones included
	DialErrors  uint64 // of these, failed
	Retries     uint64 // requests sent again after their connection was lost
	Replays     uint64 // requests sent again by net/http, a kept connection being closed
	Leaked      uint64 // response bodies neither read nor closed

	InFlight int64 // requests that have a place now
	Queued   int64 // requests that wait for one now
}

// Stats returns a snapshot.
func (t *Transport) Stats() Stats {
	m := t.metrics
	s := Stats{
		Requests:    m.requests.Get(),
		Abandoned:   m.abandoned.Get(),
		NewConns:    m.newConns.Get(),
		ReusedConns: m.reusedConns.Get(),
		Dials:       m.dial.Count(),
		DialErrors:  m.dialErrors.Get(),
		Retries:     m.retries.Get(),
		Replays:     m.replays.Get(),
		Leaked:      m.leaked.Get(),
	}
	for _, n := range m.refused {
		s.Refused += n.Get()
	}
	for _, n := range m.failed {
		s.Failed += n.Get()
	}
	s.InFlight, s.Queued = t.hosts.count()
	return s
}

// WriteMetrics writes the transport's metrics to w in the Prometheus text
// format, each family with HELP and TYPE. cachefetch.WriteMetrics writes those
// of several transports and caches.
func (t *Transport) WriteMetrics(w io.Writer) { t.metrics.group.WriteMetrics(w) }

// transportMetrics are made with the transport. The maps are never written to
// after that.
type transportMetrics struct {
	group *metrics.Group

	requests, abandoned          *metrics.Counter
	refused                      map[string]*metrics.Counter // by reason
	failed                       map[string]*metrics.Counter // by phase
	newConns, reusedConns        *metrics.Counter
	dialErrors                   *metrics.Counter
	retries, replays             *metrics.Counter
	leaked                       *metrics.Counter
	queue, connection, dial, tls *metrics.Histogram
	firstByte, body              *metrics.Histogram
}

func newTransportMetrics(t *Transport) *transportMetrics {
	g := metrics.NewGroup("upstream", t.opts.Name)
	m := &transportMetrics{group: g, refused: make(map[string]*metrics.Counter), failed: make(map[string]*metrics.Counter)}
	wait := func(phase string) *metrics.Histogram {
		return g.Histogram("freshet_upstream_wait_seconds",
			"Time that requests to the upstream waited: in the queue, for a connection (of which dial and tls are part, if a new one is opened), for the first byte, for the rest of the body.",
			"phase", phase)
	}
	m.queue, m.connection, m.dial, m.tls = wait(PhaseQueue), wait(PhaseConnection), wait(PhaseDial), wait(PhaseTLS)
	m.firstByte, m.body = wait(PhaseFirstByte), wait(PhaseBody)

	m.requests = g.Counter("freshet_upstream_requests_total", "Requests to the upstream, refused ones included.")
	for _, reason := range reasons {
		m.refused[reason] = g.Counter("freshet_upstream_refused_total", "Requests that were not sent, the upstream being at its limits.", "reason", reason)
	}
	for _, phase := range phases {
		m.failed[phase] = g.Counter("freshet_upstream_failed_total", "Requests that failed, by the phase they failed in.", "phase", phase)
	}
	m.abandoned = g.Counter("freshet_upstream_abandoned_total", "Requests whose caller left or had no more time.")
	const conns = "Requests by the connection they were sent on: new, or reused."
	m.newConns = g.Counter("freshet_upstream_connections_total", conns, "kind", "new")
	m.reusedConns = g.Counter("freshet_upstream_connections_total", conns, "kind", "reused")
	m.dialErrors = g.Counter("freshet_upstream_dial_errors_total", "TCP connects that failed.")
	const retries = "Requests sent again: once, their connection being lost, or by net/http, a kept connection being closed."
	m.retries = g.Counter("freshet_upstream_retries_total", retries, "cause", "lost")
	m.replays = g.Counter("freshet_upstream_retries_total", retries, "cause", "idle_closed")
	m.leaked = g.Counter("freshet_upstream_leaked_bodies_total", "Response bodies neither read nor closed.")
	for _, f := range []struct {
		name, help string
		read       func() int64
	}{
		{"freshet_upstream_in_flight", "Requests that have a place.", func() int64 { n, _ := t.hosts.count(); return n }},
		{"freshet_upstream_queued", "Requests that wait for a place.", func() int64 { _, n := t.hosts.count(); return n }},
		{"freshet_upstream_max_in_flight", "Places for each host.", func() int64 { return int64(t.opts.MaxInFlight) }},
		{"freshet_upstream_max_connections", "Connections to each host at most.", func() int64 { return int64(t.opts.MaxConnsPerHost) }},
	} {
		g.Func(f.name, f.help, metrics.KindGauge, func() float64 { return float64(f.read()) })
	}
	return m
}
