package limit

import (
	"context"
	"runtime/metrics"
	"sync"
	"time"
)

// A Processor bounds how much work begins, by how long goroutines that could run
// wait for a processor. Work that waits for others takes no processor while it
// waits; what it takes at its beginning and its end is what a service runs out of
// first when much of it begins at once. What is already there, such as answers
// from a cache, then waits behind it. All methods may be called concurrently.
//
// As long as nothing waits, whatever comes begins. Once something does, a rate
// finds itself: it falls while goroutines wait, and grows while they do not.
type Processor struct {
	delay func() time.Duration // that goroutines have waited since it was last called, on average

	mu      sync.Mutex
	line    line
	tick    time.Time // when the current one began
	begun   int       // in the current tick
	shut    bool      // what begins is bounded
	rate    float64   // what may begin in a tick, if shut
	left    float64   // of it in the current tick
	slack   int       // ticks in which less began than might have, one after the other
	ticking bool      // a goroutine serves the line
}

const (
	tick       = 10 * time.Millisecond
	longest    = time.Millisecond // that goroutines may wait, on average
	slowest    = 0.5              // what begins in a tick at least: 50 a second
	slackTicks = 100              // until what begins is not bounded any more
)

// NewProcessor returns a Processor whose line has room for so many. A nil delay
// is that of the Go scheduler.
func NewProcessor(queue int, delay func() time.Duration) *Processor {
	if delay == nil {
		delay = schedulerDelay()
	}
	return &Processor{delay: delay, line: line{most: queue, hasty: true}}
}

// Begin returns nil when work may begin, or why it may not: [ErrQueueFull],
// [ErrQueueTimeout] or that of ctx. Nobody waits for longer than a burst takes.
func (p *Processor) Begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	p.mu.Lock()
	p.advance(now)
	if p.line.length == 0 && p.take() {
		p.mu.Unlock()
		return nil
	}
	w := p.line.join(ctx, now)
	if w != nil && !p.ticking {
		p.ticking = true
		go p.serve()
	}
	p.mu.Unlock()
	if w == nil {
		return ErrQueueFull
	}
	return wait(ctx, w, standing, p.leave)
}

func (p *Processor) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line.leave(w)
}

// take takes one of what may begin in this tick. The caller holds mu.
func (p *Processor) take() bool {
	if p.shut {
		if p.left < 1 {
			return false
		}
		p.left--
	}
	p.begun++
	return true
}

// serve lets those begin who wait, until nobody does.
func (p *Processor) serve() {
	for {
		time.Sleep(tick)
		p.mu.Lock()
		now := time.Now()
		p.advance(now)
		for p.line.length > 0 && p.take() {
			if !p.line.next(now, 0) {
				break
			}
		}
		if p.line.hurry(now); p.line.length == 0 {
			p.ticking = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// advance begins a new tick if the current one is over. The caller holds mu.
func (p *Processor) advance(now time.Time) {
	since := now.Sub(p.tick)
	if since < tick {
		return
	}
	p.tick = now
	delay, begun := p.delay(), float64(p.begun)*min(1, float64(tick)/float64(since))
	p.begun = 0
	switch bound := p.line.length > 0 || p.left < 1; {
	case delay > longest && !p.shut:
		p.shut, p.slack = true, 0
		p.rate = max(begun/2, slowest)
		p.left = 0
	case !p.shut:
	case delay > longest:
		p.rate, p.slack = max(p.rate*0.9, slowest), 0
	case bound:
		p.rate, p.slack = p.rate*1.02+0.1, 0
	default:
		if p.slack++; p.slack >= slackTicks {
			p.shut = false
		}
	}
	if p.shut {
		p.left = min(p.left, 1) + p.rate
	}
}

// schedulerDelay returns a function that tells how long goroutines waited for a
// processor since it was last called, on average.
func schedulerDelay() func() time.Duration {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		metrics.Read(sample)
		h := sample[0].Value.Float64Histogram()
		sum, count := 0.0, 0.0
		for i, n := range h.Counts {
			if before != nil {
				n -= before[i]
			}
			if n > 0 && i > 0 {
				sum += float64(n) * h.Buckets[i] // the lower end: the first and last have no other
				count += float64(n)
			}
		}
		before = append(before[:0], h.Counts...)
		if count == 0 {
			return 0
		}
		return time.Duration(sum / count * float64(time.Second))
	}
}
