package main

import "slices"

// A section is a chapter of the suite.
type section struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Tests []test `json:"tests"`
}

// A test of the suite. Its kind is "required", "optimal" (the cache could have
// reused a response) or "check" (a question, with no better answer).
type test struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	DependsOn []string `json:"depends_on"`
}

// A result is what a test says of itself: the zero value if it passed.
type result struct {
	Kind    string `json:"kind"` // Setup, Assertion, or an exception's name
	Message string `json:"message"`
}

// An outcome is what a result counts as.
type outcome string

const (
	passed     outcome = "passed"
	failed     outcome = "failed"
	unready    outcome = "setup failed"      // the scenario could not be built
	unfounded  outcome = "dependency failed" // a test it depends on did not pass
	unanswered outcome = "did not run"
)

// outcomes judges the results of one cache as the suite's own display does: a
// test whose dependencies did not all pass has not passed, whatever it did.
func outcomes(suite []section, results map[string]result) map[string]outcome {
	tests := make(map[string]test)
	for _, s := range suite {
		for _, t := range s.Tests {
			tests[t.ID] = t
		}
	}
	judged := make(map[string]outcome, len(tests))
	var judge func(id string) outcome
	judge = func(id string) outcome {
		if o, ok := judged[id]; ok {
			return o
		}
		judged[id] = unfounded // should it depend on itself
		judged[id] = own(results, id)
		for _, dependency := range tests[id].DependsOn {
			if judge(dependency) != passed {
				judged[id] = unfounded
			}
		}
		return judged[id]
	}
	for id := range tests {
		judge(id)
	}
	return judged
}

// own is the outcome of a test without its dependencies.
func own(results map[string]result, id string) outcome {
	r, ok := results[id]
	switch {
	case !ok:
		return unanswered
	case r == result{}:
		return passed
	case r.Kind == "Setup":
		return unready
	}
	return failed
}

// suspects are the tests to run once more if those in lost passed before: they
// and what they depend on, without those that pass by themselves.
func suspects(suite []section, results map[string]result, lost []string) []string {
	dependencies := make(map[string][]string)
	for _, s := range suite {
		for _, t := range s.Tests {
			dependencies[t.ID] = t.DependsOn
		}
	}
	var found []string
	seen := make(map[string]bool)
	for open := slices.Clone(lost); len(open) > 0; open = open[1:] {
		id := open[0]
		if seen[id] {
			continue
		}
		seen[id] = true
		open = append(open, dependencies[id]...)
		if own(results, id) != passed {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}

// kinds are the kinds of tests, in the order of columns.
var kinds = []string{"required", "optimal", "check"}

// A tally counts the tests passed and all tests, by kind.
type tally struct{ passed, all map[string]int }

func tallyOf(sections []section, judged map[string]outcome) tally {
	t := tally{make(map[string]int), make(map[string]int)}
	for _, s := range sections {
		for _, test := range s.Tests {
			t.all[test.Kind]++
			if judged[test.ID] == passed {
				t.passed[test.Kind]++
			}
		}
	}
	return t
}
