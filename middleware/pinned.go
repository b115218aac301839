package middleware

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/middleware/internal/fill"
)

// pinned knows the bodies that are being sent. What the store does not hold, or has
// let go of meanwhile, takes memory as long as a client reads it, and clients may
// read as slowly as they like: beyond a share of the budget, those who have read
// for the longest time are cut off.
type pinned struct {
	limit int64               // bytes of bodies that the store does not hold
	held  func(e *entry) bool // whether the store holds it
	every time.Duration       // how often pins are looked at
	count atomic.Int64        // of pins
	next  atomic.Int64        // time of the next look, in nanoseconds since 1970
	due   atomic.Bool         // a look was put off until then
	mu    sync.Mutex
	pins  map[*pin]struct{} // guarded by mu
}

// A pin is one body that is being sent, to one client or to those of one fill.
type pin struct {
	e     *entry // nil if it was never stored
	body  []byte
	since time.Time // it may be cut off since then; a time to come gives patience
	cut   func()

	mu   sync.Mutex
	done bool // guarded by mu: the clients are gone, and their connections may be another's
}

// pinnedBody and pinnedStream are the smallest bodies that are watched, over
// HTTP/1 and HTTP/2. A smaller one is in the buffers of its connection as soon as
// it is written: a stream has none of its own.
const (
	pinnedBody   = 16 << 10
	pinnedStream = fill.SmallBody
)

const (
	// pinnedEvery is how often pins are looked at.
	pinnedEvery = 50 * time.Millisecond

	// pinnedPatience is what clients have for a body that takes bytes of those
	// that are there for bodies under way.
	pinnedPatience = 5 * time.Second
)

// pins reports whether the sending of a body is watched.
func pins(body []byte, r *http.Request) bool {
	return len(body) > pinnedBody || len(body) > pinnedStream && r.ProtoMajor > 1
}

// pin notes that a body is being sent, that of e unless that is nil, until the
// result is called. Cut ends the sending, not before patience is over.
func (p *pinned) pin(e *entry, body []byte, patience time.Duration, cut func()) (unpin func()) {
	n := &pin{e: e, body: body, since: time.Now().Add(patience), cut: cut}
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
	body := e.Value.response.Body
	defer p.pin(e, body, 0, func() { sever(w) })()
	_, _ = w.Write(body) // the client may have left: nothing to be done
}

// trim cuts off who reads what the store does not hold, if that is too much. It is
// called when a run has ended: nothing else makes a body that is not stored, or
// the store let go of one.
func (p *pinned) trim() {
	if p.count.Load() == 0 {
		return
	}
	now := time.Now()
	next := p.next.Load()
	if now.UnixNano() < next || !p.next.CompareAndSwap(next, now.Add(p.every).UnixNano()) {
		if p.due.CompareAndSwap(false, true) {
			time.AfterFunc(p.every, func() { p.due.Store(false); p.trim() })
		}
		return
	}
	var ghosts []*pin
	sizes := make(map[*byte]int64) // of bodies, by their first byte: several may send one
	p.mu.Lock()
	for n := range p.pins {
		if !n.since.After(now) && (n.e == nil || !p.held(n.e)) {
			ghosts = append(ghosts, n)
			sizes[&n.body[0]] = int64(len(n.body))
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
		total -= sizes[&n.body[0]]
		sizes[&n.body[0]] = 0 // others who read it go too, or hold it still: they are next
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
