//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown is the report.
func (res *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The scenario, before and after

Written by %[1]s on this machine: %[2]v. Load averages before and after: %[3]s and %[4]s. The run took %[5]v.

A page needs three upstreams, of 300, 400 and 200 ms. Upstreams, service and load generator are processes of one machine
and share its processors. Ids are drawn by Zipf's law, s = %.1[6]f over %[7]d. The load is open: requests come at random
(Poisson) at the rate given, whatever the service does, and latency counts from the moment a request was due. One without
an answer after %[8]v is unanswered. At most %[9]d are in flight, since a process has a limited number of sockets: more wait,
and their latency counts. Latencies are of good answers and of requests that were given up, which count with those %[8]v; errors
can be quick, and are counted as failed. Of %[10]d turns each row shows the one whose mean
latency is the median. Reuse is the share of upstream calls on a connection that was there already. A hit is an answer from the
store; requests that joined another's run are not counted as hits. Good answers/s are of the second half of a phase.

![latency and throughput by stage, and memory under overload](scenario.svg)

## What was to be shown

| claim | bar | measured | holds |
|---|---|---|---|
`, "`go run ./benchmarks/scenario"+res.arguments()+"`", res.Machine, res.Machine.LoadBefore, res.Machine.LoadAfter, res.Took.Round(1e9),
		zipfS, ids, loadTimeout, maxInFlight, res.Turns)
	var missed []string
	for _, bar := range res.bars() {
		holds := "yes"
		if !bar.Holds {
			holds = "**no**"
			missed = append(missed, bar.Claim+": "+bar.Bar)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", bar.Claim, bar.Bar, bar.Measured, holds)
	}
	if len(missed) > 0 {
		b.WriteString("\n" + strings.TrimSpace(why) + "\n")
	}
	res.section(&b, "5,000 requests a second", "The seed's service. Caches are empty at first.", phaseOffered)
	res.section(&b, "3,000 requests a second", "What the pool can serve on this machine.", phaseBusy)
	res.section(&b, "200 requests a second", "No stage is busy: what is left is the time that calls take.", phaseLight)
	res.section(&b, "Warm, and more", "After every id was asked for once.", phaseWarm, phaseSustained, phaseBeyond)
	res.section(&b, "Overload", fmt.Sprintf(`Four times what can be served. First the upstreams are the bottleneck: each works on %d requests at once, which for the
slowest of them makes 1,000 a second. Then it is the processors: the naive service does %.0f a second here.`,
		int(upstreamCapacity*theUpstreams[1].Delay.Seconds()), res.Capacity), phaseOverload, phaseProcessors)
	res.failures(&b)
	res.heySection(&b)
	return b.String()
}

func (res *results) arguments() string {
	if res.Scale == 1 {
		return ""
	}
	return fmt.Sprintf(" -scale %v -turns %d", res.Scale, res.Turns)
}

func (res *results) section(b *strings.Builder, title, text string, phases ...string) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", title, text)
	b.WriteString("| stage | offered/s | good/s | refused | failed | mean | p50 | p95 | p99 | means of all turns | cores | cores of the others | GC | peak RSS | goroutines | dialled | reuse | hit ratio | upstream calls per good answer |\n")
	b.WriteString(strings.Repeat("|---", 19) + "|\n")
	for _, w := range res.kinds(phases...) {
		r := res.median(w)
		l := &r.Load
		hits := "-"
		if r.CacheSeen > 0 {
			hits = percent(r.HitRatio())
		}
		var means []string
		for _, turn := range res.all(w) {
			means = append(means, short(turn.Load.Latency.Mean))
		}
		fmt.Fprintf(b, "| %v | %.0f | %.0f | %s | %s | %s | %s | %s | %s | %s | %.2f | %.2f | %s | %s | %d | %d | %s | %s | %.2f |\n", w, r.Rate,
			l.GoodPerSecond(), percent(ratio(uint64(l.Refused), uint64(l.Due))), percent(r.failed()),
			short(l.Latency.Mean), short(l.Latency.P50), short(l.Latency.P95), short(l.Latency.P99), strings.Join(means, ", "),
			r.CPU, r.OthersCPU, percent(r.GC), mib(r.PeakRSS), r.Goroutines, r.Dialled, percent(r.Reuse()), hits, r.CallsPerRequest())
	}
}

// failures says how stages failed.
func (res *results) failures(b *strings.Builder) {
	b.WriteString("\n## How it failed\n\n| stage | phase | in flight at most | no answer in time | of these never sent | other failures | errors of upstream calls | errors of the service's server | generator late, p99 |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range res.kinds(phaseOffered, phaseBusy, phaseSustained, phaseBeyond, phaseOverload, phaseProcessors) {
		r := res.median(w)
		l := &r.Load
		fmt.Fprintf(b, "| %v | %s | %d | %d | %d | %s | %s | %d | %s |\n", w, w.Phase, l.PeakInFlight, l.Unanswered, l.Unsent,
			list(l.Failures), list(r.Errors), r.ServerErrors, short(l.Lag.P99))
	}
}

// list writes causes and how often each was one.
func list(causes map[string]int) string {
	var texts []string
	for _, text := range slices.Sorted(maps.Keys(causes)) {
		texts = append(texts, fmt.Sprintf("%d x %s", causes[text], strings.TrimSpace(text)))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}

func (res *results) heySection(b *strings.Builder) {
	if len(res.Hey) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## hey, beside it\n\n`hey -z 5s -c %d`, one page again and again. hey waits for answers, so it asks a slow service less, and its percentiles leave\n"+
		"out the requests that it did not send: compare naive here and above.\n\n| stage | good/s | p50 | p95 | p99 |\n|---|---|---|---|---|\n", heyClients)
	for _, h := range res.Hey {
		fmt.Fprintf(b, "| %s | %.0f | %s | %s | %s |\n", h.Stage, h.PerSecond, short(h.P50), short(h.P95), short(h.P99))
	}
}
