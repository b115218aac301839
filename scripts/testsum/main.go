// Command testsum reads the output of one or more "go test -json" runs on its
// standard input and prints what a person wants to know of it: one line a
// package, everything a failed test or build said, each skipped test with its
// reason, and the totals as its last line.
//
// It exits 1 if anything failed, if no test ran, or, with CI=true in the
// environment, if a test was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	s := newSummary(os.Stdout)
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "testsum: %v\n", err)
		os.Exit(1)
	}
	if !s.finish(os.Getenv("CI") == "true") {
		os.Exit(1)
	}
}

// event is one line of "go test -json"; see "go doc test2json". Events of a
// build carry ImportPath instead of Package.
type event struct {
	Action     string
	Package    string
	Test       string
	ImportPath string
	Output     string
}

type summary struct {
	w        io.Writer
	packages map[string]*pkg // those that have not ended

	passed, failed, skipped int
	broken                  bool     // a package or a build failed, with or without a failed test
	skips                   []string // "package Test: reason", in the order seen
}

// pkg is a package whose tests are running.
type pkg struct {
	running map[string][]string // what each test that has not ended said
	passed  []string            // what tests that passed said: the data race of a goroutine they left, say
	said    []string            // what no test said
	failed  bool                // a test failed
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, packages: map[string]*pkg{}}
}

// read takes in events until the end of r. A line that is no JSON is printed
// as it is: the go command reports some of its own errors that way.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil {
				s.take(e)
			} else {
				fmt.Fprint(s.w, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.w, e.Output)
		return
	case "build-fail":
		s.broken = true
		return
	}
	p := s.packages[e.Package]
	if p == nil {
		p = &pkg{running: map[string][]string{}}
		s.packages[e.Package] = p
	}
	switch e.Action {
	case "run":
		p.running[e.Test] = nil
	case "output":
		switch {
		case strings.HasPrefix(e.Output, "=== "): // the runner's own "=== RUN TestX" and the like
		case e.Test == "":
			p.said = append(p.said, e.Output)
		default:
			p.running[e.Test] = append(p.running[e.Test], e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, p)
			delete(s.packages, e.Package)
		} else {
			s.endTest(e, p)
			delete(p.running, e.Test)
		}
	}
}

func (s *summary) endTest(e event, p *pkg) {
	said := p.running[e.Test]
	switch e.Action {
	case "pass":
		s.passed++
		p.passed = append(p.passed, said...)
	case "fail":
		s.failed++
		p.failed = true
		s.print(said)
	case "skip":
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(said)))
	}
}

// endPackage prints the package's "ok" or "FAIL" line. A package that passed
// says only that line, and nothing if it has no tests to run. In a package
// that failed, a test that has not ended was cut off by a panic, an exit or a
// timeout; and where no test is to blame, everything said may tell why.
func (s *summary) endPackage(e event, p *pkg) {
	if e.Action != "fail" {
		for _, line := range p.said {
			if strings.HasPrefix(line, "ok ") && !strings.Contains(line, "[no tests to run]") {
				fmt.Fprint(s.w, line)
			}
		}
		return
	}
	s.broken = true
	for _, test := range slices.Sorted(maps.Keys(p.running)) {
		s.failed++
		p.failed = true
		s.print(p.running[test])
		fmt.Fprintf(s.w, "--- CUT OFF: %s\n", test)
	}
	if !p.failed {
		s.print(p.passed)
	}
	s.print(p.said)
}

func (s *summary) print(lines []string) { fmt.Fprint(s.w, strings.Join(lines, "")) }

// finish prints the skips and the totals and reports whether the run is good.
func (s *summary) finish(ci bool) bool {
	for _, skip := range s.skips {
		fmt.Fprintf(s.w, "SKIP %s\n", skip)
	}
	good := s.failed == 0 && !s.broken
	if s.passed+s.failed+s.skipped == 0 {
		fmt.Fprintln(s.w, "no test ran")
		good = false
	}
	if s.broken && s.failed == 0 {
		fmt.Fprintln(s.w, "a package failed outside its tests")
	}
	if ci && s.skipped > 0 {
		fmt.Fprintln(s.w, "CI=true: a skipped test is a failure")
		good = false
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return good
}

// reason joins what a skipped test said, without its "--- SKIP" line.
func reason(said []string) string {
	var words []string
	for _, line := range said {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
