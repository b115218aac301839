package main

import (
	"fmt"
	"strings"
)

const reportHead = `# Where Freshet stands on the public suite for HTTP caches

This page is written by ` + "`make conformance`" + `, which runs http-cache-tests 0.4.5 against all caches below in one go, on
loopback. *Required* tests ask what a cache must do, *optimal* ones whether it reuses what it could, and *checks* just ask:
a yes is not always the better answer. A test that depends on another one counts only if that one passes.

The RFCs decide what is right, not the suite. Why Freshet does not pass a test is said at the end for each of them.

`

// report writes docs/conformance.md.
func report(suite []section, scores []score, reasons []reason) string {
	var b strings.Builder
	b.WriteString(reportHead)
	b.WriteString("| cache | version | required | optimal | check |\n|---|---|---|---|---|\n")
	for _, s := range scores {
		t := tallyOf(suite, s.judged)
		fmt.Fprintf(&b, "| %s | %s |", s.cache.name, s.cache.version())
		for _, k := range kinds {
			fmt.Fprintf(&b, " %d/%d |", t.passed[k], t.all[k])
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## By section: required / optimal / check\n\n| section | of |")
	for _, s := range scores {
		fmt.Fprintf(&b, " %s |", s.cache.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(scores)) + "\n")
	for _, sec := range suite {
		one := []section{sec}
		fmt.Fprintf(&b, "| %s | %s |", sec.Name, slashes(tallyOf(one, nil).all))
		for _, s := range scores {
			fmt.Fprintf(&b, " %s |", slashes(tallyOf(one, s.judged).passed))
		}
		b.WriteString("\n")
	}
	for _, s := range scores {
		if s.cache.ours {
			writeMisses(&b, suite, s, reasons)
		}
	}
	return b.String()
}

// writeMisses lists what a cache does not pass, with the reasons.
func writeMisses(b *strings.Builder, suite []section, s score, reasons []reason) {
	fmt.Fprintf(b, "\n## What the %s does not pass, and why\n\n| test | kind | reason |\n|---|---|---|\n", s.cache.name)
	for _, t := range missed(suite, s) {
		reason := why(reasons, s.cache.name, t.ID)
		if reason == "" && s.judged[t.ID] == unfounded {
			reason = "depends on " + strings.Join(t.DependsOn, ", ")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", t.ID, t.Kind, reason)
	}
}

func slashes(n map[string]int) string {
	parts := make([]string, len(kinds))
	for i, k := range kinds {
		parts[i] = fmt.Sprint(n[k])
	}
	return strings.Join(parts, " / ")
}
