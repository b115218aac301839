// Package metrics holds the counters and histograms of one cache or one
// transport, and writes them in the Prometheus text format, each family with
// HELP and TYPE. It is the only place that knows VictoriaMetrics/metrics, by
// which a program that exposes its own metrics with that library exposes
// Freshet's too.
//
// Metrics are made once, when a cache, a route or a host is first met, and
// held by pointer: to look one up by its name costs as much as a hit.
package metrics

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// A Counter counts up. It is safe for concurrent use.
type Counter = metrics.Counter

// A Kind is the type of a metric family.
type Kind string

// The kinds of Prometheus that are in use.
const (
	KindCounter   Kind = "counter"
	KindGauge     Kind = "gauge"
	KindHistogram Kind = "histogram"
)

// A Group is the metrics of one thing that has a name. All its series carry
// that name as a label. All methods may be called concurrently.
type Group struct {
	label string // name="value", escaped; what Register claims

	mu       sync.Mutex
	families []*family // guarded by mu; in the order in which they were made
}

type family struct {
	name, help string
	kind       Kind
	series     []*series          // in the order in which they were made
	byLabels   map[string]*series // the same
}

// A series has exactly one of counter, histogram and read.
type series struct {
	labels    string // in braces
	counter   *Counter
	histogram *Histogram
	read      func() float64
}

// NewGroup returns an empty group whose series have the label, such as
// "cache", with the value name.
func NewGroup(label, name string) *Group {
	return &Group{label: pair(label, name)}
}

// Counter returns the counter of a family with these labels, given as names
// and values in turn. The first call for them makes it.
func (g *Group) Counter(name, help string, labels ...string) *Counter {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seriesLocked(name, help, KindCounter, labels)
	if s.counter == nil {
		s.counter = new(Counter)
	}
	return s.counter
}

// Histogram returns the histogram of a family with these labels. The first
// call for them makes it, with [Buckets].
func (g *Group) Histogram(name, help string, labels ...string) *Histogram {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seriesLocked(name, help, KindHistogram, labels)
	if s.histogram == nil {
		s.histogram = new(Histogram)
	}
	return s.histogram
}

// Func adds a series, a counter or a gauge, whose value is read when it is
// written.
func (g *Group) Func(name, help string, kind Kind, read func() float64, labels ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seriesLocked(name, help, kind, labels).read = read
}

// seriesLocked returns the series of a family, both made if need be. There are
// few families, but a gateway has series for each of its routes.
func (g *Group) seriesLocked(name, help string, kind Kind, labels []string) *series {
	at := slices.IndexFunc(g.families, func(f *family) bool { return f.name == name })
	if at < 0 {
		at = len(g.families)
		g.families = append(g.families, &family{name: name, help: help, kind: kind, byLabels: make(map[string]*series)})
	}
	f := g.families[at]
	text := "{" + g.label
	for i := 0; i+1 < len(labels); i += 2 {
		text += "," + pair(labels[i], labels[i+1])
	}
	text += "}"
	s := f.byLabels[text]
	if s == nil {
		s = &series{labels: text}
		f.series = append(f.series, s)
		f.byLabels[text] = s
	}
	return s
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// pair returns a label. Names that programs choose may be no UTF-8, and then no
// scrape that has one would be read.
func pair(name, value string) string {
	return name + `="` + escaper.Replace(strings.ToValidUTF8(value, "\uFFFD")) + `"`
}

// WriteMetrics writes all families, in the order in which they were made.
func (g *Group) WriteMetrics(w io.Writer) {
	var b bytes.Buffer
	g.mu.Lock()
	for _, f := range g.families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, s := range f.series {
			switch {
			case s.counter != nil:
				fmt.Fprintf(&b, "%s%s %d\n", f.name, s.labels, s.counter.Get())
			case s.histogram != nil:
				s.histogram.write(&b, f.name, s.labels)
			case s.read != nil:
				fmt.Fprintf(&b, "%s%s %s\n", f.name, s.labels, number(s.read()))
			}
		}
	}
	g.mu.Unlock()
	_, _ = w.Write(b.Bytes())
}

// number writes whole numbers without an exponent, as long as they are exact.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// registered are the groups that are part of what the program writes with
// package VictoriaMetrics/metrics. They are written together, by one writer:
// families that several have are to stand in one place.
var registered struct {
	sync.Mutex
	listed bool              // guarded by Mutex; the writer is known to the library
	groups map[string]*Group // guarded by Mutex; by label
}

// Register makes g part of what the program writes with package
// VictoriaMetrics/metrics. It reports false if a registered group has the same
// label and name: their series could not be told apart.
func (g *Group) Register() bool {
	registered.Lock()
	defer registered.Unlock()
	if registered.groups[g.label] != nil {
		return false
	}
	if !registered.listed {
		registered.listed = true
		registered.groups = make(map[string]*Group)
		set := metrics.NewSet()
		set.RegisterMetricsWriter(writeRegistered)
		metrics.RegisterSet(set)
	}
	registered.groups[g.label] = g
	return true
}

// Unregister undoes Register, if it was done.
func (g *Group) Unregister() {
	registered.Lock()
	defer registered.Unlock()
	if registered.groups[g.label] == g {
		delete(registered.groups, g.label)
	}
}

func writeRegistered(w io.Writer) {
	registered.Lock()
	groups := make([]Source, 0, len(registered.groups))
	for _, label := range slices.Sorted(maps.Keys(registered.groups)) {
		groups = append(groups, registered.groups[label])
	}
	registered.Unlock()
	Merge(w, groups...)
}

// A Source writes metrics in the Prometheus text format.
type Source interface{ WriteMetrics(w io.Writer) }

// Merge writes the metrics of all sources so that each family stands in one
// place, as the format wants it, with its HELP and TYPE once.
func Merge(w io.Writer, sources ...Source) {
	var order []string
	heads, samples := make(map[string]*bytes.Buffer), make(map[string]*bytes.Buffer)
	for _, source := range sources {
		var b bytes.Buffer
		source.WriteMetrics(&b)
		name := "" // of the family that samples belong to
		fresh := true
		for line := range bytes.Lines(b.Bytes()) {
			if kind, rest, ok := comment(line); ok {
				if rest != name || kind == "HELP" {
					name, fresh = rest, heads[rest] == nil
				}
			}
			if heads[name] == nil {
				order = append(order, name)
				heads[name], samples[name] = new(bytes.Buffer), new(bytes.Buffer)
			}
			if line[0] != '#' {
				samples[name].Write(line)
			} else if fresh {
				heads[name].Write(line)
			}
		}
	}
	for _, name := range order {
		_, _ = w.Write(heads[name].Bytes())
		_, _ = w.Write(samples[name].Bytes())
	}
}

// comment returns what a HELP or TYPE line is, and the family it is about.
func comment(line []byte) (kind, name string, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 3 || string(fields[0]) != "#" {
		return "", "", false
	}
	kind = string(fields[1])
	return kind, string(fields[2]), kind == "HELP" || kind == "TYPE"
}
