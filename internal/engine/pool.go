package engine

import (
	"fmt"
	"sync"
	"time"
)

// A Pool bounds how many background refreshes run at once. It has no queue:
// when it is full, the caller serves what it has and skips the refresh, since
// a refresh that would have to wait is asked for again by the next hit anyway.
type Pool struct {
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // Add only with mu held and closed false
}

// NewPool returns a pool of n slots.
func NewPool(n int) *Pool { return &Pool{slots: make(chan struct{}, n)} }

// Acquire takes a slot and reports whether there was one. Each slot taken must
// be given back by Release.
func (p *Pool) Acquire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		p.wg.Add(1)
		return true
	default:
		return false
	}
}

// Release gives back a slot.
func (p *Pool) Release() {
	<-p.slots
	p.wg.Done()
}

// closeTimeout is how long Close waits for refreshes that are under way. Their
// contexts have ended by then.
const closeTimeout = 5 * time.Second

// Close refuses further slots and waits until all are given back, for at most
// five seconds. Its error says that some were not.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(idle)
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-idle:
		return nil
	case <-timer.C:
		return fmt.Errorf("%d refreshes still running %v after Close", len(p.slots), closeTimeout)
	}
}
