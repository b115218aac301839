package fill

import (
	"bufio"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A Recorder is the ResponseWriter that a handler writes to while its response
// fills. Once the response turns out to be the leader's alone, it passes
// everything on to the leader's ResponseWriter.
//
// It has no Unwrap: that ResponseWriter is in use by the client's goroutine, or
// gone. What http.ResponseController asks for is passed on by the methods here
// while it can be.
type Recorder[V any] struct {
	fill   *Fill[V]
	header http.Header
	own    func(h http.Header) http.Header // of header, what was not set outside

	client http.ResponseWriter // once it is lent, and the header written
	lender *Reader[V]          // that lends it, once Hijack was tried
	wrote  bool                // a final header
	taken  bool                // the connection was hijacked
	gone   bool                // the response has no reader
	void   bool                // what is written is no response
	over   atomic.Bool         // the handler has returned: what it does now is too late

	// Announced is the head of an answer that is no response of the handler's,
	// for the status that WriteHeader brings next.
	Announced *Head
	verdict   V // of Announced
}

// NewRecorder returns a recorder for f whose header is h, in which own finds
// what the handler has set.
func NewRecorder[V any](f *Fill[V], h http.Header, own func(h http.Header) http.Header) *Recorder[V] {
	return &Recorder[V]{fill: f, header: h, own: own}
}

// Header implements [http.ResponseWriter].
func (r *Recorder[V]) Header() http.Header { return r.header }

// Announce says that the next header of this head's status is what V says.
func (r *Recorder[V]) Announce(h Head, v V) { r.Announced, r.verdict = &h, v }

// Wrote reports whether there was a final header.
func (r *Recorder[V]) Wrote() bool { return r.wrote }

// WriteHeader decides whose the response is.
func (r *Recorder[V]) WriteHeader(status int) {
	switch {
	case r.over.Load():
	case r.wrote && status >= http.StatusInternalServerError:
		// Something around the handler found that it has failed, too late to
		// say so: what there is of the body is not the whole.
		r.fill.tear()
	case r.client != nil:
		r.client.WriteHeader(status)
	case r.wrote:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		r.fill.inform(interim{status, maps.Clone(r.own(r.header))})
	case r.Announced != nil && status == r.Announced.Status: // else a wrapper made something else of it
		r.commit(*r.Announced, r.verdict)
	default:
		r.commit(r.fill.hooks.Decide(status, r.header))
	}
}

// commit makes the verdict known to the readers, and gives the response to the
// leader if it is that one's alone.
func (r *Recorder[V]) commit(h Head, v V) {
	f := r.fill
	r.wrote = true
	if r.lender != nil { // it is the leader's, whatever it is
		h.Kind, h.Reason = Private, ReasonHijack
		f.judged(h, v)
		r.lent(r.lender.Lend(h, v, r.header))
		return
	}
	if h.Kind == Void {
		r.void = true
		return
	}
	if h.Kind == Shared && !h.Has && !f.bodyless && h.Length > f.limit {
		h.Kind, h.Reason = Private, ReasonTooLarge
	}
	switch { // before anyone can act on it
	case h.Kind == Private:
		f.hooks.Unfit(h.Reason, true)
	case h.Kind == Shared && h.Reason != "":
		f.hooks.Unfit(h.Reason, false)
	}
	if held := f.judge(h, v); held.Kind == Private {
		if h.Kind != Private {
			h = held
			f.unfit(h.Reason)
		}
		r.borrow(h, v)
	}
}

// borrow waits for the leader's ResponseWriter and writes its header.
func (r *Recorder[V]) borrow(h Head, v V) {
	r.fill.context.Lift()
	leader := r.fill.borrow()
	if leader == nil {
		r.gone = true
		r.fill.context.Cancel(ErrLeft)
		return
	}
	r.lent(leader.Lend(h, v, r.header))
}

// lent is called with what the handler is to write to.
func (r *Recorder[V]) lent(w http.ResponseWriter) {
	r.client = w
	if p, ok := w.(*Part); ok && p.Left == 0 {
		r.fill.serve(p.W)
	}
}

// Served reports whether nobody waits for more of the response.
func (r *Recorder[V]) Served() bool { return r.client != nil && r.fill.Served() }

// borrow waits until the leader's goroutine has given its ResponseWriter up, and
// returns nil if the leader is gone.
func (f *Fill[V]) borrow() *Reader[V] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = true
	f.broadcast()
	for f.leader != nil && !f.lent {
		next := f.next()
		f.mu.Unlock()
		<-next
		f.mu.Lock()
	}
	return f.leader
}

// Write adds to the body that all read, or writes to the leader.
func (r *Recorder[V]) Write(p []byte) (int, error) {
	if r.over.Load() {
		return 0, ErrOver
	}
	if !r.wrote {
		r.WriteHeader(http.StatusOK)
	}
	switch {
	case r.client != nil:
		n, err := r.client.Write(p)
		if err == ErrServed { // the client has its part of the body
			r.fill.serve(r.client)
			return len(p), nil
		}
		return n, err
	case r.gone:
		return 0, ErrLeft
	case r.void:
		return len(p), nil
	}
	return r.fill.write(p)
}

// WriteString avoids a copy in io.WriteString.
func (r *Recorder[V]) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

// FlushError implements what http.ResponseController calls. A handler that
// flushes before it wrote anything wants its bytes to leave as they come: that
// response is not shared.
func (r *Recorder[V]) FlushError() error {
	if r.over.Load() {
		return ErrOver
	}
	if r.void {
		return nil
	}
	if r.client == nil && !r.wrote {
		h, v := r.fill.hooks.Decide(http.StatusOK, r.header)
		h.Kind, h.Reason = Private, ReasonFlush
		r.commit(h, v)
	}
	if r.client != nil {
		return http.NewResponseController(r.client).Flush()
	}
	f := r.fill
	f.mu.Lock()
	f.flushed = f.written
	f.broadcast()
	f.mu.Unlock()
	return nil
}

// Flush implements http.Flusher.
func (r *Recorder[V]) Flush() { _ = r.FlushError() }

// Hijack takes the client's connection if the client is still there and
// nothing was sent. If it cannot be taken, the handler may answer, and that is
// the client's alone.
func (r *Recorder[V]) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case r.over.Load():
		return nil, nil, ErrOver
	case r.client != nil:
		return http.NewResponseController(r.client).Hijack()
	case r.wrote:
		return nil, nil, http.ErrNotSupported
	}
	if r.lender == nil {
		f := r.fill
		f.mu.Lock()
		there := f.leader != nil
		f.mu.Unlock()
		if !there {
			return nil, nil, http.ErrNotSupported
		}
		_, v := f.hooks.Decide(http.StatusSwitchingProtocols, r.header)
		f.hooks.Unfit(ReasonHijack, true)
		f.judge(Head{Status: http.StatusSwitchingProtocols, Kind: Private, Reason: ReasonHijack, Length: -1}, v)
		f.context.Lift()
		if r.lender = f.borrow(); r.lender == nil {
			r.wrote, r.gone = true, true
			return nil, nil, ErrLeft
		}
	}
	conn, rw, err := http.NewResponseController(r.lender.W).Hijack()
	if err == nil {
		r.wrote, r.taken, r.client = true, true, r.lender.W
	}
	return conn, rw, err
}

// CloseNotify implements http.CloseNotifier, which frameworks still ask for: the
// channel gets a value when the run's context ends.
func (r *Recorder[V]) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	f := r.fill
	go func() { // ends with the run, whose context is ended then
		<-f.context.Done()
		gone <- true
	}()
	return gone
}

// control calls do for the leader's ResponseWriter while that is there. Where it
// is not, there is no client that could be late, and nothing to refuse.
func (r *Recorder[V]) control(do func(*http.ResponseController) error) error {
	f := r.fill
	f.controlling.Lock()
	defer f.controlling.Unlock()
	f.mu.Lock()
	leader := f.leader
	f.mu.Unlock()
	if leader == nil {
		return nil
	}
	return do(http.NewResponseController(leader.W))
}

// SetReadDeadline acts on the connection of the client that began the fill.
func (r *Recorder[V]) SetReadDeadline(t time.Time) error {
	return r.control(func(rc *http.ResponseController) error { return rc.SetReadDeadline(t) })
}

// SetWriteDeadline acts on the connection of the client that began the fill.
func (r *Recorder[V]) SetWriteDeadline(t time.Time) error {
	return r.control(func(rc *http.ResponseController) error { return rc.SetWriteDeadline(t) })
}

// EnableFullDuplex acts on the connection of the client that began the fill.
func (r *Recorder[V]) EnableFullDuplex() error {
	return r.control(func(rc *http.ResponseController) error { return rc.EnableFullDuplex() })
}

// Finish is called when the handler has returned (clean), or crashed. What it
// does with the recorder from then on does nothing.
func (r *Recorder[V]) Finish(clean bool) {
	f := r.fill
	finished := false
	defer func() { // also where what is called here panics
		r.over.Store(true)
		f.finish(clean && finished)
	}()
	if clean && !r.wrote && f.context.Err() == nil {
		// net/http answers 200 with an empty body for a handler that wrote
		// nothing. To store that would make an accident last. One that wrote
		// nothing since its context has ended has no answer at all.
		h, v := f.hooks.Decide(http.StatusOK, r.header)
		h.Kind, h.Reason = Private, ReasonEmpty
		r.commit(h, v)
	}
	switch {
	case r.client != nil && !r.taken:
		r.trailers()
	case clean && r.client == nil:
		r.sharedTrailers()
	}
	finished = true
}

// sharedTrailers notes the trailers of a response that was shared since it
// announced none.
func (r *Recorder[V]) sharedTrailers() {
	var trailers []stored.Field
	for name, values := range r.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			trailers = append(trailers, stored.Field{Name: name, Values: slices.Clone(values)})
		}
	}
	if trailers == nil {
		return
	}
	r.fill.mu.Lock()
	defer r.fill.mu.Unlock()
	r.fill.trailers = trailers
}

// trailers copies what the handler set after the header to the leader's map:
// the fields it declared in Trailer, and those with http.TrailerPrefix.
func (r *Recorder[V]) trailers() {
	h := r.client.Header()
	declared := make(map[string]bool)
	for _, line := range r.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			declared[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	for name, values := range r.header {
		if declared[name] || strings.HasPrefix(name, http.TrailerPrefix) {
			h[name] = values
		}
	}
}
