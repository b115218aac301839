package middleware

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pinned knows the large bodies that are being sent. What the store has let go
// of meanwhile takes memory as long as a client reads it, and clients may read as
// slowly as they like: beyond a share of the budget, those who have read for the
// longest time are cut off.
type pinned struct {
	limit int64               // bytes of bodies that the store does not hold any more
	held  func(e *entry) bool // whether the store holds it
	every time.Duration       // how often pins are looked at
	count atomic.Int64        // of pins
	next  atomic.Int64        // time of the next look, in nanoseconds since 1970
	mu    sync.Mutex
	pins  map[*pin]struct{} // guarded by mu
}

// A pin is one body that is being sent, to one client or to those of one fill.
type pin struct {
	e     *entry
	since time.Time
	cut   func()

	mu   sync.Mutex
	done bool // guarded by mu: the clients are gone, and their connections may be another's
}

const (
	// pinnedBody is the smallest body that is watched. A smaller one is mostly
	// in the buffers of its connection as soon as it is written.
	pinnedBody = 64 << 10

	// pinnedEvery is how often pins are looked at.
	pinnedEvery = 50 * time.Millisecond
)

// pin notes that the body of e is being sent, until the result is called. Cut
// ends the sending.
func (p *pinned) pin(e *entry, cut func()) (unpin func()) {
	n := &pin{e: e, since: time.Now(), cut: cut}
	p.mu.Lock()
	if p.pins == nil {
		p.pins = make(map[*pin]struct{})
	}
	p.pins[n] = struct{}{}
	p.mu.Unlock()
	p.count.Add(1)
	return func() {
		n.mu.Lock()
		n.done = true
		n.mu.Unlock()
		p.mu.Lock()
		delete(p.pins, n)
		p.mu.Unlock()
		p.count.Add(-1)
	}
}

// send writes the body of e to w.
func (p *pinned) send(w http.ResponseWriter, e *entry) {
	defer p.pin(e, func() { sever(w) })()
	_, _ = w.Write(e.Value.response.Body) // the client may have left: nothing to be done
}

// trim cuts off who reads what the store has let go of, if that is too much. It
// is called when something was stored: nothing else makes the store let go.
func (p *pinned) trim() {
	if p.count.Load() == 0 {
		return
	}
	now := time.Now()
	if next := p.next.Load(); now.UnixNano() < next || !p.next.CompareAndSwap(next, now.Add(p.every).UnixNano()) {
		return
	}
	var ghosts []*pin
	sizes := make(map[*entry]int64)
	p.mu.Lock()
	for n := range p.pins {
		if !p.held(n.e) {
			ghosts = append(ghosts, n)
			sizes[n.e] = int64(len(n.e.Value.response.Body))
		}
	}
	p.mu.Unlock()
	total := int64(0)
	for _, size := range sizes {
		total += size
	}
	slices.SortFunc(ghosts, func(a, b *pin) int { return a.since.Compare(b.since) })
	for _, n := range ghosts {
		if total <= p.limit {
			return
		}
		n.end()
		total -= sizes[n.e]
		sizes[n.e] = 0 // others who read it go too, or hold it still: they are next
	}
}

func (n *pin) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.done {
		n.cut()
	}
}

// sever makes what is being written to w fail, and its connection or stream not
// end as if all were said. It reports false where w knows of no deadlines.
func sever(w http.ResponseWriter) bool {
	return http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) == nil
}
