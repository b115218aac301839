//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// which names rows: those of one stage, phase and kind of upstream.
type which struct {
	Stage, Phase   string
	TLS, LogNormal bool
}

func (r *row) which() which { return which{r.Stage, r.Phase, r.TLS, r.LogNormal} }

// median returns the row whose mean latency is the median of those of its
// kind, whole, so that its numbers belong together. It returns nil if there is
// none.
func (res *results) median(w which) *row {
	rows := res.all(w)
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.Load.Latency.Mean, b.Load.Latency.Mean) })
	return rows[(len(rows)-1)/2]
}

func (res *results) all(w which) (rows []*row) {
	for i := range res.Rows {
		if r := &res.Rows[i]; r.which() == w {
			rows = append(rows, r)
		}
	}
	return rows
}

// kinds returns what was measured in these phases, in the order of the plan.
func (res *results) kinds(phases ...string) (kinds []which) {
	for i := range res.Rows {
		w := res.Rows[i].which()
		if slices.Contains(phases, w.Phase) && !slices.Contains(kinds, w) {
			kinds = append(kinds, w)
		}
	}
	return kinds
}

func (w which) String() string {
	s := w.Stage
	if w.TLS {
		s += ", TLS"
	}
	if w.LogNormal {
		s += ", log-normal"
	}
	return s
}

// failed is the share of requests that were answered neither 200 nor 503.
func (r *row) failed() float64 {
	return ratio(uint64(r.Load.Wrong+r.Load.Failed+r.Load.Unanswered), uint64(r.Load.Due))
}

// flat returns the memory in the middle third of a phase and in its last one,
// each the median of its seconds.
func (r *row) flat() (middle, last int64) {
	seconds := r.RSS[:min(len(r.RSS), int(r.Load.Scheduled/time.Second))]
	third := len(seconds) / 3
	if third == 0 {
		return 0, 0
	}
	at := func(part []int64) int64 {
		part = slices.Sorted(slices.Values(part))
		return part[len(part)/2]
	}
	return at(seconds[third : 2*third]), at(seconds[2*third:])
}

// short writes a duration with three digits at most.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
