package compat

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
)

var rows = slices.Concat(chiRows, libraryRows, ginRows)

// each calls do in a bubble for every row, place and protocol, but for places
// where it is the server or proxy outside that speaks the protocol.
func each(t *testing.T, rows []row, f *fault, do func(t *testing.T, r *row, at place, protocol string)) {
	for _, r := range rows {
		for _, at := range places {
			if _, ok := r.want[at]; !ok || failing(misplaced, r.name, at, f) {
				continue
			}
			for protocol := range protocols {
				if protocol == "HTTP/2" && at != outside && (at != inside || f != nil || !r.breaks) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", r.name, at, protocol), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { do(t, &r, at, protocol) })
				})
			}
		}
	}
}

// Middleware does for every client, whoever asked first and wherever the answer
// comes from, what it does without the cache, and nobody gets anything of
// another client.
func TestMiddlewareDoesOnHitsWhatItDoesOnMisses(t *testing.T) {
	each(t, rows, nil, func(t *testing.T, r *row, at place, protocol string) {
		for _, problem := range newPlay(t, r, at, protocol).run() {
			t.Error(problem)
		}
	})
}

// A response that breaks off looks whole to nobody, and is over when the origin
// is well again.
func TestBrokenResponsesAreNotTakenForWhole(t *testing.T) {
	breaking := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.breaks })
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			each(t, breaking, f, func(t *testing.T, r *row, at place, protocol string) {
				for _, problem := range newPlay(t, r, at, protocol).runFault(f) {
					t.Error(problem)
				}
			})
		})
	}
}

// What is in the table of what cannot work fails, and in no other way.
func TestWhatCannotWorkWhereItIs(t *testing.T) { fail(t, misplaced) }

func fail(t *testing.T, table []failure) {
	for _, k := range table {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == k.row })
		if i < 0 {
			if len(ginRows) > 0 {
				t.Errorf("there is no row %q", k.row)
			}
			continue
		}
		for _, at := range k.at {
			if k.faults == nil {
				failAt(t, k, at, "", func(t *testing.T) []string { return newPlay(t, &rows[i], at, "HTTP/1").run() })
			}
			for _, name := range k.faults {
				f := faults[slices.IndexFunc(faults, func(f *fault) bool { return f.name == name })]
				failAt(t, k, at, name, func(t *testing.T) []string { return newPlay(t, &rows[i], at, "HTTP/1").runFault(f) })
			}
		}
	}
}

func failAt(t *testing.T, k failure, at place, fault string, play func(t *testing.T) []string) {
	t.Run(fmt.Sprintf("%s/%s/%s", k.row, at, fault), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			problems := play(t)
			if len(problems) == 0 {
				t.Errorf("it works: take it out of the table (%s)", k.because)
			}
			for _, problem := range problems {
				if !regexp.MustCompile(k.problem).MatchString(problem) {
					t.Error(problem)
				}
			}
		})
	})
}
