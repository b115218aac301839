package middleware

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A fill is one run of the handler and the response it writes, readable while
// it grows. The handler writes into it through a recorder, on a goroutine of
// its own. Every client, the one that began it too, reads from it at its own
// pace, so that none waits for another and none is missed when it leaves.
//
// At the response header it is decided whether the response may be shared. If
// not, or if later the body becomes too large, the fill is handed over: from
// then on the handler writes straight to the client that began it, and all
// others run the handler for themselves.
type fill struct {
	query  string        // of the first client, as far as it is part of a key
	req    *http.Request // what the handler is given; a clone of the leader's
	asked  http.Header   // of a request for the whole; the handler has a copy, to which it may do what it likes
	whole  *http.Request // req without the conditions of a validation and without a header; nil if it has none
	around outside       // the response header before the handler gets it
	decide func(f *fill, status int, h http.Header) verdict
	grow   func(n int64) bool // reserves bytes of the budget
	unfit  func(v *verdict)   // called once it is known that v is not shared

	// forward is the leader's Cache-Status if the response is handed over,
	// without its detail; empty if there is to be none.
	forward string

	context *engine.Detached

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil if nobody waits for it

	interim   []interim // 1xx responses that the leader has not been sent
	verdict   verdict   // set with committed
	committed bool
	body      []byte  // shared bytes so far; what was written is never changed
	reserved  int64   // bytes of the budget taken for body
	flushed   int     // the handler flushed when body had this length; -1 never
	done      bool    // the handler has returned or crashed
	replayed  bool    // the response came from the store
	trailers  []field // set before done; of a shared response, which announced none; they keep it out of the store
	complete  bool    // it returned, and everything it promised was written

	// handedOver: body has all bytes that are shared, those that follow go to
	// leader alone.
	handedOver bool
	leader     http.ResponseWriter // while the client that began the fill is there
	began      bool                // leader's header is written, or being written
	direct     bool                // leader is the handler's to write to
	hijacked   bool
}

// An interim is a 1xx response. It has whatever fields the handler had set by
// then, and nothing has said yet who may see them: it goes to the client that
// the handler runs for, and to nobody else.
type interim struct {
	status int
	header http.Header
}

// maxInterim and maxInterimBytes bound what waits for a client that does not
// read, or is gone: origins may send interim responses without end.
const (
	maxInterim      = 16
	maxInterimBytes = 64 << 10
)

// inform notes an interim response for the leader, if it is there and keeps up.
func (f *fill) inform(i interim) {
	size := int64(0)
	for name, values := range i.header {
		for _, v := range values {
			size += int64(len(name) + len(v))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader == nil || len(f.interim) >= maxInterim || size > maxInterimBytes/maxInterim {
		return
	}
	f.interim = append(f.interim, i)
	f.broadcast()
}

// A verdict says what becomes of a response, as known at its header.
type verdict struct {
	status    int
	forwarded int // the handler's status if that is another one: of a 304 to the cache
	fields    []field
	personal  []field  // for the client that asked, and nobody else
	upstream  []string // Cache-Status of caches before this one
	header    http.Header

	shared  bool   // others than the leader may have it
	private string // why not
	failed  bool   // an old response is to be used instead, or failure if there is none
	failure failure
	again   bool   // no response yet: the handler has to be asked for the whole
	untyped bool   // nothing says of which type the body is: net/http would guess
	body    []byte // the stored body of a response that the handler called good
	sharing
	vary   []string
	search searchID      // of its No-Vary-Search
	tags   []string      // without those of the URL
	age    time.Duration // initial age
	times  func(now engine.Instant) engine.Times
	length int64 // declared Content-Length, -1 if none
}

// errLeft is what a handler's write returns when its only client is gone.
var errLeft = errors.New("middleware: the client of this response has left")

// broadcast wakes all who wait for a change. The caller holds mu.
func (f *fill) broadcast() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// next returns a channel that is closed at the next change. The caller holds mu.
func (f *fill) next() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// append adds shared bytes, or reports false if they would exceed limit or
// the budget. The caller holds mu.
func (f *fill) append(p []byte, limit int64) bool {
	need := int64(len(f.body) + len(p))
	if need > limit {
		return false
	}
	if need > int64(cap(f.body)) {
		size := need
		if f.verdict.length >= need {
			size = f.verdict.length // known: allocate once
		} else if len(f.body) > 0 {
			size = min(max(need, 2*int64(cap(f.body))), limit)
		} else {
			size = max(need, min(512, limit))
		}
		if !f.grow(size - f.reserved) {
			return false
		}
		f.reserved = size
		// A new array: readers keep what they hold of the old one.
		body := make([]byte, len(f.body), size)
		copy(body, f.body)
		f.body = body
	}
	f.body = append(f.body, p...)
	return true
}

// handOver makes the leader the only reader of what follows, and waits until
// the leader's goroutine gives its ResponseWriter up. The caller holds mu,
// which is released meanwhile. It returns nil if the leader is gone.
func (f *fill) handOver() http.ResponseWriter {
	f.handedOver = true
	f.context.Lift()
	f.broadcast()
	for !f.direct && f.leader != nil {
		next := f.next()
		f.mu.Unlock()
		<-next
		f.mu.Lock()
	}
	return f.leader
}

// leave says that the leader's client is gone, or has all it will get.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader, f.interim = nil, nil
	f.broadcast()
}

// addTrailers adds the trailers of a shared response to the header of the
// leader. Its header was judged; they were not.
func (f *fill) addTrailers(h http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	setFields(h, f.trailers)
}

// finish is called when the handler has returned (clean) or crashed.
func (f *fill) finish(clean bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	f.complete = clean && f.committed &&
		(f.verdict.length < 0 || f.verdict.length == int64(len(f.body)) || !bodyAllowed(f.verdict.status))
	f.broadcast()
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// replay fills f with a stored response.
func (f *fill) replay(e *engine.Entry[object], now engine.Instant) {
	s := e.Value.response
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict = verdict{
		status: s.status, fields: s.fields, upstream: s.upstream, header: headerOf(s.fields),
		shared: true, sharing: e.Value.sharing, length: int64(len(s.body)),
		age: now.Sub(e.Times.Stored) + s.initialAge, search: e.Value.key.search,
		tags: e.Tags, // a purge by one of them ends the replay too
	}
	if e.Value.variant != nil {
		// Whoever joined this flight has the variant that it is for.
		f.verdict.vary = nil
	}
	f.body = s.body
	f.committed, f.replayed = true, true
	f.broadcast()
}

// fate returns what is known to become of the response. The caller holds mu.
func (f *fill) fate() fate {
	v := &f.verdict
	switch {
	case v.private != "":
		return fate{reason: v.private}
	case f.done && len(f.trailers) > 0:
		return fate{reason: string(rfc9111.ReasonTrailer)}
	case f.done && !f.complete:
		return fate{reason: reasonIncomplete}
	case v.times == nil:
		return fate{}
	}
	t := v.times(0)
	return fate{ttl: int64((t.FreshUntil.Sub(t.Stored)+v.age)/time.Second) - int64(v.age/time.Second)}
}

// whyPrivate returns why the response is not shared, "" if it is or is not
// known not to be.
func (f *fill) whyPrivate() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.verdict.private
}

// shared returns the bytes that all readers got of a handed-over response.
func (f *fill) shared() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.body
}

// over reports whether the handler has returned or crashed.
func (f *fill) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// joinable reports whether a request that comes at now may have the response.
// One that has broken off or failed is no use to it. One that is stale on
// arrival, as with no-cache, was validated for those who asked before its
// header came, and so is any response for a request that is strict.
func (f *fill) joinable(now engine.Instant, strict bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.done && !f.complete, f.verdict.failed:
		return false
	case !f.committed:
		return true
	}
	return !strict && (f.verdict.times == nil || f.verdict.times(now).FreshUntil > now)
}

// begun reports whether the leader was sent a header.
func (f *fill) begun() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.began || f.direct
}

// abandoned waits a moment for the handler to end after its context has, and
// reports whether it did not.
func (f *fill) abandoned() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.committed || f.done {
		return false
	}
	next := f.next()
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	f.mu.Unlock()
	select {
	case <-next:
		f.mu.Lock()
		return false
	case <-timer.C:
		f.mu.Lock()
		return !f.committed && !f.done
	}
}

// endGrace is what a handler gets to answer after its context has ended, so
// that a handler that answers 504 itself is heard.
const endGrace = 50 * time.Millisecond

// abandonedBody is abandoned for a response whose header is out.
func (f *fill) abandonedBody(next <-chan struct{}) bool {
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-next:
		return false
	case <-timer.C:
		return true
	}
}
