package limit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A machine has processors, on which the work of what begins waits in line.
type machine struct {
	mu    sync.Mutex
	cores float64
	until time.Time // when what has begun so far is done
	asked time.Time
}

// work returns when the processors have done what takes so long.
func (m *machine) work(d time.Duration) {
	m.mu.Lock()
	now := time.Now()
	if m.until.Before(now) {
		m.until = now
	}
	m.until = m.until.Add(time.Duration(float64(d) / m.cores))
	done := m.until
	m.mu.Unlock()
	time.Sleep(time.Until(done))
}

func (m *machine) delay() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, time.Until(m.until))
}

func TestProcessorPrint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{cores: 2}
		p := NewProcessor(1000, m.delay)
		var mu sync.Mutex
		begun, done, refused := 0, 0, 0
		worst := time.Duration(0)
		var all sync.WaitGroup
		offer := func(rate int, d time.Duration) {
			for range int(d.Seconds() * float64(rate)) {
				all.Go(func() {
					asked := time.Now()
					err := p.Begin(context.Background())
					took := time.Since(asked)
					mu.Lock()
					if err != nil {
						refused++
						if !errors.Is(err, ErrQueueFull) && !errors.Is(err, ErrQueueTimeout) {
							t.Error(err)
						}
						mu.Unlock()
						if took > 120*time.Millisecond {
							t.Error("refused after", took)
						}
						return
					}
					begun++
					mu.Unlock()
					m.work(time.Millisecond)
					time.Sleep(500 * time.Millisecond)
					m.work(time.Millisecond)
					mu.Lock()
					done++
					mu.Unlock()
				})
				worst = max(worst, m.delay())
				time.Sleep(time.Second / time.Duration(rate))
			}
		}
		for range 10 {
			offer(5000, time.Second)
			mu.Lock()
			t.Logf("begun %d done %d refused %d worst %v delay %v rate %.1f", begun, done, refused, worst, m.delay(), p.rate)
			begun, done, refused, worst = 0, 0, 0, 0
			mu.Unlock()
		}
		for range 4 {
			offer(500, time.Second)
			mu.Lock()
			t.Logf("begun %d done %d refused %d worst %v delay %v rate %.1f shut %v", begun, done, refused, worst, m.delay(), p.rate, p.shut)
			begun, done, refused, worst = 0, 0, 0, 0
			mu.Unlock()
		}
		all.Wait()
	})
}
