package cachefetch

import (
	"testing"
	"time"
)

func wantSuperseded(t *testing.T, s *superseded, now time.Time, hash uint64, stamp int64, want bool) {
	t.Helper()
	if got := s.has(now, hash, stamp); got != want {
		t.Errorf("after %v: has(%d, stamp %d) = %v, want %v", now.Sub(time.Unix(0, 0)), hash, stamp, got, want)
	}
}

func TestSuperseded(t *testing.T) {
	now, s := time.Unix(0, 0), new(superseded)
	wantSuperseded(t, s, now, 1, 1, false)
	s.add(now, 1, 10, true)
	s.add(now, 1, 9, true) // older: changes nothing
	wantSuperseded(t, s, now, 1, 10, true)
	wantSuperseded(t, s, now, 1, 11, false)
	wantSuperseded(t, s, now, 2, 10, false) // another key
	s.raise(5)
	wantSuperseded(t, s, now, 2, 5, true)
	wantSuperseded(t, s, now, 2, 6, false)
}

// A mark of what is done is kept for a minute and not for ever.
func TestSupersededForgets(t *testing.T) {
	start, s := time.Unix(0, 0), new(superseded)
	s.has(start, 0, 0) // the first minute begins
	s.add(start.Add(supersededFor-1), 1, 10, true)
	wantSuperseded(t, s, start.Add(2*supersededFor-2), 1, 10, true)
	s.has(start.Add(3*supersededFor), 0, 0)
	wantSuperseded(t, s, start.Add(4*supersededFor), 1, 10, false)
}

// What was given up is still in the backend: when its mark goes, nothing that
// old is used any more.
func TestSupersededRemembersTheLost(t *testing.T) {
	start, s := time.Unix(0, 0), new(superseded)
	s.add(start, 1, 10, false)
	s.add(start, 2, 20, true)
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
		s.add(now, uint64(i), i+1, true)
		if len(s.recent) > supersededKeys {
			t.Fatalf("%d marks, want at most %d", len(s.recent), supersededKeys)
		}
	}
	for i := range int64(n) {
		wantSuperseded(t, s, now, uint64(i), i+1, true)
	}
	wantSuperseded(t, s, now, 1, n+1, false)
}
