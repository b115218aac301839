// Package fill is the response of one run of a handler, readable while it
// grows: the handler writes it through a [Recorder], and each client reads it
// through a [Reader] at its own pace.
package fill

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A State is how far a response has come. It only grows.
type State uint8

const (
	Waiting  State = iota // there is no header yet
	Judged                // there is one; the leader is sending it, and nobody else is told yet
	Body                  // the header is for all who may have it, and the body comes
	Complete              // the whole response is there; the rest is refused
	Broken                // it broke off; the rest is refused
)

// A Kind says whose a response is.
type Kind uint8

const (
	Private Kind = iota // the leader's alone
	Shared              // for all who want it
	Instead             // nobody's: something else is to be used
	Void                // none: the handler is asked again, with another recorder
)

// A Head is what becomes of a response, as known at its header.
type Head struct {
	Status int
	Kind   Kind
	Length int64  // declared Content-Length, -1 if none
	Reason string // why it is not stored, "" if it may be

	// Body is set where the response has it although the handler writes none:
	// that of the stored response that a 304 is about. What the handler writes
	// is read by nobody then.
	Body []byte
	Has  bool // Body is set
}

// Hooks are what a fill asks of its run. They are called without a lock held.
type Hooks[V any] struct {
	Decide  func(status int, h http.Header) (Head, V)
	Reserve func(n int64) bool // takes bytes of the budget
	Release func(n int64)      // gives them back

	// Unfit says that the response is not stored, as soon as that is known: it
	// may be long before it ends. Lasting says that the next one will not be
	// either.
	Unfit func(reason string, lasting bool)
}

// A Fill is one response. The run makes it, and V is the run's own verdict.
type Fill[V any] struct {
	hooks    Hooks[V]
	context  *engine.Detached // of the run
	limit    int64            // bytes of the largest body that is kept
	bodyless bool             // the request is HEAD

	// controlling is held while the handler sets what belongs to the leader's
	// connection. It is acquired before mu.
	controlling sync.Mutex

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil if nobody waits for it

	state    State
	end      State // Complete or Broken once the handler has returned, else 0
	head     Head  // set with Judged
	verdict  V
	interim  []interim
	trailers []stored.Field // set before the end
	late     bool           // it took too long to be kept
	said     string         // by the outside, of what the leader was answered instead: why it is nobody else's
	sending  *time.Timer    // ends Judged

	// body has the bytes from base on. What was written is never changed.
	body     []byte
	base     int64
	reserved int64
	flushed  int64 // the handler flushed when it had written this much; -1 never
	written  int64 // bytes that the handler has written, also those that nobody reads
	torn     bool  // bytes that the handler wrote were lost
	told     bool  // its context had ended when the handler wrote the header
	sliding  bool  // it is not kept: what all have read is dropped

	readers map[*Reader[V]]struct{} // those who are sent the body, or have yet to choose
	done    func()                  // called when nobody reads any more; nil = nothing
	leader  *Reader[V]              // while the client that the run is for is there
	owned   bool                    // the handler will have the leader's ResponseWriter: it was told so at the header
	wanted  bool                    // the handler wants the leader's ResponseWriter
	lent    bool                    // it has it: the leader's goroutine does not touch it
	served  bool                    // and the leader has been sent all that it asked for
}

// New returns the fill of a run with this context. A body of more than limit
// bytes is not kept. Bodyless says that the request is HEAD.
func New[V any](ctx *engine.Detached, hooks Hooks[V], limit int64, bodyless bool) *Fill[V] {
	return &Fill[V]{hooks: hooks, context: ctx, limit: limit, bodyless: bodyless, flushed: -1, readers: make(map[*Reader[V]]struct{})}
}

// Why writes are refused.
var (
	ErrLeft = errors.New("middleware: the client of this response has left") // nobody reads it
	ErrOver = errors.New("middleware: the handler has returned")             // or its response is whole
)

// broadcast wakes all who wait for a change. The caller holds mu.
func (f *Fill[V]) broadcast() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// outside calls do, which others have made, without mu, which the caller holds:
// also after a panic.
func (f *Fill[V]) outside(do func()) {
	f.mu.Unlock()
	defer f.mu.Lock()
	do()
}

// next returns a channel that is closed at the next change. The caller holds mu.
func (f *Fill[V]) next() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// wait waits for a change, without mu, which the caller holds. It returns false
// when the timer fires or the run's context ends.
func (f *Fill[V]) wait(timer <-chan time.Time) bool {
	next := f.next()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-next:
		return true
	case <-timer:
	case <-f.context.Done():
	}
	return false
}

// judge notes the verdict on the header, and returns the head that holds.
func (f *Fill[V]) judge(h Head, v V) Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != Waiting {
		return f.head
	}
	if f.said != "" && h.Kind == Shared {
		h.Kind, h.Reason = Private, f.said
	}
	f.head, f.verdict, f.state = h, v, Judged
	f.told = f.context.Err() != nil
	if h.Has {
		f.body = h.Body
	}
	f.owned = h.Kind == Private
	// A leader tells by its header what middleware outside adds to it, before
	// others are given anything.
	if h.Kind != Shared || f.leader == nil {
		f.state = Body
	} else {
		f.sending = time.AfterFunc(sending, func() { f.confirm(ReasonUnheard) })
		if f.bodyless {
			f.sending.Stop() // its header waits for all that the handler does: see finish
		}
	}
	f.broadcast()
	return h
}

// judged notes the verdict on what follows a header that has come to nothing.
func (f *Fill[V]) judged(h Head, v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head, f.verdict = h, v
}

// sending is how long the others wait for the leader's header to be out: it is
// written to memory, unless the client does not read, or something outside of
// the cache takes its time. What that would have said is not known then, so the
// response is nobody else's.
const sending = time.Second

// confirm ends Judged, once the leader's header is out. Reason is why the
// response is not to be shared after all, or "".
func (f *Fill[V]) confirm(reason string) {
	f.mu.Lock()
	if f.state != Judged {
		f.mu.Unlock()
		return
	}
	f.state = max(Body, f.end)
	f.sending.Stop() // lets go of the fill
	if reason != "" {
		f.head.Kind, f.head.Reason = Private, reason
	}
	f.broadcast()
	f.mu.Unlock()
	if reason != "" {
		f.unfit(reason)
	}
}

// unfit says that the outside keeps the response from others, or could not be
// heard, which says nothing of the next one.
func (f *Fill[V]) unfit(reason string) { f.hooks.Unfit(reason, reason != ReasonUnheard) }

// Expire says that the run has taken as long as a response may take that is
// kept, and reports whether it may go on for those who read it: not before its
// header.
func (f *Fill[V]) Expire() (goesOn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == Waiting {
		return false
	}
	f.late = true
	f.broadcast()
	return true
}

// Wanted reports whether the run has something to do when no client is left:
// its response will be kept, as far as is known.
func (f *Fill[V]) Wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state == Waiting || !f.late && !f.sliding && f.head.Kind == Shared && f.head.Reason == "" || f.state >= Complete
}

// State returns the state.
func (f *Fill[V]) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Verdict returns what Decide has said, as soon as there is a header.
func (f *Fill[V]) Verdict() (h Head, v V, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head, f.verdict, f.state >= Judged
}

// Join reports whether who comes now may still be given the response, as far as
// the fill knows; fresh says so of the verdict. If it may, rd, unless it is nil,
// counts as a reader from here on: it may yet choose not to, and until then
// nothing of the body is dropped.
func (f *Fill[V]) Join(rd *Reader[V], fresh func(h Head, v V) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	joins := f.state == Waiting ||
		f.state != Broken && f.head.Kind == Shared && !f.sliding && !f.late && fresh(f.head, f.verdict)
	if joins && rd != nil {
		rd.Fill = f
		f.readers[rd] = struct{}{}
	}
	return joins
}

// Kept returns the whole body if the response is complete and may be kept, and
// the bytes reserved for it, which are the caller's to release. Nothing is
// reserved afterwards. Of a body that is not kept it returns nothing.
func (f *Fill[V]) Kept() (body []byte, reserved int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reserved = f.reserved
	f.reserved = 0
	ok = f.state == Complete && f.head.Kind == Shared && f.head.Reason == "" && !f.sliding && !f.late && f.trailers == nil
	if f.sliding || f.bodyless {
		return nil, reserved, ok
	}
	return f.body, reserved, ok
}

// Reason returns why the response is not kept, as far as the fill knows.
func (f *Fill[V]) Reason() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.state < Judged:
		return ""
	case f.head.Reason != "":
		return f.head.Reason
	case f.trailers != nil:
		return ReasonTrailer
	case f.late:
		return ReasonTimeout
	case f.state == Broken:
		return ReasonIncomplete
	}
	return ""
}

// Reasons that a fill finds by itself.
const (
	ReasonTrailer    = "trailer"
	ReasonTooLarge   = "too_large"
	ReasonNoRoom     = "no_room"
	ReasonTimeout    = "timeout"
	ReasonIncomplete = "incomplete"
	ReasonEmpty      = "empty"
	ReasonFlush      = "flush"
	ReasonHijack     = "hijack"

	// ReasonUnheard says that it is not known what the outside would have made
	// of the header: the first client does not read, or what writes to it takes
	// its time, or panicked. It says nothing of the next response.
	ReasonUnheard = "unheard"
)

// Replay makes f a response that is there as a whole.
func (f *Fill[V]) Replay(h Head, v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head, f.verdict, f.body, f.state = h, v, h.Body, Complete
	f.broadcast()
}

// finish ends the response: the handler has returned, or not (clean is false).
// Where the leader has yet to say by its header what is said outside, finish
// waits for that: only then is it known whose the response is.
func (f *Fill[V]) finish(clean bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != 0 {
		return
	}
	f.end = Broken
	if clean && f.whole() {
		f.end = Complete
	}
	if f.state != Judged {
		f.state = f.end
	}
	f.broadcast()
	if f.bodyless && f.state == Judged {
		f.sending.Reset(sending)
	}
	for f.state == Judged {
		next := f.next()
		f.mu.Unlock()
		<-next // the leader's header, its leaving, or the end of its time
		f.mu.Lock()
	}
}

// whole reports whether all that the header promised was written. A handler
// that returns once its context has ended may have meant to write more, unless
// it has said how much it would be, or answered only then. The caller holds mu.
func (f *Fill[V]) whole() bool {
	switch {
	case f.state == Waiting, f.torn:
		return false
	case f.head.Has, f.head.Kind == Instead, f.bodyless, !stored.BodyAllowed(f.head.Status):
		return true
	case f.head.Length >= 0:
		return f.written == f.head.Length || f.lent // net/http counts what is lent
	}
	return f.told || f.context.Err() == nil
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
func (f *Fill[V]) inform(i interim) {
	size := 0
	for name, values := range i.header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader == nil || f.state != Waiting || len(f.interim) >= maxInterim || size > maxInterimBytes/maxInterim {
		return
	}
	f.interim = append(f.interim, i)
	f.broadcast()
}

// Hold has done called when nobody reads the fill any more, which may be now.
func (f *Fill[V]) Hold(done func()) {
	f.mu.Lock()
	held := len(f.readers) > 0
	if held {
		f.done = done
	}
	f.mu.Unlock()
	if !held {
		done()
	}
}

// Cut cuts off all who read the fill.
func (f *Fill[V]) Cut() {
	f.mu.Lock()
	readers := slices.Collect(maps.Keys(f.readers))
	f.mu.Unlock()
	f.cutOff(readers)
}

// cutOff cuts off those of the readers that still read.
func (f *Fill[V]) cutOff(readers []*Reader[V]) {
	f.controlling.Lock() // nobody leaves meanwhile: the connection is still the client's
	defer f.controlling.Unlock()
	f.mu.Lock()
	var writers []http.ResponseWriter
	for _, rd := range readers {
		if _, ok := f.readers[rd]; ok {
			delete(f.readers, rd)
			rd.cut = true
			writers = append(writers, rd.W)
		}
	}
	f.broadcast()
	f.mu.Unlock()
	for _, w := range writers {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
	}
}

// Trailers adds the trailers of a shared response to the header of the leader.
// Its header was judged; they were not.
func (f *Fill[V]) Trailers(h http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stored.Apply(h, f.trailers)
}

// Ended returns the error of the run's context: nil as long as it goes on.
func (f *Fill[V]) Ended() error { return f.context.Err() }

// TimedOut reports whether the run's context ended by its deadline.
func (f *Fill[V]) TimedOut() bool { return errors.Is(f.context.Cause(), context.DeadlineExceeded) }
