package cachefetch

import (
	"cmp"
	"io"
	"time"

	"github.com/freshet-go/freshet/internal/metrics"
)

// The values of the label "result". Those of "source" are the names of Source.
const (
	resultValue    = "value"
	resultNotFound = "not_found"
	resultError    = "error"
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
	result := func(label string) *metrics.Histogram {
		return g.Histogram("freshet_load_duration_seconds", "Time that loads of values took, by their result.", "result", label)
	}
	m := &cacheMetrics{group: g, loaded: result(resultValue), notFound: result(resultNotFound), failed: result(resultError)}
	g.Store(func() metrics.Store {
		s := c.Stats()
		return metrics.Store{
			Bytes: s.Bytes, WindowBytes: s.WindowBytes, MaxBytes: s.MaxBytes, Entries: s.Entries,
			Evictions: s.Evictions, Refusals: s.Refusals, RefreshSkips: s.RefreshSkips,
		}
	})
	metrics.Add(g, c.Stats, cacheFamilies)
	if c.l2 != nil {
		metrics.Add(g, c.l2.usage, backendFamilies)
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

var cacheFamilies = []metrics.Family[Stats]{
	metrics.CounterOf("freshet_coalesced_total", "Keys whose callers joined the load of another, whatever came of it.", func(s Stats) uint64 { return s.Coalesced }),
	metrics.CounterOf("freshet_value_refreshes_total", "Loads begun behind a stored value.", func(s Stats) uint64 { return s.Refreshes }),
	metrics.CounterOf("freshet_early_refreshes_total", "Of freshet_value_refreshes_total, those of values that were fresh.", func(s Stats) uint64 { return s.EarlyRefreshes }),
	metrics.CounterOf("freshet_drops_total", "Loaded values that were not stored: purged meanwhile, too large, or no room to be had.", func(s Stats) uint64 { return s.Drops }),
	metrics.CounterOf("freshet_purges_total", "Purges by tag, by prefix and of everything.", func(s Stats) uint64 { return s.Purges }),
}

var backendFamilies = []metrics.Family[BackendStats]{
	metrics.CounterOf("freshet_backend_hits_total", "Values read from the backend and used.", func(s BackendStats) uint64 { return s.Hits }),
	metrics.CounterOf("freshet_backend_misses_total", "Reads of the backend that found nothing to use.", func(s BackendStats) uint64 { return s.Misses }),
	metrics.CounterOf("freshet_backend_bad_total", "Values read from the backend that were damaged or not what was asked for.", func(s BackendStats) uint64 { return s.Bad }),
	metrics.CounterOf("freshet_backend_errors_total", "Calls of the backend that failed.", func(s BackendStats) uint64 { return s.Errors }),
	metrics.CounterOf("freshet_backend_timeouts_total", "Calls of the backend that took too long.", func(s BackendStats) uint64 { return s.Timeouts }),
	metrics.CounterOf("freshet_backend_skips_total", "Reads of the backend that were not tried: breaker open, or too many under way.", func(s BackendStats) uint64 { return s.Skips }),
	metrics.CounterOf("freshet_backend_drops_total", "Changes that were not made in the backend.", func(s BackendStats) uint64 { return s.Drops }),
	metrics.GaugeOf("freshet_backend_queued", "Changes yet to be made in the backend.", func(s BackendStats) int64 { return int64(s.Queued) }),
	metrics.GaugeOf("freshet_backend_open", "Whether the breaker keeps calls from the backend.", func(s BackendStats) int64 {
		if s.Open {
			return 1
		}
		return 0
	}),
}
