package engine

import (
	"math"
	"testing"
	"time"
)

func TestTimesState(t *testing.T) {
	const at = Instant(1000 * time.Second)
	second := func(n float64) Instant { return at.Add(time.Duration(n * float64(time.Second))) }
	for _, tt := range []struct {
		name            string // the reason
		fresh, swr, sie time.Duration
		now             Instant
		want            State
		usable          bool // after an error
	}{
		{"just stored", 10 * time.Second, 0, 0, at, Fresh, true},
		{"one nanosecond left", 10 * time.Second, 0, 0, second(10) - 1, Fresh, true},
		{"age equals lifetime: not fresh (RFC 9111 4.2)", 10 * time.Second, 0, 0, second(10), Gone, false},
		{"no lifetime: never fresh", 0, 0, 0, at, Gone, false},
		{"negative lifetime counts as none", -time.Second, 0, 0, at, Gone, false},
		{"lifetime over, revalidating", 10 * time.Second, 20 * time.Second, 0, second(10), StaleWhileRevalidate, false},
		{"last nanosecond of revalidating", 10 * time.Second, 20 * time.Second, 0, second(30) - 1, StaleWhileRevalidate, false},
		{"both windows begin when the lifetime ends", 10 * time.Second, 20 * time.Second, 20 * time.Second, second(30), Gone, false},
		{"only the error window", 10 * time.Second, 0, 20 * time.Second, second(10), StaleIfError, true},
		{"error window outlasts revalidating", 10 * time.Second, 5 * time.Second, 20 * time.Second, second(15), StaleIfError, true},
		{"revalidating inside the error window", 10 * time.Second, 5 * time.Second, 20 * time.Second, second(14), StaleWhileRevalidate, true},
		{"revalidating past the error window: no use after an error", 10 * time.Second, 20 * time.Second, 5 * time.Second, second(15), StaleWhileRevalidate, false},
		{"last nanosecond of the error window", 10 * time.Second, 0, 20 * time.Second, second(30) - 1, StaleIfError, true},
		{"error window over", 10 * time.Second, 0, 20 * time.Second, second(30), Gone, false},
		{"no lifetime, yet revalidating", 0, 5 * time.Second, 0, at, StaleWhileRevalidate, false},
		{"negative windows count as none", 10 * time.Second, -time.Second, -time.Second, second(10), Gone, false},
		{"before it was stored, as seen by a slow reader", 10 * time.Second, 0, 0, at - 1, Fresh, true},
		{"a lifetime without end", math.MaxInt64, 0, 0, at.Add(ForEver - 1), Fresh, true},
		{"windows without end", time.Second, math.MaxInt64, math.MaxInt64, at.Add(ForEver), StaleWhileRevalidate, true},
		{"a window after a lifetime without end", math.MaxInt64, time.Minute, 0, at.Add(ForEver), StaleWhileRevalidate, false},
		{"all without end", math.MaxInt64, math.MaxInt64, math.MaxInt64, at.Add(2*ForEver - 1), StaleWhileRevalidate, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			times := NewTimes(at, tt.fresh, tt.swr, tt.sie)
			if got := times.State(tt.now); got != tt.want {
				t.Errorf("State = %v, want %v", got, tt.want)
			}
			if got := times.Usable(tt.now); got != tt.usable {
				t.Errorf("Usable = %v, want %v", got, tt.usable)
			}
			if gone := tt.now >= times.Horizon(); gone != (tt.want == Gone) {
				t.Errorf("past the horizon is %v, state is %v", gone, tt.want)
			}
		})
	}
}

// What has no end loses none of its windows by that: a soft purge begins them.
func TestSoftenAfterALifetimeWithoutEnd(t *testing.T) {
	const at = Instant(time.Hour)
	times := NewTimes(0, math.MaxInt64, time.Minute, math.MaxInt64).Keep(time.Hour).Soften(at)
	for _, tt := range []struct {
		now  Instant
		want State
	}{
		{at - 1, Fresh},
		{at, StaleWhileRevalidate},
		{at.Add(time.Minute), StaleIfError},
		{at.Add(ForEver), Gone},
	} {
		if got := times.State(tt.now); got != tt.want {
			t.Errorf("at %v: %v, want %v", time.Duration(tt.now), got, tt.want)
		}
	}
}

// A state never comes back: entries pass through them in order.
func TestTimesStatesAreInOrder(t *testing.T) {
	for _, d := range [][3]time.Duration{{5, 0, 0}, {5, 3, 0}, {5, 0, 3}, {5, 3, 7}, {5, 7, 3}, {0, 3, 7}, {5, 3, 3}} {
		times := NewTimes(0, d[0], d[1], d[2])
		last := Fresh
		for now := range Instant(20) {
			s := times.State(now)
			if s < last {
				t.Fatalf("windows %v: %v at %d after %v", d, s, now, last)
			}
			last = s
		}
		if last != Gone {
			t.Errorf("windows %v: ends as %v", d, last)
		}
	}
}

func TestStateString(t *testing.T) {
	for s, want := range map[State]string{
		Fresh: "fresh", StaleWhileRevalidate: "stale-while-revalidate", StaleIfError: "stale-if-error", Gone: "gone", 9: "gone",
	} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) = %q, want %q", s, got, want)
		}
	}
}

func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		name     string
		d        time.Duration
		fraction float64
		min, max time.Duration
	}{
		{"none", time.Minute, 0, time.Minute, time.Minute},
		{"negative counts as none", time.Minute, -1, time.Minute, time.Minute},
		{"a tenth", time.Minute, 0.1, 54 * time.Second, time.Minute},
		{"all of it", time.Minute, 1, 0, time.Minute},
		{"of nothing", 0, 0.5, 0, 0},
		{"of a negative duration", -time.Second, 0.5, -time.Second, -time.Second},
		{"of all there is", math.MaxInt64, 0.5, math.MaxInt64/2 - 1024, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			low, high := time.Duration(math.MaxInt64), time.Duration(math.MinInt64)
			for range 1000 {
				d := Jitter(tt.d, tt.fraction)
				low, high = min(low, d), max(high, d)
			}
			if low < tt.min || high > tt.max {
				t.Errorf("between %v and %v, want between %v and %v", low, high, tt.min, tt.max)
			}
			if tt.min < tt.max && high-low < (tt.max-tt.min)/2 {
				t.Errorf("only between %v and %v: hardly random", low, high)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	const limit = 32 * time.Second
	e := &Entry[int]{}
	if e.Backoff(0) {
		t.Error("an entry whose refresh never failed asks for patience")
	}
	now := Instant(time.Hour)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 32, 32} {
		want *= time.Second
		e.Failed(now, time.Second, limit)
		if !e.Backoff(now.Add(want/2 - 1)) {
			t.Errorf("failure %d: tried again before half of %v", i+1, want)
		}
		if e.Backoff(now.Add(want)) {
			t.Errorf("failure %d: not tried again after %v", i+1, want)
		}
		now = now.Add(want)
	}
	for range 200 { // never wraps around
		e.Failed(now, time.Minute, time.Hour)
		e.Failed(now, 10*time.Hour, 320*time.Hour)
	}
	if !e.Backoff(now.Add(160*time.Hour - 1)) {
		t.Error("after 400 failures the wait is short again")
	}
}

func TestBeginRefresh(t *testing.T) {
	e := &Entry[int]{}
	if !e.BeginRefresh(0) {
		t.Fatal("the first was refused")
	}
	if e.BeginRefresh(0) {
		t.Error("two refreshes of one entry")
	}
	e.EndRefresh()
	if !e.BeginRefresh(0) {
		t.Error("refused after the first had ended")
	}
	e.Failed(0, time.Second, time.Minute)
	e.EndRefresh()
	if e.BeginRefresh(Instant(time.Second/2 - 1)) {
		t.Error("begun although one has just failed")
	}
	if !e.BeginRefresh(Instant(time.Second)) {
		t.Error("refused although the wait is over")
	}
}
