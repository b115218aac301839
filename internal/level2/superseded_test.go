package level2

import (
	"testing"
	"time"
)

// upTo is the bound of what another process generated up to a time.
func upTo(at int64) Bound {
	return Bound{heard: Stamp{at, ownTest}, others: at, from: Stamp{at, ownTest}}
}

func wantSuperseded(t *testing.T, s *superseded, now time.Time, hash uint64, at int64, want bool) {
	t.Helper()
	if got := !s.of(now, hash).Allows(Stamp{at, otherTest}); got != want {
		t.Errorf("after %v: %d, stamp %d is too old: %v, want %v", now.Sub(time.Unix(0, 0)), hash, at, got, want)
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
