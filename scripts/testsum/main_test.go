package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// stream makes the lines "go test -json" would print for events.
func stream(t *testing.T, events ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestSummary(t *testing.T) {
	pass := []event{
		{Action: "run", Package: "p", Test: "TestA"},
		{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
		{Action: "pass", Package: "p", Test: "TestA"},
		{Action: "output", Package: "p", Output: "PASS\n"},
		{Action: "output", Package: "p", Output: "ok  \tp\t0.1s\n"},
		{Action: "pass", Package: "p"},
	}
	skip := []event{
		{Action: "output", Package: "q", Test: "TestB", Output: "    b_test.go:9: no nginx here\n"},
		{Action: "output", Package: "q", Test: "TestB", Output: "--- SKIP: TestB (0.00s)\n"},
		{Action: "skip", Package: "q", Test: "TestB"},
		{Action: "output", Package: "q", Output: "ok  \tq\t0.1s\n"},
		{Action: "pass", Package: "q"},
	}
	fail := []event{
		{Action: "output", Package: "r", Test: "TestC", Output: "    c_test.go:9: got 1, want 2\n"},
		{Action: "fail", Package: "r", Test: "TestC"},
		{Action: "output", Package: "r", Output: "FAIL\tr\t0.1s\n"},
		{Action: "fail", Package: "r"},
	}
	cutOff := []event{
		{Action: "output", Package: "r", Test: "TestD", Output: "panic: test timed out\n"},
		{Action: "output", Package: "r", Output: "FAIL\tr\t9s\n"},
		{Action: "fail", Package: "r"},
	}
	race := []event{
		{Action: "output", Package: "r", Test: "TestE", Output: "WARNING: DATA RACE\n"},
		{Action: "pass", Package: "r", Test: "TestE"},
		{Action: "output", Package: "r", Output: "FAIL\tr\t9s\n"},
		{Action: "fail", Package: "r"},
	}
	build := []event{
		{Action: "build-output", ImportPath: "s", Output: "s.go:1:1: undefined: x\n"},
		{Action: "build-fail", ImportPath: "s"},
		{Action: "output", Package: "s", Output: "FAIL\ts [build failed]\n"},
		{Action: "fail", Package: "s"},
	}
	empty := []event{
		{Action: "output", Package: "e", Output: "ok  \te\t0.1s [no tests to run]\n"},
		{Action: "pass", Package: "e"},
		{Action: "output", Package: "f", Output: "?   \tf\t[no test files]\n"},
		{Action: "skip", Package: "f"},
	}
	tests := []struct {
		name   string
		events [][]event
		ci     bool
		good   bool
		want   string
	}{
		{"all well is two lines", [][]event{pass, empty}, true, true, "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n"},
		{"a skip is told", [][]event{pass, skip}, false, true,
			"ok  \tp\t0.1s\nok  \tq\t0.1s\nSKIP q TestB: b_test.go:9: no nginx here\n1 passed, 0 failed, 1 skipped\n"},
		{"and fails in CI", [][]event{pass, skip}, true, false, "CI=true: a skipped test is a failure\n1 passed, 0 failed, 1 skipped\n"},
		{"a failure says why", [][]event{fail, pass}, false, false, "    c_test.go:9: got 1, want 2\nFAIL\tr\t0.1s\nok  \tp\t0.1s\n1 passed, 1 failed, 0 skipped\n"},
		{"a test cut off has failed", [][]event{cutOff}, false, false, "panic: test timed out\n--- CUT OFF: TestD\nFAIL\tr\t9s\n0 passed, 1 failed, 0 skipped\n"},
		{"a race outside its test", [][]event{race}, false, false,
			"WARNING: DATA RACE\nFAIL\tr\t9s\na package failed outside its tests\n1 passed, 0 failed, 0 skipped\n"},
		{"a build that failed", [][]event{pass, build}, false, false,
			"s.go:1:1: undefined: x\nFAIL\ts [build failed]\na package failed outside its tests\n1 passed, 0 failed, 0 skipped\n"},
		{"nothing ran", [][]event{empty}, false, false, "no test ran\n0 passed, 0 failed, 0 skipped\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in, out strings.Builder
			for _, events := range tt.events {
				in.WriteString(stream(t, events...))
			}
			s := newSummary(&out)
			if err := s.read(strings.NewReader(in.String())); err != nil {
				t.Fatal(err)
			}
			good := s.finish(tt.ci)
			if good != tt.good || !strings.HasSuffix(out.String(), tt.want) {
				t.Errorf("good %t, want %t; printed\n%s\nwant it to end with\n%s", good, tt.good, out.String(), tt.want)
			}
		})
	}
}

func TestLineThatIsNoJSON(t *testing.T) {
	var out strings.Builder
	if err := newSummary(&out).read(strings.NewReader("go: no such module\n")); err != nil {
		t.Fatal(err)
	}
	if out.String() != "go: no such module\n" {
		t.Errorf("printed %q", out.String())
	}
}
