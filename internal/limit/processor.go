package limit

import (
	"context"
	"runtime/metrics"
	"sync"
	"time"
)

// A Processor bounds how much work begins, by how long goroutines that could run
// wait for a processor, whatever they are part of: several Processors of a program
// share what there is. Work that waits for others takes no processor while it
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
	shut    bool      // what begins is bounded
	rate    float64   // what may begin in a second, if shut
	left    float64   // of it
	filled  time.Time // when left was what it is
	looked  time.Time // at the delay
	begun   int       // since then
	bound   bool      // more would have begun since then
	slack   int       // looks since it would have
	ticking bool      // a goroutine serves the line
}

const (
	look    = 10 * time.Millisecond // between looks at the delay
	drip    = time.Millisecond      // between turns of those who wait: what begins at once waits for each other
	longest = 2 * time.Millisecond  // that goroutines may wait, on average
	slowest = 20                    // what may begin in a second at least
	slacks  = 100                   // looks until what begins is not bounded any more
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
	if p.line.length() == 0 && p.take() {
		p.mu.Unlock()
		return nil
	}
	p.bound = true
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

// ProcessorState is what goes on in a [Processor].
type ProcessorState struct {
	Bounded bool    // what begins is bounded
	Rate    float64 // what may begin in a second, if it is
	Queued  int     // callers that wait
}

// State returns a snapshot.
func (p *Processor) State() ProcessorState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ProcessorState{p.shut, p.rate, p.line.length()}
}

func (p *Processor) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line.leave(w)
}

// take takes one of what may begin now. The caller holds mu.
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
		time.Sleep(drip)
		p.mu.Lock()
		now := time.Now()
		p.advance(now)
		for p.line.length() > 0 && p.take() {
			if !p.line.next(now, 0) {
				break
			}
		}
		if p.line.hurry(now); p.line.length() == 0 {
			p.ticking = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// advance brings what may begin up to now. The caller holds mu.
func (p *Processor) advance(now time.Time) {
	if p.shut {
		p.left = min(p.left+p.rate*now.Sub(p.filled).Seconds(), max(1, 2*p.rate*drip.Seconds()))
	}
	p.filled = now
	since := now.Sub(p.looked)
	if since < look {
		return
	}
	delay, begun, bound := p.delay(), float64(p.begun)/since.Seconds(), p.bound
	if !p.shut && since > 2*look {
		// Hardly anything began since the last look: what the delay was in that
		// time is no matter of ours, and there is no rate to go on with. A burst
		// gets as far as the next look.
		delay = 0
	}
	p.looked, p.begun, p.bound = now, 0, p.line.length() > 0
	switch {
	case delay > longest && !p.shut:
		p.shut, p.slack, p.left = true, 0, 0
		p.rate = max(begun/2, slowest)
	case !p.shut:
	case delay > longest:
		p.rate, p.slack = max(p.rate*0.9, slowest), 0
	case bound:
		p.rate, p.slack = p.rate*1.02+1, 0
	default:
		if p.slack++; p.slack >= slacks {
			p.shut = false
		}
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
