package server

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// serverMetrics are those of a server, beside those of its cache.
type serverMetrics struct{ *Server }

// WriteMetrics implements cachefetch.MetricsSource.
func (s serverMetrics) WriteMetrics(w io.Writer) {
	family(w, "freshet_build_info", "gauge", "What is running; the value is always 1.",
		fmt.Sprintf(`{version=%s,goversion=%s}`, label(s.opts.Version), label(runtime.Version())), "1")
	family(w, "freshet_start_time_seconds", "gauge", "When this server was made, in Unix time.",
		"", strconv.FormatFloat(float64(s.started.UnixMilli())/1e3, 'f', -1, 64))
	family(w, "freshet_config_reloads_total", "counter", "Reloads that took effect.",
		"", strconv.FormatUint(s.reloads.Load(), 10))
	family(w, "freshet_config_reload_failures_total", "counter", "Reloads refused; the configuration before stays.",
		"", strconv.FormatUint(s.reloadFailures.Load(), 10))
	family(w, "freshet_connections", "gauge", "Connections of clients.",
		"", strconv.Itoa(s.connections.count()))
	family(w, "freshet_max_connections", "gauge", "Connections of clients that there may be.",
		"", strconv.Itoa(s.config.MaxConnections))
	family(w, "freshet_connections_closed_total", "counter", "Idle connections closed to make room for others.",
		"", strconv.FormatUint(s.connections.closed.Load(), 10))
	family(w, "freshet_connections_refused_total", "counter", "Connections beyond the limits, told 503 or closed.",
		"", strconv.FormatUint(s.connections.refused.Load(), 10))
}

// processMetrics are those of the process and the Go runtime, by the names that
// Prometheus' own clients give them. HELP and TYPE are the program's choice, by
// metrics.ExposeMetadata.
type processMetrics struct{}

// WriteMetrics implements cachefetch.MetricsSource.
func (processMetrics) WriteMetrics(w io.Writer) {
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// family writes a metric family of one sample.
func family(w io.Writer, name, kind, help, labels, value string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s%s %s\n", name, help, name, kind, name, labels, value)
}

// label quotes a label value.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}
