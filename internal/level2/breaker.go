package level2

import (
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

const (
	// breakerFailures in a row open the breaker. One timeout is no outage;
	// at a budget of 50 ms five in a row cost a key a quarter of a second.
	breakerFailures = 5

	// The first pause, and the longest: it doubles with each probe that fails.
	// During an outage a probe in half a minute is asked of each process.
	breakerPause    = time.Second
	breakerMaxPause = 30 * time.Second
)

// A breaker keeps calls from a backend that has failed again and again. While
// it is open, everything goes on as if there were no backend. After a pause one
// call is let through as a probe; it closes the breaker or begins a longer
// pause. Nothing is logged: the state is in Stats.
type breaker struct {
	mu       sync.Mutex
	failures int           // guarded by mu; in a row
	pause    time.Duration // guarded by mu; the current one, 0 iff closed
	until    time.Time     // guarded by mu; the end of it
	probing  bool          // guarded by mu; implies pause > 0
	opened   uint64        // guarded by mu; times it went from closed to open
}

// allow reports whether a call may be made now. The caller must tell by done
// how it went.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return true
	}
	if b.probing || now.Before(b.until) {
		return false
	}
	b.probing = true
	return true
}

// done notes how an allowed call ended.
func (b *breaker) done(now time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok {
		b.failures, b.pause, b.probing = 0, 0, false
		return
	}
	b.failures++
	switch {
	case b.pause == 0 && b.failures >= breakerFailures:
		b.opened++
		b.pause = breakerPause
	case b.probing:
		b.pause = min(2*b.pause, breakerMaxPause)
	default:
		return // not enough of them, or begun before it opened
	}
	b.probing = false
	// Processes that lost the backend together should not probe it together.
	b.until = now.Add(engine.Jitter(b.pause, 0.2))
}

// cancel notes that an allowed call ended without saying anything about the
// backend, because its own caller gave up.
func (b *breaker) cancel() {
	b.mu.Lock()
	b.probing = false
	b.mu.Unlock()
}

// wait returns how long it is until a call may be allowed again, 0 if now.
func (b *breaker) wait(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return 0
	case b.probing: // its end is not known; look again soon
		return breakerPause / 10
	}
	return max(b.until.Sub(now), 0)
}

// state returns whether the breaker is open, and how often it has opened.
func (b *breaker) state() (open bool, opened uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pause > 0, b.opened
}
