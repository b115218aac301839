package middleware

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// An outcome is how a request was answered, as a label of metrics.
type outcome uint8

const (
	outcomeHit       outcome = iota // from the store, fresh
	outcomeStale                    // from the store, stale
	outcomeCoalesced                // from the handler's run for another request
	outcomeMiss                     // from the handler, and stored if it may be
	outcomePass                     // from the handler, for this request alone
	outcomeError                    // by the cache itself: 503 or 504
	outcomes
)

var outcomeNames = [outcomes]string{"hit", "stale", "coalesced", "miss", "pass", "error"}

// buckets run from a hit in memory to the slowest upstream, in seconds. The
// library's default ones begin at 5 ms and are thin around 3 s.
var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 20, 30, 60}

// cacheMetrics are the metrics of one Cache. Those of a route are made when
// the route first answers, and held by pointer: to look one up by name costs
// as much as a hit.
type cacheMetrics struct {
	name                       string
	requests, origins, refused *metrics.Set // one family each

	mu     sync.RWMutex
	routes map[string]*routeMetrics // guarded by mu
}

type routeMetrics struct {
	label    string
	requests [outcomes]*metrics.PrometheusHistogram
	origin   *metrics.Counter
}

func newCacheMetrics(name string) *cacheMetrics {
	return &cacheMetrics{
		name:     name,
		requests: metrics.NewSet(),
		origins:  metrics.NewSet(),
		refused:  metrics.NewSet(),
		routes:   make(map[string]*routeMetrics),
	}
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
	labels := fmt.Sprintf(`cache="%s",route="%s"`, escape(m.name), escape(label))
	for o, name := range outcomeNames {
		rm.requests[o] = m.requests.NewPrometheusHistogramExt(
			fmt.Sprintf(`freshet_request_duration_seconds{%s,outcome="%s"}`, labels, name), buckets)
	}
	rm.origin = m.origins.NewCounter(fmt.Sprintf(`freshet_origin_calls_total{%s}`, labels))
	m.routes[label] = rm
	return rm
}

// notStored counts a response that was not stored. Reasons are a fixed list.
func (m *cacheMetrics) notStored(reason string) {
	m.refused.GetOrCreateCounter(fmt.Sprintf(`freshet_not_stored_total{cache="%s",reason="%s"}`, escape(m.name), reason)).Inc()
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func escape(label string) string { return escaper.Replace(label) }

// WriteMetrics writes the cache's metrics to w in the Prometheus text format,
// each family with HELP and TYPE.
func (c *Cache) WriteMetrics(w io.Writer) {
	m := c.metrics
	family(w, "freshet_request_duration_seconds", "histogram",
		"Time to answer a request, by route and by how it was answered.", m.requests)
	family(w, "freshet_origin_calls_total", "counter",
		"Runs of the handler behind the cache, for whatever reason.", m.origins)
	family(w, "freshet_not_stored_total", "counter",
		"Responses of the handler that were not stored, by reason.", m.refused)
	s := c.Stats()
	for _, g := range []struct {
		name, kind, help string
		value            any
	}{
		{"freshet_bytes", "gauge", "Bytes held, as counted against the budget.", s.Bytes},
		{"freshet_window_bytes", "gauge", "Of freshet_bytes, those being filled or in the admission window.", s.WindowBytes},
		{"freshet_max_bytes", "gauge", "The budget in bytes.", s.MaxBytes},
		{"freshet_entries", "gauge", "Entries held.", s.Entries},
		{"freshet_evictions_total", "counter", "Entries that made room for others.", s.Evictions},
		{"freshet_refusals_total", "counter", "Verdicts of the store's admission policy against a new entry.", s.Refusals},
		{"freshet_refreshes_total", "counter", "Refreshes begun behind a stale response.", s.Refreshes},
		{"freshet_refresh_skips_total", "counter", "Refreshes left out because all workers were busy.", s.RefreshSkips},
		{"freshet_panics_total", "counter", "Panics of the handler that no client's goroutine could take.", s.Panics},
	} {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s{cache=\"%s\"} %d\n", g.name, g.help, g.name, g.kind, g.name, escape(m.name), g.value)
	}
}

func family(w io.Writer, name, kind, help string, set *metrics.Set) {
	var b bytes.Buffer
	set.WritePrometheus(&b)
	if b.Len() == 0 {
		return
	}
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for line := range bytes.Lines(b.Bytes()) {
		if line[0] != '#' { // metadata the library adds if the program asked it to
			_, _ = w.Write(line)
		}
	}
}
