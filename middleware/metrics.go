package middleware

import (
	"io"
	"sync"

	"github.com/freshet-go/freshet/internal/metrics"
)

// An outcome is how a request was answered, as a label of metrics.
type outcome uint8

const (
	outcomeHit       outcome = iota // from the store, fresh
	outcomeStale                    // from the store, stale
	outcomeCoalesced                // from the handler's run for another request
	outcomeMiss                     // from the handler, and stored if it may be
	outcomePass                     // from the handler, for this request alone
	outcomeRefused                  // by the cache itself: 503, no place or too long a wait
	outcomeError                    // by the cache itself: 502 or 504
	outcomes
)

var outcomeNames = [outcomes]string{"hit", "stale", "coalesced", "miss", "pass", "refused", "error"}

// cacheMetrics are the metrics of one Cache. Those of a route are made when
// the route first answers, and held by pointer.
type cacheMetrics struct {
	group *metrics.Group

	mu     sync.RWMutex
	routes map[string]*routeMetrics // guarded by mu
}

type routeMetrics struct {
	label    string
	requests [outcomes]*metrics.Histogram
	origin   *metrics.Counter
}

func newCacheMetrics(name string, c *Cache) *cacheMetrics {
	g := metrics.NewGroup("cache", name)
	g.Store(func() metrics.Store {
		s := c.Stats()
		return metrics.Store{
			Bytes: s.Bytes, WindowBytes: s.WindowBytes, MaxBytes: s.MaxBytes, Entries: s.Entries,
			Evictions: s.Evictions, Refusals: s.Refusals, RefreshSkips: s.RefreshSkips,
		}
	})
	metrics.Add(g, c.Stats, []metrics.Family[Stats]{
		metrics.CounterOf("freshet_refreshes_total", "Refreshes begun behind a stale response.", func(s Stats) uint64 { return s.Refreshes }),
		metrics.CounterOf("freshet_panics_total", "Panics of the handler that no client's goroutine could take.", func(s Stats) uint64 { return s.Panics }),
	})
	return &cacheMetrics{group: g, routes: make(map[string]*routeMetrics)}
}

// route returns the metrics of a route. Labels are names of policies and
// patterns of routers, so they are as many as the program has routes.
func (m *cacheMetrics) route(label string) *routeMetrics {
	m.mu.RLock()
	rm := m.routes[label]
	m.mu.RUnlock()
	if rm != nil {
		return rm
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rm = m.routes[label]; rm != nil {
		return rm
	}
	rm = &routeMetrics{label: label}
	for o, name := range outcomeNames {
		rm.requests[o] = m.group.Histogram("freshet_request_duration_seconds",
			"Time to answer a request, by route and by how it was answered.", "route", label, "outcome", name)
	}
	rm.origin = m.group.Counter("freshet_origin_calls_total", "Runs of the handler behind the cache, for whatever reason.", "route", label)
	m.routes[label] = rm
	return rm
}

// notStored counts a response that was not stored. Reasons are a fixed list.
func (m *cacheMetrics) notStored(reason string) {
	m.group.Counter("freshet_not_stored_total", "Responses of the handler that were not stored, by reason.", "reason", reason).Inc()
}

// notReused counts a request that was passed to the handler alone.
func (m *cacheMetrics) notReused(reason string) {
	m.group.Counter("freshet_not_reused_total", "Requests that could share no response, by reason.", "reason", reason).Inc()
}

// answered returns how many requests were answered in which way.
func (m *cacheMetrics) answered() (n [outcomes]uint64, origins uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, rm := range m.routes {
		for o, h := range rm.requests {
			n[o] += h.Count()
		}
		origins += rm.origin.Get()
	}
	return n, origins
}

// WriteMetrics writes the cache's metrics to w in the Prometheus text format,
// each family with HELP and TYPE. Package cachefetch has a WriteMetrics that
// merges them with those of others.
func (c *Cache) WriteMetrics(w io.Writer) { c.metrics.group.WriteMetrics(w) }
