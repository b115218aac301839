package level2

import (
	"testing"
	"time"
)

func wantAllow(t *testing.T, b *breaker, now time.Time, want bool) {
	t.Helper()
	if got := b.allow(now); got != want {
		t.Errorf("allow = %v, want %v", got, want)
	}
}

// openBreaker returns one that has just opened.
func openBreaker(t *testing.T, now time.Time) *breaker {
	t.Helper()
	b := new(breaker)
	for range breakerFailures {
		wantAllow(t, b, now, true)
		b.done(now, false)
	}
	wantAllow(t, b, now, false)
	return b
}

func TestBreakerCountsFailuresInARow(t *testing.T) {
	now, b := time.Unix(0, 0), new(breaker)
	for range 10 {
		for range breakerFailures - 1 {
			b.done(now, false)
		}
		b.done(now, true)
	}
	wantAllow(t, b, now, true)
	if open, opened := b.state(); open || opened != 0 {
		t.Errorf("open %v, opened %d times", open, opened)
	}
}

func TestBreakerProbes(t *testing.T) {
	now := time.Unix(0, 0)
	b := openBreaker(t, now)
	if d := b.wait(now); d < breakerPause*8/10 || d > breakerPause {
		t.Errorf("wait %v after opening, want up to a fifth less than %v", d, breakerPause)
	}
	now = now.Add(breakerPause)
	wantAllow(t, b, now, true)  // the probe
	wantAllow(t, b, now, false) // and nobody else
	if b.wait(now) == 0 {
		t.Error("no wait while another probes")
	}
	b.done(now, false)
	wantAllow(t, b, now.Add(breakerPause), false) // the pause is longer now
	now = now.Add(2 * breakerPause)
	wantAllow(t, b, now, true)
	b.cancel() // its caller left: the next one probes
	wantAllow(t, b, now, true)
	b.done(now, true)
	wantAllow(t, b, now, true)
	wantAllow(t, b, now, true)
	if open, opened := b.state(); open || opened != 1 {
		t.Errorf("open %v, opened %d times, want closed, once", open, opened)
	}
}

func TestBreakerPauseIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	b := openBreaker(t, now)
	for range 100 {
		now = now.Add(breakerMaxPause)
		wantAllow(t, b, now, true)
		b.done(now, false)
	}
	if d := b.wait(now); d > breakerMaxPause || d < breakerMaxPause/2 {
		t.Errorf("wait %v after a hundred failed probes, want about %v", d, breakerMaxPause)
	}
}

// Calls begun before the breaker opened end when it is open: their failures do
// not lengthen the pause.
func TestBreakerIgnoresLateFailures(t *testing.T) {
	now := time.Unix(0, 0)
	b := openBreaker(t, now)
	for range 100 {
		b.done(now, false)
	}
	wantAllow(t, b, now.Add(breakerPause), true)
}
