package cachefetch

import (
	"cmp"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
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

// newCacheMetrics returns the metrics of a cache with some name, which may be
// empty. ofBackend is nil if it has none.
func newCacheMetrics(name string, answers *counters, stats func() Stats, ofBackend func() backend.Stats) *cacheMetrics {
	g := metrics.NewGroup("cache", cmp.Or(name, "default"))
	for source := None; source <= Coalesced; source++ {
		g.Func("freshet_fetches_total", "Keys answered, by where the value comes from.", metrics.KindCounter,
			func() float64 { return float64(answers.answers(source)) }, "source", source.String())
	}
	result := func(label string) *metrics.Histogram {
		return g.Histogram("freshet_load_duration_seconds", "Time that loads of values took, by their result.", "result", label)
	}
	m := &cacheMetrics{group: g, loaded: result(resultValue), notFound: result(resultNotFound), failed: result(resultError)}
	g.Store(func() metrics.Store {
		s := stats()
		return metrics.Store{
			Bytes: s.Bytes, WindowBytes: s.WindowBytes, MaxBytes: s.MaxBytes, Entries: s.Entries,
			Evictions: s.Evictions, Refusals: s.Refusals, RefreshSkips: s.RefreshSkips,
		}
	})
	metrics.Add(g, stats, cacheFamilies)
	if ofBackend != nil {
		metrics.Add(g, ofBackend, backendFamilies)
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

var backendFamilies = []metrics.Family[backend.Stats]{
	metrics.CounterOf("freshet_backend_hits_total", "Values read from the backend and used.", func(s backend.Stats) uint64 { return s.Hits }),
	metrics.CounterOf("freshet_backend_misses_total", "Reads of the backend that found nothing to use.", func(s backend.Stats) uint64 { return s.Misses }),
	metrics.CounterOf("freshet_backend_bad_total", "Values read from the backend that were damaged or not what was asked for.", func(s backend.Stats) uint64 { return s.Bad }),
	metrics.CounterOf("freshet_backend_errors_total", "Calls of the backend that failed.", func(s backend.Stats) uint64 { return s.Errors }),
	metrics.CounterOf("freshet_backend_timeouts_total", "Calls of the backend that took too long.", func(s backend.Stats) uint64 { return s.Timeouts }),
	metrics.CounterOf("freshet_backend_skips_total", "Reads of the backend that were not tried: breaker open, or too many under way.", func(s backend.Stats) uint64 { return s.Skips }),
	metrics.CounterOf("freshet_backend_drops_total", "Changes that were not made in the backend.", func(s backend.Stats) uint64 { return s.Drops }),
	metrics.GaugeOf("freshet_backend_queued", "Changes yet to be made in the backend.", func(s backend.Stats) int64 { return int64(s.Queued) }),
	metrics.GaugeOf("freshet_backend_open", "Whether the breaker keeps calls from the backend.", func(s backend.Stats) int64 {
		if s.Open {
			return 1
		}
		return 0
	}),
}
