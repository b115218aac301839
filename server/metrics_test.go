package server

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// metricFamily is one family of a scrape.
type metricFamily struct {
	help, kind string
	samples    map[string]float64 // by name and labels, labels as written
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)`)
)

// parseMetrics reads the Prometheus text format and accepts only what is
// beyond doubt: families in one piece, HELP and TYPE once and first, each
// series once, counters that do not fall below zero, histograms whose buckets
// add up.
func parseMetrics(text string) (map[string]*metricFamily, error) {
	families := make(map[string]*metricFamily)
	current := ""
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("does not end with a newline")
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("line %d: %q: %s", i+1, line, fmt.Sprintf(format, args...))
		}
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			if families[name] != nil {
				return nil, fail("family twice")
			}
			if help == "" {
				return nil, fail("no help")
			}
			families[name] = &metricFamily{help: help, samples: make(map[string]float64)}
			current = name
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			f := families[name]
			switch {
			case f == nil || name != current:
				return nil, fail("TYPE without HELP before it")
			case f.kind != "" || len(f.samples) > 0:
				return nil, fail("TYPE is not the second line of its family")
			case kind != "counter" && kind != "gauge" && kind != "histogram":
				return nil, fail("unknown type")
			}
			f.kind = kind
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fail("not a sample")
		}
		f := families[current]
		if ofProcess(m[1]) { // the library says their types only if a program asks it to
			current = m[1]
			if f = families[current]; f == nil {
				f = &metricFamily{kind: "untyped", samples: make(map[string]float64)}
				families[current] = f
			}
			m[3] = strings.ReplaceAll(m[3], `", `, `",`)
		}
		if f == nil || f.kind == "" {
			return nil, fail("sample before HELP and TYPE")
		}
		if !belongs(m[1], current, f.kind) {
			return nil, fail("not of the family %s", current)
		}
		if err := checkLabels(m[3]); err != nil {
			return nil, fail("%v", err)
		}
		v, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			return nil, fail("bad value")
		}
		series := m[1] + m[2]
		if _, ok := f.samples[series]; ok {
			return nil, fail("series twice")
		}
		if f.kind != "gauge" && f.kind != "untyped" && (v < 0 || math.IsNaN(v)) {
			return nil, fail("negative")
		}
		f.samples[series] = v
	}
	for name, f := range families {
		if len(f.samples) == 0 {
			return nil, fmt.Errorf("family %s has no samples", name)
		}
		if f.kind == "counter" && !strings.HasSuffix(name, "_total") {
			return nil, fmt.Errorf("counter %s does not end in _total", name)
		}
		if f.kind == "histogram" {
			if err := checkHistogram(name, f); err != nil {
				return nil, err
			}
		}
	}
	return families, nil
}

// ofProcess reports whether a sample is of the process or the Go runtime.
func ofProcess(sample string) bool {
	return strings.HasPrefix(sample, "go_") || strings.HasPrefix(sample, "process_")
}

func belongs(sample, family, kind string) bool {
	if kind != "histogram" {
		return sample == family
	}
	return sample == family+"_bucket" || sample == family+"_sum" || sample == family+"_count"
}

func checkLabels(s string) error {
	seen := make(map[string]bool)
	for s != "" {
		m := labelPair.FindStringSubmatch(s)
		if m == nil {
			return fmt.Errorf("bad labels at %q", s)
		}
		if seen[m[1]] {
			return fmt.Errorf("label %s twice", m[1])
		}
		seen[m[1]] = true
		s = s[len(m[0]):]
	}
	return nil
}

var leLabel = regexp.MustCompile(`,?le="([^"]*)"`)

// checkHistogram wants cumulative buckets up to +Inf, equal to the count, and
// a sum, for each set of labels.
func checkHistogram(name string, f *metricFamily) error {
	type point struct{ le, count float64 }
	buckets := make(map[string][]point)
	for series, v := range f.samples {
		rest, ok := strings.CutPrefix(series, name+"_bucket")
		if !ok {
			continue
		}
		m := leLabel.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("%s: no le", series)
		}
		le, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return fmt.Errorf("%s: bad le", series)
		}
		labels := strings.Replace(leLabel.ReplaceAllString(rest, ""), "{}", "", 1)
		buckets[labels] = append(buckets[labels], point{le, v})
	}
	if len(buckets) == 0 {
		return fmt.Errorf("histogram %s has no buckets", name)
	}
	for labels, points := range buckets {
		count, ok := f.samples[name+"_count"+labels]
		if !ok {
			return fmt.Errorf("%s%s: no count", name, labels)
		}
		if _, ok := f.samples[name+"_sum"+labels]; !ok {
			return fmt.Errorf("%s%s: no sum", name, labels)
		}
		infinite := false
		for _, p := range points {
			infinite = infinite || math.IsInf(p.le, 1) && p.count == count
			for _, q := range points {
				if p.le < q.le && p.count > q.count {
					return fmt.Errorf("%s%s: bucket %v holds more than bucket %v", name, labels, p.le, q.le)
				}
			}
		}
		if !infinite {
			return fmt.Errorf("%s%s: no bucket +Inf equal to the count", name, labels)
		}
	}
	return nil
}

// The parser would be of no use if it took everything.
func TestParseMetricsIsStrict(t *testing.T) {
	const head = "# HELP a_total A.\n# TYPE a_total counter\n"
	if _, err := parseMetrics(head + "a_total{x=\"1\",y=\"\\\"\"} 5\na_total 3.5\ngo_a 1\ngo_b{x=\"1\", y=\"2\"} 2\n"); err != nil {
		t.Errorf("good text refused: %v", err)
	}
	for _, bad := range []string{
		"", "a_total 1\n", "# TYPE a_total counter\na_total 1\n", "# HELP a_total A.\na_total 1\n",
		head, head + "a_total 1", head + "a_total 1\na_total 2\n", head + "b_total 1\n", head + "a_total -1\n",
		head + "a_total{x=1} 1\n", head + "a_total{x=\"1\",x=\"2\"} 1\n", head + "a_total one\n",
		"go_a 1\ngo_a 1\n", "go_a 1\nb 1\n", "go_a{x=1} 1\n",
		head + "a_total 1\n" + head + "a_total{x=\"1\"} 1\n",
		"# HELP a A.\n# TYPE a counter\na 1\n",
		"# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
		"# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
		"# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n",
	} {
		if _, err := parseMetrics(bad); err == nil {
			t.Errorf("accepted:\n%s", bad)
		}
	}
}

func TestMetrics(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		_, _ = io.WriteString(w, "x")
	})
	c := testConfig(up)
	c.Name = `edge "1"`
	c.Routes = append(c.Routes, Route{Pattern: "/p/{id:[0-9]+}", Upstream: "app"})
	s, client := start(t, c, Options{Version: "v1.2.3"}), testClient(t)
	for _, path := range []string{"/p/1?cc=max-age=60", "/p/1?cc=max-age=60", "/p/2?cc=no-store", "/other"} {
		fetch(t, client, "GET", s.base+path, nil)
	}
	if _, err := s.Reload(c); err != nil { // the same routes again: no series twice
		t.Fatal(err)
	}
	fetch(t, client, "GET", s.base+"/p/1?cc=max-age=60", nil)
	if _, err := s.Reload(Config{}); err == nil {
		t.Fatal("empty configuration accepted")
	}

	resp, text := fetch(t, client, "GET", s.admin+"/metrics", nil)
	if got, want := resp.Header.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8"; got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	families, err := parseMetrics(text)
	if err != nil {
		t.Fatal(err)
	}
	value := func(family, series string) float64 {
		t.Helper()
		f := families[family]
		if f == nil {
			t.Fatalf("no family %s in\n%s", family, text)
		}
		v, ok := f.samples[series]
		if !ok {
			t.Errorf("no series %s, only %v", series, f.samples)
		}
		return v
	}
	const labels = `{cache="edge \"1\"",route="/p/{id:[0-9]+}"`
	if v := value("freshet_request_duration_seconds", `freshet_request_duration_seconds_count`+labels+`,outcome="hit"}`); v != 2 {
		t.Errorf("%v hits, want 2", v)
	}
	if v := value("freshet_origin_calls_total", `freshet_origin_calls_total`+labels+`}`); v != 2 {
		t.Errorf("%v origin calls, want 2", v)
	}
	if v := value("freshet_config_reloads_total", "freshet_config_reloads_total"); v != 1 {
		t.Errorf("%v reloads, want 1", v)
	}
	if v := value("freshet_config_reload_failures_total", "freshet_config_reload_failures_total"); v != 1 {
		t.Errorf("%v failed reloads, want 1", v)
	}
	if len(families["freshet_not_stored_total"].samples) == 0 {
		t.Error("no reasons for what was not stored")
	}
	for _, name := range []string{
		"freshet_bytes", "freshet_max_bytes", "freshet_entries", "freshet_build_info",
		"go_goroutines", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes", "process_open_fds",
	} {
		f := families[name]
		if f == nil {
			t.Errorf("no family %s", name)
			continue
		}
		for series, v := range f.samples {
			if v <= 0 {
				t.Errorf("%s is %v", series, v)
			}
		}
	}
	if !strings.Contains(text, `freshet_build_info{version="v1.2.3",goversion="go1.`) {
		t.Error("no version")
	}
}

// A scraped is a whole scrape, by family.
type scraped map[string]*metricFamily

// scrape reads /metrics.
func scrape(t *testing.T, c *http.Client, admin string) (scraped, error) {
	t.Helper()
	_, text := fetch(t, c, "GET", admin+"/metrics", nil)
	return parseMetrics(text)
}

// value returns one series, NaN if it is not there.
func (s scraped) value(series string) float64 {
	for _, f := range s {
		if v, ok := f.samples[series]; ok {
			return v
		}
	}
	return math.NaN()
}
