package cachefetch

import (
	"testing"
	"time"
)

func upTo(stamp int64) bound { return bound{stamp: stamp, own: stamp, others: stamp} }

func wantSuperseded(t *testing.T, s *superseded, now time.Time, hash uint64, stamp int64, want bool) {
	t.Helper()
	if got := !s.of(now, hash).allowsOthers(stamp); got != want {
		t.Errorf("after %v: %d, stamp %d is too old: %v, want %v", now.Sub(time.Unix(0, 0)), hash, stamp, got, want)
	}
}

func TestBound(t *testing.T) {
	removed := bound{stamp: 10, own: 10, others: 15}
	set := bound{stamp: 20, own: 20, others: 25, exact: true}
	for _, tt := range []struct {
		name        string
		b           bound
		own, others []int64 // the stamps from 9 to 27 that are allowed, as from, to pairs
	}{
		{"none", bound{}, []int64{9, 27}, []int64{9, 27}},
		{"removed", removed, []int64{11, 27}, []int64{16, 27}},
		{"set", set, []int64{20, 27}, []int64{20, 20, 26, 27}},
		{"both", removed.and(set), []int64{20, 27}, []int64{20, 20, 26, 27}},
		{"both, the other way", set.and(removed), []int64{20, 27}, []int64{20, 20, 26, 27}},
		// Told by another process, and received at 23 by the clock of this one.
		{"set elsewhere", bound{stamp: 20, own: 23, others: 25, exact: true}, []int64{20, 20, 24, 27}, []int64{20, 20, 26, 27}},
		{"set, then removed", set.and(bound{stamp: 21, own: 21, others: 24}), []int64{22, 27}, []int64{26, 27}},
	} {
		in := func(stamp int64, pairs []int64) bool {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] <= stamp && stamp <= pairs[i+1] {
					return true
				}
			}
			return false
		}
		for stamp := int64(9); stamp <= 27; stamp++ {
			if got, want := tt.b.allowsOwn(stamp), in(stamp, tt.own); got != want {
				t.Errorf("%s: own stamp %d allowed: %v, want %v", tt.name, stamp, got, want)
			}
			if got, want := tt.b.allowsOthers(stamp), in(stamp, tt.others); got != want {
				t.Errorf("%s: other's stamp %d allowed: %v, want %v", tt.name, stamp, got, want)
			}
		}
	}
}

func TestSuperseded(t *testing.T) {
	now, s := time.Unix(0, 0), new(superseded)
	wantSuperseded(t, s, now, 1, 1, false)
	s.add(now, 1, upTo(10), true)
	s.add(now, 1, upTo(9), true) // older: changes nothing
	wantSuperseded(t, s, now, 1, 10, true)
	wantSuperseded(t, s, now, 1, 11, false)
	wantSuperseded(t, s, now, 2, 10, false) // another key
}

// A bound of what is done is kept for a minute and not for ever.
func TestSupersededForgets(t *testing.T) {
	start, s := time.Unix(0, 0), new(superseded)
	s.of(start, 0) // the first minute begins
	s.add(start.Add(supersededFor-1), 1, upTo(10), true)
	wantSuperseded(t, s, start.Add(2*supersededFor-2), 1, 10, true)
	s.of(start.Add(3*supersededFor), 0)
	wantSuperseded(t, s, start.Add(4*supersededFor), 1, 10, false)
}

// What was given up is still in the backend: when its bound goes, nothing that
// old is used any more.
func TestSupersededRemembersTheLost(t *testing.T) {
	start, s := time.Unix(0, 0), new(superseded)
	s.add(start, 1, upTo(10), false)
	s.add(start, 2, upTo(20), true)
	for n := range 10 {
		now := start.Add(time.Duration(n) * supersededFor)
		wantSuperseded(t, s, now, 1, 10, true)
		wantSuperseded(t, s, now, 3, 21, false)
	}
}

// More keys than there is room for: none of them comes back.
func TestSupersededIsBounded(t *testing.T) {
	now, s := time.Unix(0, 0), new(superseded)
	const n = 3 * supersededKeys
	for i := range int64(n) {
		s.add(now, uint64(i), upTo(i+1), true)
		if len(s.recent) > supersededKeys {
			t.Fatalf("%d bounds, want at most %d", len(s.recent), supersededKeys)
		}
	}
	for i := range int64(n) {
		wantSuperseded(t, s, now, uint64(i), i+1, true)
	}
	wantSuperseded(t, s, now, 1, n+1, false)
}
