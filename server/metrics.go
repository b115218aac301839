package server

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
)

// runtimeMetrics are read from the Go runtime, under the names that
// Prometheus' own client gives them where it has them.
var runtimeMetrics = []struct {
	source, name, kind, help string
}{
	{"/sched/goroutines:goroutines", "go_goroutines", "gauge", "Goroutines that exist."},
	{"/memory/classes/heap/objects:bytes", "go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects on the heap, dead ones not yet swept included."},
	{"/gc/heap/live:bytes", "go_gc_heap_live_bytes", "gauge", "Bytes of objects that were live at the last garbage collection."},
	{"/memory/classes/heap/stacks:bytes", "go_memstats_stack_inuse_bytes", "gauge", "Bytes of goroutine stacks."},
	{"/memory/classes/total:bytes", "go_memstats_sys_bytes", "gauge", "Bytes mapped by the Go runtime."},
	{"/gc/gomemlimit:bytes", "go_gc_gomemlimit_bytes", "gauge", "Memory limit of the Go runtime."},
	{"/gc/gogc:percent", "go_gc_gogc_percent", "gauge", "Heap growth target of the garbage collector."},
	{"/gc/cycles/total:gc-cycles", "go_gc_cycles_total", "counter", "Garbage collections."},
	{"/cpu/classes/gc/total:cpu-seconds", "go_gc_cpu_seconds_total", "counter", "Estimated CPU time spent on garbage collection."},
	{"/gc/heap/allocs:bytes", "go_memstats_alloc_bytes_total", "counter", "Bytes allocated on the heap."},
}

// processMetrics are those of a server and its process, beside those of its
// cache.
type processMetrics struct{ *Server }

// WriteMetrics implements cachefetch.MetricsSource.
func (s processMetrics) WriteMetrics(w io.Writer) {
	family(w, "freshet_build_info", "gauge", "What is running; the value is always 1.",
		fmt.Sprintf(`{version=%s,goversion=%s}`, label(s.opts.Version), label(runtime.Version())), 1)
	family(w, "freshet_start_time_seconds", "gauge", "When this server was made, in Unix time.", "", seconds(s.started.UnixNano()))
	family(w, "freshet_config_reloads_total", "counter", "Reloads that took effect.", "", float64(s.reloads.Load()))
	family(w, "freshet_config_reload_failures_total", "counter", "Reloads refused; the configuration before stays.", "", float64(s.reloadFailures.Load()))

	samples := make([]metrics.Sample, len(runtimeMetrics))
	for i, m := range runtimeMetrics {
		samples[i].Name = m.source
	}
	metrics.Read(samples)
	for i, m := range runtimeMetrics {
		switch v := samples[i].Value; v.Kind() {
		case metrics.KindUint64:
			family(w, m.name, m.kind, m.help, "", float64(v.Uint64()))
		case metrics.KindFloat64:
			family(w, m.name, m.kind, m.help, "", v.Float64())
		}
	}
	if p, ok := readProcess(); ok {
		family(w, "process_resident_memory_bytes", "gauge", "Resident memory.", "", p.resident)
		family(w, "process_cpu_seconds_total", "counter", "CPU time, user and system.", "", p.cpu)
		family(w, "process_open_fds", "gauge", "Open file descriptors.", "", p.files)
	}
}

// family writes a metric family of one sample.
func family(w io.Writer, name, kind, help, labels string, value float64) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s%s %s\n", name, help, name, kind, name, labels, number(value))
}

func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func seconds(nanos int64) float64 { return float64(nanos) / 1e9 }

// label quotes a label value.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}

type process struct{ resident, cpu, files float64 }

// readProcess reads /proc. It reports false where there is none.
func readProcess() (p process, ok bool) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return p, false
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return p, false
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return p, false
	}
	p.files = float64(len(files) - 1) // one is the directory just read
	if pages := strings.Fields(string(statm)); len(pages) > 1 {
		n, _ := strconv.ParseFloat(pages[1], 64)
		p.resident = n * float64(os.Getpagesize())
	}
	// The second field is the command in parentheses and may hold spaces; the
	// fields 14 and 15 are ticks of 1/100 s on every Linux.
	rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	if f := strings.Fields(rest); len(f) > 12 {
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		p.cpu = (user + system) / 100
	}
	return p, true
}
