package demo

import (
	"fmt"
	"strings"
	"time"
)

// counts is the state of the demo at one time.
type counts struct {
	at            time.Time
	naive, fast   *interval // since the counts before
	naiveCalls    uint64
	fastCalls     uint64
	answered, all uint64 // by the cache, fresh or stale, out of all requests to it
}

// count takes the latencies since the last call; the rest is totals.
func (d *Demo) count(now time.Time) counts {
	c := counts{
		at:         now,
		naive:      d.naive.latency.take(),
		fast:       d.fast.latency.take(),
		naiveCalls: d.naive.calls.Load(),
		fastCalls:  d.fast.calls.Load(),
	}
	if cache := d.cache.Load(); cache != nil {
		s := cache.Stats()
		c.answered = s.Hits + s.Stale
		c.all = c.answered + s.Coalesced + s.Misses + s.Bypassed + s.Refused + s.Errors
	}
	return c
}

// carry returns c with the calls of a side that answered nothing since before
// set back to then: calls for requests that have not ended yet belong to the
// line that will tell of them.
func (c counts) carry(before counts) counts {
	if c.naive.total == 0 {
		c.naiveCalls = before.naiveCalls
	}
	if c.fast.total == 0 {
		c.fastCalls = before.fastCalls
	}
	return c
}

// summary is the line for the time between two counts, empty if no request
// ended in it.
func summary(last, next counts) string {
	if next.naive.total+next.fast.total == 0 {
		return ""
	}
	took := max(next.at.Sub(last.at).Seconds(), 1e-3)
	var b strings.Builder
	b.WriteString(next.at.Format("15:04:05"))
	if v := next.naive; v.total > 0 {
		fmt.Fprintf(&b, "  naive %6.0f req/s  p50 %s  p95 %s  origin calls %d", float64(v.total)/took,
			short(v.quantile(.5)), short(v.quantile(.95)), next.naiveCalls-last.naiveCalls)
	}
	if v := next.fast; v.total > 0 {
		if next.naive.total > 0 {
			b.WriteString("  |")
		}
		ratio := 0.0
		if all := next.all - last.all; all > 0 {
			ratio = 100 * float64(next.answered-last.answered) / float64(all)
		}
		fmt.Fprintf(&b, "  fast %6.0f req/s  p50 %s  p95 %s  hits %.1f%%  origin calls %d", float64(v.total)/took,
			short(v.quantile(.5)), short(v.quantile(.95)), ratio, next.fastCalls-last.fastCalls)
	}
	return b.String()
}

// short writes a duration with three digits or so.
func short(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return "<1µs"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	}
	return d.Round(time.Millisecond).String()
}
