package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A machine has processors, on which the work of what begins waits in line.
type machine struct {
	cores float64

	mu    sync.Mutex
	until time.Time     // when what has begun so far is done
	sum   time.Duration // that work has waited since it was last asked
	count int
	worst time.Duration // since it was last reset
}

// work returns when the processors have done what takes so long.
func (m *machine) work(d time.Duration) {
	m.mu.Lock()
	now := time.Now()
	wait := max(0, m.until.Sub(now))
	m.sum, m.count, m.worst = m.sum+wait, m.count+1, max(m.worst, wait)
	m.until = now.Add(wait + time.Duration(float64(d)/m.cores))
	done := m.until
	m.mu.Unlock()
	time.Sleep(time.Until(done))
}

func (m *machine) delay() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	mean := m.sum / time.Duration(max(m.count, 1))
	m.sum, m.count = 0, 0
	return mean
}

// worstSince returns the longest wait since it was last called.
func (m *machine) worstSince() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	worst := m.worst
	m.worst = 0
	return worst
}

// Whatever is offered, what has begun does not wait long for a processor, nor
// what is there beside it; the processors are busy all the same, and who may not
// begin is told soon.
func TestProcessor(t *testing.T) {
	for _, cores := range []float64{1, 2, 4} {
		t.Run(fmt.Sprint(cores, " cores"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &machine{cores: cores}
				p := NewProcessor(1000, m.delay)
				capacity := 500 * cores // of pieces of work, each with 1 ms before and after it waits
				var done, refused atomic.Int64
				var all sync.WaitGroup
				offer := func(rate float64, d time.Duration) float64 {
					before := done.Load()
					for range int(d.Seconds() * rate) {
						all.Go(func() {
							asked := time.Now()
							if err := p.Begin(t.Context()); err != nil {
								refused.Add(1)
								if took := time.Since(asked); took > standing+2*drip {
									t.Errorf("%v after %v", err, took)
								}
								return
							}
							m.work(time.Millisecond)
							time.Sleep(500 * time.Millisecond)
							m.work(time.Millisecond)
							done.Add(1)
						})
						time.Sleep(time.Duration(float64(time.Second) / rate))
					}
					return float64(done.Load()-before) / d.Seconds()
				}
				time.Sleep(10 * time.Second)
				for range 100 { // a burst out of nothing is not refused
					all.Go(func() {
						if err := p.Begin(t.Context()); err != nil {
							t.Error(err)
						}
						m.work(100 * time.Microsecond)
					})
				}
				all.Wait()
				offer(capacity/2, 5*time.Second)
				if n := refused.Load(); n > 0 || p.State().Bounded {
					t.Errorf("%d are refused at half of what can be done", n)
				}
				m.worstSince()
				for _, times := range []float64{1.2, 2, 5, 10} {
					offer(times*capacity, 2*time.Second) // to find the rate
					first := m.worstSince()
					rate := offer(times*capacity, 8*time.Second)
					worst := m.worstSince()
					t.Logf("%v x: %.0f %% of what can be done, worst wait %v, at first %v", times, 100*rate/capacity, worst, first)
					if rate < 0.7*capacity || worst > 30*time.Millisecond {
						t.Errorf("%v x: %.0f of %.0f a second are done, worst wait %v", times, rate, capacity, worst)
					}
				}
				offer(capacity/2, 4*time.Second)
				refused.Store(0)
				if rate := offer(capacity/2, 4*time.Second); refused.Load() > 0 || p.State().Bounded {
					t.Errorf("afterwards %d are refused, %.0f a second are done", refused.Load(), rate)
				}
				all.Wait()
			})
		})
	}
}
