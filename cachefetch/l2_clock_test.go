package cachefetch

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Stamps follow the clock and never repeat, also when it stands still.
func TestStampClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c stampClock
		var mu sync.Mutex
		seen := make(map[int64]bool)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				last := int64(0)
				for range 1000 {
					stamp := c.next()
					if stamp <= last {
						t.Errorf("%d after %d", stamp, last)
					}
					last = stamp
					mu.Lock()
					if seen[stamp] {
						t.Errorf("%d twice", stamp)
					}
					seen[stamp] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		if got, now := c.next(), time.Now().UnixNano(); got != now {
			t.Errorf("stamp %d at %d", got, now)
		}
	})
}

// A stamp of another process is followed if it is a little ahead.
func TestStampClockObserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c stampClock
		now := time.Now().UnixNano()
		ahead := now + int64(maxClockSkew)
		c.observe(ahead)
		if got := c.next(); got != ahead+1 {
			t.Errorf("%d after the start, want 1 after what was observed", got-now)
		}
		c.observe(now) // older: changes nothing
		c.observe(ahead + int64(time.Hour))
		if got := c.next(); got != ahead+2 {
			t.Errorf("%d after the start, want an hour not to be followed", got-now)
		}
	})
}
