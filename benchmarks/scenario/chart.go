//go:build linux

package main

import (
	"fmt"
	"math"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/chart"
)

const (
	grid = "#dddddd"
	blue = "#1f6fb4"
	red  = "#c8442f"
)

const (
	small = `font-size="11"`
	bold  = `font-size="14" font-weight="bold"`
)

// chart draws the stages at the offered load, and the memory under overload.
func (res *results) chart() string {
	c := chart.New(1000, 700)
	c.Text(20, 28, chart.Right, `font-size="17" font-weight="bold"`, "A page of three upstreams (300, 400, 200 ms), asked for 5,000 times a second")
	c.Text(20, 46, chart.Right, small, fmt.Sprintf("%d cores for upstreams, service and load together; open load, Zipf 1.0 over 100,000 ids", res.Machine.Cores))
	var rows []*row
	for _, w := range []which{
		{Stage: "naive", Phase: phaseOffered}, {Stage: "pool", Phase: phaseOffered}, {Stage: "side by side", Phase: phaseOffered},
		{Stage: "limiter", Phase: phaseOffered}, {Stage: "cache", Phase: phaseOffered}, {Stage: "cache", Phase: phaseWarm},
		{Stage: "together", Phase: phaseOffered}, {Stage: "together", Phase: phaseWarm},
	} {
		if r := res.median(w); r != nil {
			rows = append(rows, r)
		}
	}
	res.drawStages(c, rows)
	res.drawMemory(c)
	return c.SVG()
}

// label names a stage, and whether its cache was warm.
func label(r *row) string {
	switch {
	case r.CacheSeen == 0:
		return r.Stage
	case r.Phase == phaseWarm:
		return r.Stage + ", warm"
	}
	return r.Stage + ", cold start"
}

func (res *results) drawStages(c *chart.Canvas, rows []*row) {
	const top, pitch = 96.0, 34.0
	bottom := top + pitch*float64(len(rows))
	latency := chart.Log(1e-4, 20, 150, 620)
	answers := chart.Linear(0, 6000, 690, 960)
	c.Text(150, 76, chart.Right, bold, "Latency: p50, p95, p99 (logarithmic)")
	c.Text(690, 76, chart.Right, bold, "Good answers per second")
	for i, text := range []string{"0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"} {
		x := latency.At(1e-4 * math.Pow10(i))
		c.Line(x, top-8, x, bottom, grid, 1)
		c.Text(x, bottom+16, chart.Around, small, text)
	}
	for v := 0.0; v <= 6000; v += 2000 {
		c.Line(answers.At(v), top-8, answers.At(v), bottom, grid, 1)
		c.Text(answers.At(v), bottom+16, chart.Around, small, fmt.Sprintf("%.0f", v))
	}
	c.Line(answers.At(offered), top-8, answers.At(offered), bottom, "#888888", 1)
	for i, r := range rows {
		y := top + pitch*(float64(i)+0.4)
		color := red
		if r.CacheSeen > 0 {
			color = blue
		}
		l := r.Load.Latency
		at := func(d time.Duration) float64 { return latency.At(max(d.Seconds(), 1e-4)) }
		c.Text(140, y+4, chart.Left, "", label(r))
		c.Line(at(l.P50), y, at(l.P99), y, color, 3)
		c.Dot(at(l.P50), y, 6, color)
		c.Line(at(l.P95), y-7, at(l.P95), y+7, color, 3)
		c.Dot(at(l.P99), y, 4, color)
		good := r.Load.GoodPerSecond()
		c.Rect(answers.At(0), y-9, answers.At(good)-answers.At(0), 18, color)
		text := fmt.Sprintf("%.0f", good)
		if failed := r.failed(); failed >= 0.005 {
			text += fmt.Sprintf(", %.0f %% failed", 100*failed)
		}
		if refused := ratio(uint64(r.Load.Refused), uint64(r.Load.Due)); refused >= 0.005 {
			text += fmt.Sprintf(", %.0f %% refused", 100*refused)
		}
		c.Text(answers.At(good)+5, y+4, chart.Right, small, text)
	}
	c.Text(answers.At(offered), top-10, chart.Around, small, "offered")
	c.Text(150, bottom+34, chart.Right, small, "Large dot p50, bar p95, small dot p99, of good answers and of requests given up after 10 s.")
}

// drawMemory draws the service's memory at four times the capacity, with the
// limiter and without.
func (res *results) drawMemory(c *chart.Canvas) {
	off := res.median(which{Stage: "naive", Phase: phaseOverload})
	on := res.median(which{Stage: "limiter", Phase: phaseOverload})
	if off == nil || on == nil {
		return
	}
	const top, bottom = 470.0, 650.0
	end := max(len(off.RSS), len(on.RSS))
	seconds := chart.Linear(0, float64(max(end, 1)), 150, 820)
	highest := chart.Ceil(float64(max(off.PeakRSS, on.PeakRSS)) / (1 << 20))
	memory := chart.Linear(0, highest, bottom, top)
	c.Text(150, top-18, chart.Right, bold, fmt.Sprintf("Memory of the service at 4 times the capacity of its upstreams (%.0f requests per second)", on.Rate))
	for i := range 5 {
		v := highest * float64(i) / 4
		c.Line(150, memory.At(v), 820, memory.At(v), grid, 1)
		c.Text(142, memory.At(v)+4, chart.Left, small, fmt.Sprintf("%.0f MiB", v))
	}
	for s := 0; s <= end; s += 10 {
		c.Text(seconds.At(float64(s)), bottom+18, chart.Around, small, fmt.Sprintf("%d s", s))
	}
	for _, line := range []struct {
		r           *row
		color, text string
	}{{off, red, "no limiter"}, {on, blue, "limiter"}} {
		var xs, ys []float64
		for i, v := range line.r.RSS {
			xs = append(xs, seconds.At(float64(i+1)))
			ys = append(ys, memory.At(float64(v)/(1<<20)))
		}
		if len(xs) == 0 {
			continue
		}
		c.Path(xs, ys, line.color)
		last := len(xs) - 1
		c.Text(xs[last]+8, ys[last]+4, chart.Right, "", fmt.Sprintf("%s, %.0f good/s", line.text, line.r.Load.GoodPerSecond()))
	}
}
