//go:build linux

package main

import (
	"fmt"
	"math"
	"time"
)

// A bar is a claim, what is to be shown of it, and what was.
type bar struct {
	Claim, Bar, Measured string
	Holds                bool
}

// bars returns the claims that there are measurements of.
func (res *results) bars() (bars []bar) {
	for _, group := range []func() []bar{res.poolBars, res.sideBars, res.cacheBars, res.togetherBars, res.limiterBars} {
		bars = append(bars, group()...)
	}
	return bars
}

func (res *results) poolBars() (bars []bar) {
	for _, w := range []which{
		{Phase: phaseOffered},
		{Phase: phaseOffered, TLS: true},
		{Phase: phaseBusy},
		{Phase: phaseLight},
		{Phase: phaseLight, TLS: true},
	} {
		w.Stage = "naive"
		naive := res.median(w)
		w.Stage = "pool"
		pool := res.median(w)
		if naive == nil || pool == nil {
			continue
		}
		a, b := naive.Load.Latency.Mean, pool.Load.Latency.Mean
		less := 1 - float64(b)/float64(a)
		claim := fmt.Sprintf("pool, %.0f requests/s", pool.Rate)
		if w.TLS {
			claim += ", TLS"
		}
		bars = append(bars, bar{claim, "mean latency 50 to 70 % lower than with the default client",
			fmt.Sprintf("%s instead of %s: %.0f %% lower; good answers %.0f/s instead of %.0f/s, failed %s instead of %s", short(b), short(a), math.Round(100*less)+0, // not -0
				pool.Load.GoodPerSecond(), naive.Load.GoodPerSecond(), percent(pool.failed()), percent(naive.failed())), less >= 0.5})
	}
	return bars
}

func (res *results) sideBars() (bars []bar) {
	for _, w := range []which{
		{Stage: "side by side", Phase: phaseLight},
		{Stage: "side by side", Phase: phaseLight, LogNormal: true},
		{Stage: "side by side", Phase: phaseOffered},
		{Stage: "together", Phase: phaseOffered},
	} {
		r := res.median(w)
		if r == nil || r.SlowestMean == 0 {
			continue
		}
		over := float64(r.PageMean)/float64(r.SlowestMean) - 1
		bars = append(bars, bar{fmt.Sprintf("side by side (%v, %.0f requests/s)", w, r.Rate), "page takes its slowest call and at most 5 %",
			fmt.Sprintf("page %s, slowest call %s: %+.1f %%", short(r.PageMean), short(r.SlowestMean), 100*over), over <= 0.05})
	}
	return bars
}

func (res *results) cacheBars() (bars []bar) {
	naive := res.median(which{Stage: "naive", Phase: phaseOffered})
	for _, stage := range []string{"cache", "together"} {
		cold := res.median(which{Stage: stage, Phase: phaseOffered})
		warm := res.median(which{Stage: stage, Phase: phaseWarm})
		if cold == nil || warm == nil || naive == nil {
			continue
		}
		what := "cache alone"
		if stage == "together" {
			what = "cache, together with the rest"
		}
		p95 := cold.Load.Latency.P95
		bars = append(bars,
			bar{what, "hit ratio at least 70 % at Zipf 1.0, 100,000 ids",
				fmt.Sprintf("%s in the first %v, empty at first (and %s joined another's run); %s when warm", percent(cold.HitRatio()),
					cold.Load.Scheduled, percent(ratio(cold.Coalesced, cold.CacheSeen)), percent(warm.HitRatio())), cold.HitRatio() >= 0.7},
			bar{what, "p95 from seconds to less than 500 ms, cold start included",
				fmt.Sprintf("%s, naive %s", short(p95), short(naive.Load.Latency.P95)), p95 < 500*time.Millisecond},
			bar{what, "p95 less than 5 ms when warm", short(warm.Load.Latency.P95), warm.Load.Latency.P95 < 5*time.Millisecond})
	}
	return bars
}

func (res *results) togetherBars() (bars []bar) {
	r := res.median(which{Stage: "together", Phase: phaseSustained})
	if r == nil {
		return nil
	}
	good := r.Load.GoodPerSecond()
	return []bar{{"together", "at least 10,000 requests/s sustained on 2 cores, p95 less than 500 ms",
		fmt.Sprintf("%d of %d requests answered well, %.0f/s in the second half; p95 %s; the service used %.2f cores", r.Load.Good, r.Load.Due, good, short(r.Load.Latency.P95), r.CPU),
		good >= 0.99*sustained && r.Load.Latency.P95 < 500*time.Millisecond && r.Load.Good == r.Load.Due}}
}

func (res *results) limiterBars() (bars []bar) {
	for _, p := range []struct{ phase, what string }{
		{phaseOverload, "upstreams are the bottleneck"},
		{phaseProcessors, "processors are the bottleneck"},
	} {
		off := res.median(which{Stage: "naive", Phase: p.phase})
		on := res.median(which{Stage: "limiter", Phase: p.phase})
		if off == nil || on == nil {
			continue
		}
		claim := fmt.Sprintf("limiter, %.0f requests/s, %s", on.Rate, p.what)
		less := 1 - float64(on.PeakRSS)/float64(off.PeakRSS)
		a, b := off.Load.GoodPerSecond(), on.Load.GoodPerSecond()
		lost := on.Load.Unanswered + on.Load.Failed + on.Load.Wrong
		middle, last := on.flat()
		bars = append(bars,
			bar{claim, "at least 75 % less peak memory", fmt.Sprintf("%s instead of %s: %.0f %% less", mib(on.PeakRSS), mib(off.PeakRSS), 100*less), less >= 0.75},
			bar{claim, "at most 10 % fewer good answers", fmt.Sprintf("%.0f/s instead of %.0f/s", b, a), b >= 0.9*a},
			bar{claim, "none unanswered", fmt.Sprintf("%d of %d neither 200 nor 503; %d without the limiter", lost, on.Load.Due,
				off.Load.Unanswered+off.Load.Failed+off.Load.Wrong), lost == 0},
			bar{claim, "memory is flat", fmt.Sprintf("%s in the middle third of the run, %s in the last", mib(middle), mib(last)),
				middle > 0 && float64(last) <= 1.1*float64(middle)})
	}
	return bars
}
