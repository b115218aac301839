package cachefetch

import (
	"cmp"
	"io"
	"time"

	"github.com/freshet-go/freshet/internal/metrics"
)

// cacheMetrics are the metrics of one Cache. Counts that Stats has are read
// from there when they are written; only loads are measured as they happen.
type cacheMetrics struct {
	group *metrics.Group

	loaded, notFound, failed *metrics.Histogram
}

// WriteMetrics writes the cache's metrics to w in the Prometheus text format,
// each family with HELP and TYPE. [WriteMetrics] writes those of several caches
// and transports.
func (c *Cache[V]) WriteMetrics(w io.Writer) { c.metrics.group.WriteMetrics(w) }

func newCacheMetrics[V any](c *Cache[V]) *cacheMetrics {
	g := metrics.NewGroup("cache", cmp.Or(c.opts.Name, "default"))
	for source := None; source <= Coalesced; source++ {
		g.Func("freshet_fetches_total", "Keys answered, by where the value comes from.", metrics.KindCounter,
			func() float64 { return float64(c.stats.answers(source)) }, "source", source.String())
	}
	const help = "Time that loads of values took, by their result."
	m := &cacheMetrics{group: g}
	m.loaded = g.Histogram("freshet_load_duration_seconds", help, "result", "value")
	m.notFound = g.Histogram("freshet_load_duration_seconds", help, "result", "not_found")
	m.failed = g.Histogram("freshet_load_duration_seconds", help, "result", "error")
	for _, f := range cacheFamilies {
		g.Func(f.name, f.help, f.kind, func() float64 { s := c.Stats(); return f.read(&s) })
	}
	if c.l2 != nil {
		for _, f := range backendFamilies {
			g.Func(f.name, f.help, f.kind, func() float64 { s := c.l2.usage(); return f.read(&s) })
		}
	}
	return m
}

// load counts a load that took a while and failed, or ended with err.
func (m *cacheMetrics) load(took time.Duration, failed bool, err error) {
	switch {
	case failed:
		m.failed.Update(took)
	case err != nil:
		m.notFound.Update(took)
	default:
		m.loaded.Update(took)
	}
}

type family[S any] struct {
	name, help string
	kind       metrics.Kind
	read       func(s *S) float64
}

// The first seven are those of a middleware.Cache as well, and their texts are
// the same.
var cacheFamilies = []family[Stats]{
	{"freshet_bytes", "Bytes held, as counted against the budget.", metrics.KindGauge, func(s *Stats) float64 { return float64(s.Bytes) }},
	{"freshet_window_bytes", "Of freshet_bytes, those being filled or in the admission window.", metrics.KindGauge, func(s *Stats) float64 { return float64(s.WindowBytes) }},
	{"freshet_max_bytes", "The budget in bytes.", metrics.KindGauge, func(s *Stats) float64 { return float64(s.MaxBytes) }},
	{"freshet_entries", "Entries held.", metrics.KindGauge, func(s *Stats) float64 { return float64(s.Entries) }},
	{"freshet_evictions_total", "Entries that made room for others.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Evictions) }},
	{"freshet_refusals_total", "Verdicts of the store's admission policy against a new entry.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Refusals) }},
	{"freshet_refresh_skips_total", "Refreshes left out because all workers were busy.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.RefreshSkips) }},
	{"freshet_coalesced_total", "Keys whose callers joined the load of another, whatever came of it.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Coalesced) }},
	{"freshet_value_refreshes_total", "Loads begun behind a stored value.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Refreshes) }},
	{"freshet_early_refreshes_total", "Of freshet_value_refreshes_total, those of values that were fresh.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.EarlyRefreshes) }},
	{"freshet_drops_total", "Loaded values that were not stored: purged meanwhile, too large, or no room to be had.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Drops) }},
	{"freshet_purges_total", "Purges by tag, by prefix and of everything.", metrics.KindCounter, func(s *Stats) float64 { return float64(s.Purges) }},
}

var backendFamilies = []family[BackendStats]{
	{"freshet_backend_hits_total", "Values read from the backend and used.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Hits) }},
	{"freshet_backend_misses_total", "Reads of the backend that found nothing to use.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Misses) }},
	{"freshet_backend_bad_total", "Values read from the backend that were damaged or not what was asked for.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Bad) }},
	{"freshet_backend_errors_total", "Calls of the backend that failed.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Errors) }},
	{"freshet_backend_timeouts_total", "Calls of the backend that took too long.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Timeouts) }},
	{"freshet_backend_skips_total", "Reads of the backend that were not tried: breaker open, or too many under way.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Skips) }},
	{"freshet_backend_drops_total", "Changes that were not made in the backend.", metrics.KindCounter, func(s *BackendStats) float64 { return float64(s.Drops) }},
	{"freshet_backend_queued", "Changes yet to be made in the backend.", metrics.KindGauge, func(s *BackendStats) float64 { return float64(s.Queued) }},
	{"freshet_backend_open", "Whether the breaker keeps calls from the backend.", metrics.KindGauge, func(s *BackendStats) float64 {
		if s.Open {
			return 1
		}
		return 0
	}},
}
