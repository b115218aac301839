package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// suite is a chain of tests: c depends on b, b on a.
var suite = []section{{ID: "s", Name: "Section", Tests: []test{
	{ID: "a", Kind: "optimal"},
	{ID: "b", Kind: "required", DependsOn: []string{"a"}},
	{ID: "c", Kind: "required", DependsOn: []string{"b"}},
	{ID: "d", Kind: "check"},
}}}

func TestOutcomes(t *testing.T) {
	assertion := result{Kind: "Assertion", Message: "no"}
	for _, tt := range []struct {
		name    string
		results map[string]result
		want    map[string]outcome
	}{
		{"all pass", map[string]result{"a": {}, "b": {}, "c": {}, "d": {}},
			map[string]outcome{"a": passed, "b": passed, "c": passed, "d": passed}},
		// The suite's rule: what stands on a failed test has not passed, through any number of steps.
		{"first fails", map[string]result{"a": assertion, "b": {}, "c": {}, "d": {}},
			map[string]outcome{"a": failed, "b": unfounded, "c": unfounded, "d": passed}},
		{"setup, missing", map[string]result{"a": {}, "b": {Kind: "Setup", Message: "retry"}},
			map[string]outcome{"a": passed, "b": unready, "c": unfounded, "d": unanswered}},
		{"exception", map[string]result{"a": {Kind: "FetchError"}, "d": {Kind: "TypeError"}},
			map[string]outcome{"a": failed, "b": unfounded, "c": unfounded, "d": failed}},
	} {
		if got := outcomes(suite, tt.results); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A lost test is tried again together with the failed one that it stands on.
func TestSuspects(t *testing.T) {
	results := map[string]result{"a": {Kind: "Assertion"}, "b": {}, "c": {Kind: "Setup"}, "d": {Kind: "Assertion"}}
	if got := suspects(suite, results, []string{"c"}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("suspects: %v, want a and c", got)
	}
}

func TestBaselineRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.txt")
	in := baseline{"gateway": {"b", "a"}, "transport": {"a"}}
	if err := in.write(file); err != nil {
		t.Fatal(err)
	}
	out, err := readBaseline(file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out["gateway"], []string{"a", "b"}) || !slices.Equal(out["transport"], []string{"a"}) {
		t.Errorf("read %v, wrote %v", out, in)
	}
	judged := map[string]outcome{"a": passed, "b": unfounded}
	if got := out.lost("gateway", judged); !slices.Equal(got, []string{"b"}) {
		t.Errorf("lost: %v, want b", got)
	}
}

func TestReadReasons(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reasons.txt")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n\n* a-*   for both\ngateway b  here only\n")
	reasons, err := readReasons(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ cache, id, want string }{
		{"gateway", "a-1", "for both"},
		{"transport", "a-1", "for both"},
		{"gateway", "b", "here only"},
		{"transport", "b", ""},
		{"gateway", "a", ""},
	} {
		if got := why(reasons, tt.cache, tt.id); got != tt.want {
			t.Errorf("why(%s, %s): %q, want %q", tt.cache, tt.id, got, tt.want)
		}
	}
	for _, bad := range []string{"gateway a\n", "gateway [ reason\n"} {
		write(bad)
		if _, err := readReasons(file); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// The three ways in which a run is not good enough.
func TestJudge(t *testing.T) {
	good := map[string]result{"a": {}, "b": {}, "c": {}, "d": {}}
	bad := map[string]result{"a": {}, "b": {Kind: "Assertion"}, "c": {}, "d": {}}
	known := baseline{"gateway": {"a", "b"}}
	because := []reason{{"gateway", "b", "because"}}
	for _, tt := range []struct {
		name    string
		cache   cache
		results map[string]result
		base    baseline
		reasons []reason
		want    bool
	}{
		{"all passed", cache{name: "gateway", ours: true}, good, known, nil, true},
		{"lost", cache{name: "gateway", ours: true}, bad, known, because, false},
		{"never passed, with a reason", cache{name: "gateway", ours: true}, bad, baseline{}, because, true},
		{"never passed, without one", cache{name: "gateway", ours: true}, bad, baseline{}, nil, false},
		{"another's", cache{name: "nginx"}, bad, known, nil, true},
	} {
		s := score{cache: tt.cache, results: tt.results, judged: outcomes(suite, tt.results)}
		if got := judge(suite, []score{s}, tt.base, tt.reasons); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestReport(t *testing.T) {
	results := map[string]result{"a": {Kind: "Assertion"}, "b": {}, "c": {}, "d": {}}
	c := cache{name: "gateway", ours: true, version: func() string { return "v1" }}
	got := report(suite, []score{{c, results, outcomes(suite, results)}}, []reason{{"*", "a", "because"}})
	for _, want := range []string{
		"| gateway | v1 | 0/2 | 0/1 | 1/1 |\n",
		"| Section | 2 / 1 / 1 | 0 / 0 / 1 |\n",
		"| `a` | optimal | because |\n",
		"| `b` | required | depends on a |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
}
