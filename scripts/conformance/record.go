package main

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// A baseline holds the tests that each cache of ours is known to pass.
type baseline map[string][]string

// readBaseline reads lines of a cache's name and a test's id.
func readBaseline(file string) (baseline, error) {
	lines, err := readLines(file)
	if err != nil {
		return nil, err
	}
	b := make(baseline)
	for _, line := range lines {
		cache, id, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("%s: %q: not a cache and a test", file, line)
		}
		b[cache] = append(b[cache], id)
	}
	return b, nil
}

// write writes b, sorted, so that a change of the score is a readable diff.
func (b baseline) write(file string) error {
	var lines []string
	for cache, ids := range b {
		for _, id := range ids {
			lines = append(lines, cache+" "+id+"\n")
		}
	}
	slices.Sort(lines)
	const head = "# Tests known to pass. A run in which one of them does not, fails. \"make conformance\" adds new ones.\n"
	return os.WriteFile(file, []byte(head+strings.Join(lines, "")), 0o644)
}

// lost returns what is in the baseline and has not passed.
func (b baseline) lost(cache string, judged map[string]outcome) []string {
	var lost []string
	for _, id := range b[cache] {
		if judged[id] != passed {
			lost = append(lost, id)
		}
	}
	return lost
}

// A reason says why a test that matches pattern does not pass.
type reason struct{ caches, pattern, why string }

// readReasons reads lines of a cache's name or *, a pattern of test ids, and
// the reason.
func readReasons(file string) ([]reason, error) {
	lines, err := readLines(file)
	if err != nil {
		return nil, err
	}
	var reasons []reason
	for _, line := range lines {
		parts := strings.SplitN(line, " ", 3)
		if len(parts) < 3 {
			return nil, fmt.Errorf("%s: %q: not a cache, a test and a reason", file, line)
		}
		if _, err := path.Match(parts[1], ""); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, parts[1], err)
		}
		reasons = append(reasons, reason{parts[0], parts[1], strings.TrimSpace(parts[2])})
	}
	return reasons, nil
}

// covers reports whether r is about a test of a cache.
func (r reason) covers(cache, id string) bool {
	if r.caches != "*" && r.caches != cache {
		return false
	}
	ok, _ := path.Match(r.pattern, id) // checked when read
	return ok
}

// why returns the first reason for a test of a cache, or "".
func why(reasons []reason, cache, id string) string {
	for _, r := range reasons {
		if r.covers(cache, id) {
			return r.why
		}
	}
	return ""
}

// readLines returns the lines of a file without comments and empty ones.
func readLines(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			return lines, s.Err()
		}
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
}
