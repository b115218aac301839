package metrics

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	library "github.com/VictoriaMetrics/metrics"
)

func written(s Source) string {
	var b bytes.Buffer
	s.WriteMetrics(&b)
	return b.String()
}

func TestGroupWrites(t *testing.T) {
	g := NewGroup("cache", `a"b`)
	g.Counter("x_total", "Counts x.", "route", "/a\nb").Add(3)
	g.Counter("x_total", "Counts x.", "route", `/c\d`).Inc()
	g.Func("y_bytes", "Bytes of y.", KindGauge, func() float64 { return 1 << 40 })
	g.Func("z", "Half.", KindGauge, func() float64 { return 0.5 })
	want := `# HELP x_total Counts x.
# TYPE x_total counter
x_total{cache="a\"b",route="/a\nb"} 3
x_total{cache="a\"b",route="/c\\d"} 1
# HELP y_bytes Bytes of y.
# TYPE y_bytes gauge
y_bytes{cache="a\"b"} 1099511627776
# HELP z Half.
# TYPE z gauge
z{cache="a\"b"} 0.5
`
	if got := written(g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSameLabelsSameMetric(t *testing.T) {
	g := NewGroup("cache", "a")
	v := g.Counter("n", "", "k", "v")
	if again, w := g.Counter("n", "", "k", "v"), g.Counter("n", "", "k", "w"); again != v || w == v {
		t.Error("counters are not told apart by their labels alone")
	}
	h := g.Histogram("h", "")
	if again := g.Histogram("h", ""); again != h {
		t.Error("a second histogram for the same labels")
	}
}

// Bounds belong to their own bucket, and what is beyond all of them counts.
func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-1, 0, 100 * time.Microsecond, 100*time.Microsecond + 1, 3 * time.Second, time.Hour} {
		h.Update(d)
	}
	for i := range uint64(10) {
		h.Instant(i)
	}
	if h.Count() != 16 {
		t.Errorf("counted %d", h.Count())
	}
	var b bytes.Buffer
	h.write(&b, "h", `{a="b"}`)
	for _, want := range []string{
		`h_bucket{a="b",le="0.0001"} 13`, `h_bucket{a="b",le="0.00025"} 14`, `h_bucket{a="b",le="2"} 14`,
		`h_bucket{a="b",le="3"} 15`, `h_bucket{a="b",le="60"} 15`, `h_bucket{a="b",le="+Inf"} 16`,
		`h_sum{a="b"} 3603.000200001`, `h_count{a="b"} 16`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%s is missing in\n%s", want, b.String())
		}
	}
}

func TestRegister(t *testing.T) {
	g, same, other := NewGroup("cache", "reg"), NewGroup("cache", "reg"), NewGroup("upstream", "reg")
	g.Counter("reg_total", "Counts.").Inc()
	exposed := func() bool {
		var b bytes.Buffer
		library.WritePrometheus(&b, false)
		return strings.Contains(b.String(), `reg_total{cache="reg"} 1`)
	}
	if !g.Register() || !exposed() {
		t.Error("not registered")
	}
	if same.Register() {
		t.Error("a second group of the same name was registered")
	}
	same.Unregister() // it never was
	if !other.Register() || !exposed() {
		t.Error("a group with another label was refused")
	}
	other.Unregister()
	g.Unregister()
	g.Unregister()
	if exposed() {
		t.Error("still exposed")
	}
	if !same.Register() {
		t.Error("the name was not given back")
	}
	same.Unregister()
}

// A scrape that names a family twice, or has a label that is no UTF-8, is
// refused as a whole.
func TestRegisteredGroupsShareTheirFamilies(t *testing.T) {
	for _, name := range []string{"b", "a\xff", "c"} {
		g := NewGroup("cache", name)
		g.Store(func() Store { return Store{Bytes: 7} })
		g.Histogram("own_seconds", "Takes.").Update(time.Second)
		if !g.Register() {
			t.Fatal(name)
		}
		defer g.Unregister()
	}
	var b bytes.Buffer
	library.WritePrometheus(&b, false)
	if !utf8.Valid(b.Bytes()) {
		t.Error("not UTF-8")
	}
	seen := make(map[string]bool) // families, and lines of HELP and TYPE
	var family string
	for line := range strings.Lines(b.String()) {
		name, _, _ := strings.Cut(line, "{")
		if strings.HasPrefix(line, "#") {
			name = strings.Fields(line)[2]
			if about := strings.Join(strings.Fields(line)[:3], " "); seen[about] {
				t.Errorf("twice: %s", about)
			} else {
				seen[about] = true
			}
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if name != family && seen[name] {
			t.Errorf("%s stands in two places", name)
		}
		family = name
		seen[name] = true
	}
	if got := strings.Count(b.String(), "freshet_bytes{cache="); got != 3 {
		t.Errorf("%d series of freshet_bytes in\n%s", got, b.String())
	}
}

func TestConcurrent(t *testing.T) {
	g := NewGroup("cache", "a")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				g.Counter("n_total", "", "j", fmt.Sprint(j%5)).Inc()
				h := g.Histogram("h", "")
				h.Update(time.Duration(j) * time.Millisecond)
				h.Instant(uint64(i))
				if j%50 == 0 {
					g.WriteMetrics(io.Discard)
				}
			}
		})
	}
	wg.Wait()
	if got := written(g); !strings.Contains(got, `h_count{cache="a"} 3200`) || !strings.Contains(got, `n_total{cache="a",j="0"} 320`) {
		t.Error(got)
	}
}

type text string

func (s text) WriteMetrics(w io.Writer) { _, _ = io.WriteString(w, string(s)) }

func TestMerge(t *testing.T) {
	var b bytes.Buffer
	Merge(&b,
		text("# HELP a A.\n# TYPE a counter\na{x=\"1\"} 1\n# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 3\n"),
		text("# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n# TYPE a counter\na{x=\"2\"} 2\n"),
		text(""),
		text("# TYPE h histogram\nh_sum{y=\"2\"} 4\n"),
	)
	want := `# HELP a A.
# TYPE a counter
a{x="1"} 1
a{x="2"} 2
# HELP h H.
# TYPE h histogram
h_bucket{le="1"} 2
h_sum 3
h_sum{y="2"} 4
# HELP b B.
# TYPE b gauge
b 1
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
