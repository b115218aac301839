package cachefetch

import (
	"io"

	"github.com/freshet-go/freshet/internal/metrics"
)

// A MetricsSource writes metrics in the Prometheus text format, each family
// with HELP and TYPE. Caches and transports of this module do.
type MetricsSource interface{ WriteMetrics(w io.Writer) }

// WriteMetrics writes the metrics of several caches and transports to w, as
// one answer to a scrape: the format wants each family in one place, with its
// HELP and TYPE once, and several caches have the same families.
//
// Programs that expose metrics with github.com/VictoriaMetrics/metrics do not
// need it: what has a name of its own is part of what that package writes.
func WriteMetrics(w io.Writer, sources ...MetricsSource) {
	merged := make([]metrics.Source, len(sources))
	for i, s := range sources {
		merged[i] = s
	}
	metrics.Merge(w, merged...)
}
