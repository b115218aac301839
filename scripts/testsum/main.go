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
	"os"
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
	w io.Writer

	// output holds what each running test said, keyed by package and test
	// name; the package's own lines are under the empty test name. An entry is
	// dropped when its test ends, so that a long run stays small.
	output map[[2]string][]string

	passed, failed, skipped int
	broken                  bool     // a package or a build failed, with or without a failed test
	skips                   []string // "package Test: reason", in the order seen
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[[2]string][]string{}}
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
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // the runner's own "=== RUN TestX" and the like
			s.output[key] = append(s.output[key], e.Output)
		}
	case "build-output":
		fmt.Fprint(s.w, e.Output)
	case "build-fail":
		s.broken = true
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(e)
		}
		delete(s.output, key)
	}
}

func (s *summary) endTest(e event) {
	said := s.output[[2]string{e.Package, e.Test}]
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		fmt.Fprint(s.w, strings.Join(said, ""))
	case "skip":
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(said)))
	}
}

// endPackage prints the package's "ok" or "FAIL" line. A package that passed
// says only that line; one without tests to run says nothing; a failed one
// says all it has, which includes the tests a panic or a timeout cut off.
func (s *summary) endPackage(e event) {
	said := s.output[[2]string{e.Package, ""}]
	if e.Action == "fail" {
		s.broken = true
		for key, cut := range s.output {
			if key[0] == e.Package && key[1] != "" {
				s.failed++
				fmt.Fprint(s.w, strings.Join(cut, ""))
				delete(s.output, key)
			}
		}
		fmt.Fprint(s.w, strings.Join(said, ""))
		return
	}
	for _, line := range said {
		if strings.HasPrefix(line, "ok ") && !strings.Contains(line, "[no tests to run]") {
			fmt.Fprint(s.w, line)
		}
	}
}

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
