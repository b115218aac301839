//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/load"
	"github.com/freshet-go/freshet/benchmarks/internal/proc"
	"github.com/freshet-go/freshet/benchmarks/internal/slow"
)

// measured makes a row with a mean latency, from which the rest follows.
func measured(stage, phase string, rate float64, mean time.Duration) row {
	return row{Stage: stage, Phase: phase, Rate: rate, PeakRSS: 100 << 20, Load: load.Result{
		Due: 1000, Good: 1000, Scheduled: time.Second, Took: time.Second,
		Latency: load.Latency{Mean: mean, P50: mean, P95: 2 * mean, P99: 3 * mean},
	}}
}

func TestMedianRowIsWhole(t *testing.T) {
	res := results{Rows: []row{
		measured("naive", phaseLight, light, 3*time.Second),
		measured("naive", phaseLight, light, 1*time.Second),
		measured("naive", phaseOffered, offered, 9*time.Second),
		measured("naive", phaseLight, light, 2*time.Second),
	}}
	r := res.median(which{Stage: "naive", Phase: phaseLight})
	if r == nil || r.Load.Latency.Mean != 2*time.Second || r.Load.Latency.P95 != 4*time.Second {
		t.Errorf("%+v", r)
	}
	if r := res.median(which{Stage: "naive", Phase: phaseLight, TLS: true}); r != nil {
		t.Errorf("measured nothing, got %+v", r)
	}
}

// find returns the bars whose claim or text holds both words.
func find(t *testing.T, res *results, claim, text string) bar {
	t.Helper()
	for _, b := range res.bars() {
		if strings.Contains(b.Claim, claim) && strings.Contains(b.Bar, text) {
			return b
		}
	}
	t.Fatalf("no bar with %q and %q", claim, text)
	return bar{}
}

func TestBarsSayWhatWasMissed(t *testing.T) {
	res := results{Rows: []row{
		measured("naive", phaseOffered, offered, 2*time.Second),
		measured("pool", phaseOffered, offered, 900*time.Millisecond),
	}}
	if b := find(t, &res, "pool", "mean"); !b.Holds || !strings.Contains(b.Measured, "55 % lower") {
		t.Errorf("%+v", b)
	}
	res.Rows[1].Load.Latency.Mean = 1100 * time.Millisecond
	if b := find(t, &res, "pool", "mean"); b.Holds {
		t.Errorf("45 %% lower holds: %+v", b)
	}

	side := measured("side by side", phaseLight, light, time.Second)
	side.PageMean, side.SlowestMean = 419*time.Millisecond, 400*time.Millisecond
	res.Rows = append(res.Rows, side)
	if b := find(t, &res, "side by side", "slowest"); !b.Holds {
		t.Errorf("%+v", b)
	}
	res.Rows[2].PageMean = 421 * time.Millisecond
	if b := find(t, &res, "side by side", "slowest"); b.Holds {
		t.Errorf("%+v", b)
	}
}

func TestCacheAndTogetherBars(t *testing.T) {
	cold := measured("cache", phaseOffered, offered, 200*time.Millisecond)
	cold.Hits, cold.CacheSeen = 71, 100
	warm := measured("cache", phaseWarm, offered, 3*time.Millisecond)
	res := results{Rows: []row{measured("naive", phaseOffered, offered, time.Second), cold, warm,
		measured("together", phaseSustained, 1000, time.Millisecond)}}
	if b := find(t, &res, "cache", "hit ratio"); !b.Holds || !strings.Contains(b.Measured, "71.0 %") {
		t.Errorf("%+v", b)
	}
	if b := find(t, &res, "cache", "cold start"); !b.Holds {
		t.Errorf("p95 of 400 ms: %+v", b)
	}
	if b := find(t, &res, "cache", "when warm"); b.Holds {
		t.Errorf("p95 of 6 ms: %+v", b)
	}
	if b := find(t, &res, "together", "10,000"); b.Holds {
		t.Errorf("1,000 a second: %+v", b)
	}
}

func TestLimiterBars(t *testing.T) {
	off := measured("naive", phaseOverload, 4000, 10*time.Second)
	on := measured("limiter", phaseOverload, 4000, time.Second)
	off.PeakRSS = 400 << 20
	on.Load.Scheduled = 6 * time.Second
	on.RSS = []int64{10, 50, 100, 100, 108, 109, 999} // the last is after the end
	res := results{Rows: []row{off, on}}
	for _, text := range []string{"peak memory", "flat", "unanswered"} {
		if b := find(t, &res, "limiter", text); !b.Holds {
			t.Errorf("%+v", b)
		}
	}
	res.Rows[1].PeakRSS++
	res.Rows[1].RSS[4], res.Rows[1].RSS[5] = 130, 140
	res.Rows[1].Load.Failed = 1
	for _, text := range []string{"peak memory", "flat", "unanswered"} {
		if b := find(t, &res, "limiter", text); b.Holds {
			t.Errorf("%+v", b)
		}
	}
}

func TestReportAndChart(t *testing.T) {
	over := measured("limiter", phaseOverload, 4000, time.Second)
	over.RSS = []int64{1 << 20, 2 << 20}
	over.Load.Failures = map[string]int{" connection reset": 3}
	res := results{Scale: 0.5, Turns: 3, Rows: []row{
		measured("naive", phaseOffered, offered, 2*time.Second), measured("pool", phaseOffered, offered, time.Second),
		measured("naive", phaseOverload, 4000, time.Second), over,
	}, Hey: []heyRow{{Stage: "naive", PerSecond: 100, P50: time.Second}}}
	text := res.markdown()
	for _, want := range []string{"s = 1.0 over 100000", "scenario -scale 0.5 -turns 3`", "| pool | 5000 | 1000 |", "50 % lower", "3 x connection reset", "| naive | 100 | 1.00 s |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "%!") {
		t.Errorf("formats do not fit in\n%s", text)
	}
	var columns int
	for line := range strings.Lines(text) { // every table has as many cells in each row
		n := strings.Count(line, "|")
		if columns > 0 && n > 0 && n != columns {
			t.Errorf("%d cells, not %d: %s", n, columns, line)
		}
		columns = n
	}
	d := xml.NewDecoder(strings.NewReader(res.chart()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRowCounts(t *testing.T) {
	at := time.Now()
	before := counts{at: at, usage: proc.Usage{CPU: time.Second}, upstreams: []slow.Stats{{Requests: 5, Connections: 5}, {}}}
	after := counts{at: at.Add(2 * time.Second), usage: proc.Usage{CPU: 2 * time.Second, PeakRSS: 7},
		upstreams: []slow.Stats{{Requests: 105, Connections: 15, Peak: 9}, {Requests: 100, Connections: 10}},
		service:   serviceStats{Pages: 100, PageTime: 100 * time.Second, SlowestCalls: 50 * time.Second, Hits: 60, Requests: 100, GC: 100 * time.Millisecond, Busy: time.Second}}
	var r row
	r.Load.Good = 50
	r.add(before, after)
	if r.CPU != 0.5 || r.GC != 0.1 || r.PeakRSS != 7 || r.Dialled != 20 || r.Calls != 200 || r.Reuse() != 0.9 || r.HitRatio() != 0.6 ||
		r.CallsPerRequest() != 4 || r.PageMean != time.Second || r.SlowestMean != time.Second/2 || r.UpstreamPeak != 9 {
		t.Errorf("%+v", r)
	}
}

func TestReadHey(t *testing.T) {
	const head = "response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset\n"
	h, err := readHey(strings.NewReader(head+"0.1000,0,0,0,0,0,200,0\n0.3000,0,0,0,0,0,200,0\n9.0000,0,0,0,0,0,503,0\n"), 2*time.Second)
	if err != nil || h.Good != 2 || h.All != 3 || h.PerSecond != 1 || h.P50 != 100*time.Millisecond {
		t.Errorf("%+v, %v", h, err)
	}
	for _, bad := range []string{head + "x,0,0,0,0,0,200,0\n", "a,b\n1,2\n"} {
		if h, err := readHey(strings.NewReader(bad), time.Second); err == nil {
			t.Errorf("%q: %+v", bad, h)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 900 * time.Microsecond: "900 µs", 1500 * time.Microsecond: "1.5 ms", 420 * time.Millisecond: "420 ms", 2346 * time.Millisecond: "2.35 s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", int64(d), got, want)
		}
	}
}
