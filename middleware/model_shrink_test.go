package middleware_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shrink looks for a small part of a history in which the same promise is not
// kept. A history that happens again may go otherwise, so each part gets a few
// tries; a search by a library that takes that for a flaw of the test is no use.
func shrink(h *plan, faults []fault, happen func(*plan) (*world, []fault), limit time.Duration) (*plan, *world, []fault) {
	began, promise := time.Now(), faults[0].promise
	var last *world
	fails := func(part *plan) bool {
		for range 3 {
			if time.Since(began) > limit {
				return false
			}
			m, found := happen(part)
			if i := slices.IndexFunc(found, func(f fault) bool { return f.promise == promise }); i >= 0 {
				found[0], found[i] = found[i], found[0]
				last, faults = m, found
				return true
			}
		}
		return false
	}
	for n := len(h.ops) / 2; n > 0; n /= 2 {
		for i := 0; i < len(h.ops); {
			part := *h
			part.ops = slices.Delete(slices.Clone(h.ops), i, min(i+n, len(h.ops)))
			if fails(&part) {
				h = &part
			} else {
				i += n
			}
		}
	}
	for i := range h.ops {
		for _, simpler := range simplifications {
			part := *h
			part.ops = slices.Clone(h.ops)
			if simpler(&part.ops[i]); part.ops[i] != h.ops[i] && fails(&part) {
				h = &part
			}
		}
	}
	return h, last, faults
}

var simplifications = []func(*op){
	func(o *op) { o.outer = outer{}; o.who.session = "" },
	func(o *op) { o.who = who{session: o.who.session} },
	func(o *op) { o.cancel, o.deadline, o.stallAt, o.sip, o.pause = 0, 0, 0, 0, 0 },
	func(o *op) { o.asks, o.ranges, o.cond = "", "", "" },
	func(o *op) { o.query = "" },
}

// report tells what went wrong, and how to have it happen again.
func report(h *plan, m *world, faults []fault, all int, test string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\nrepeat with: FRESHET_SEED=%d go test -race -run '^%s$' ./middleware\n", faults[0], h.seed, test)
	fmt.Fprintf(&b, "%d of %d ops:\n%v", len(h.ops), all, h)
	if m != nil {
		fmt.Fprintf(&b, "what happened:\n  %s\n", strings.Join(m.notes[:min(len(m.notes), 200)], "\n  "))
	}
	for _, f := range faults[1:min(len(faults), 4)] {
		fmt.Fprintf(&b, "also %v\n", f)
	}
	return b.String()
}
