package middleware

import (
	"bufio"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A recorder is the ResponseWriter that a handler writes to while its response
// fills. Once the fill is handed over, it passes everything on to the client.
//
// It has no Unwrap: the client's own ResponseWriter is in use by the client's
// goroutine, or gone. What http.ResponseController asks for is passed on by
// the methods here while it can be.
type recorder struct {
	fill   *fill
	header http.Header
	limit  int64

	client      http.ResponseWriter // after the hand-over
	wroteHeader bool
	gone        bool    // the response has no reader any more
	again       bool    // the verdict was to ask for the whole
	failure     failure // announced by [Fail] or a [Limiter]; WriteHeader follows
}

func newRecorder(f *fill, limit int64) *recorder {
	return &recorder{fill: f, header: f.around.header(), limit: limit}
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = make(http.Header)
	}
	return r.header
}

// WriteHeader decides whether the response is shared.
func (r *recorder) WriteHeader(status int) {
	if r.client != nil {
		r.client.WriteHeader(status)
		return
	}
	if r.wroteHeader {
		return
	}
	f := r.fill
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		f.inform(interim{status, r.newHeader()})
		return
	}
	if status == r.failure.status { // else a wrapper made something else of it
		r.commit(verdict{failure: r.failure, failed: true, status: status, length: -1})
		return
	}
	r.commit(f.decide(f, status, r.Header()))
}

// newHeader returns the fields that were not set outside the cache.
func (r *recorder) newHeader() http.Header {
	h := make(http.Header)
	for name, values := range r.Header() {
		if n := r.fill.around.untouched(name, values); n == 0 || n < len(values) {
			h[name] = slices.Clone(values)
		}
	}
	return h
}

// commit makes v known to the readers, and hands the response over if it is
// not shared.
func (r *recorder) commit(v verdict) {
	r.wroteHeader = true
	if v.again {
		r.again = true
		return
	}
	f := r.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict = v
	f.body = v.body
	f.committed = true
	if v.shared && (v.length <= r.limit || v.forwarded != 0) || v.failed {
		f.broadcast()
		return
	}
	if v.shared {
		f.verdict.shared, f.verdict.private = false, reasonTooLarge
	}
	r.handOver()
}

// handOver waits for the client's ResponseWriter and, if its header has not
// been written, writes it. The caller holds fill.mu.
func (r *recorder) handOver() {
	f := r.fill
	f.unfit(&f.verdict)
	client := f.handOver()
	if client == nil {
		r.gone = true
		f.context.Cancel(errLeft)
		return
	}
	r.client = client
	if f.began || f.hijacked {
		return
	}
	// The handler's fields are those set outside, as they were, and its own.
	h := client.Header()
	clear(h)
	maps.Copy(h, r.Header())
	if f.forward != "" {
		status := f.forward
		if f.verdict.private != "" {
			status += "; detail=" + f.verdict.private
		}
		h["Cache-Status"] = append(slices.Clone(h["Cache-Status"]), status)
	}
	client.WriteHeader(f.verdict.status)
}

// Write adds to the shared body, or writes to the client.
func (r *recorder) Write(p []byte) (int, error) {
	if !r.wroteHeader {
		r.WriteHeader(http.StatusOK)
	}
	if r.client != nil {
		return r.client.Write(p)
	}
	f := r.fill
	if r.gone {
		return 0, errLeft
	}
	f.mu.Lock()
	if r.again || f.verdict.failed || f.verdict.forwarded != 0 {
		f.mu.Unlock()
		return len(p), nil // read by nobody: it is not the response
	}
	if !bodyAllowed(f.verdict.status) {
		f.mu.Unlock()
		return 0, http.ErrBodyNotAllowed
	}
	if err := f.context.Err(); err != nil && f.leader == nil {
		f.mu.Unlock()
		return 0, err
	}
	if v := &f.verdict; v.length >= 0 && int64(len(f.body)+len(p)) > v.length {
		p = p[:v.length-int64(len(f.body))] // as net/http does
		f.append(p, r.limit)
		f.broadcast()
		f.mu.Unlock()
		return len(p), http.ErrContentLength
	}
	if f.append(p, r.limit) {
		f.broadcast()
		f.mu.Unlock()
		return len(p), nil
	}
	f.verdict.private = reasonTooLarge
	r.handOver()
	f.mu.Unlock()
	if r.client == nil {
		return 0, errLeft
	}
	return r.client.Write(p)
}

// WriteString avoids a copy in io.WriteString.
func (r *recorder) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

// FlushError implements what http.ResponseController calls. A handler that
// flushes before it wrote anything wants its bytes to leave as they come: that
// response is not shared.
func (r *recorder) FlushError() error {
	if r.client == nil && !r.wroteHeader {
		v := r.fill.decide(r.fill, http.StatusOK, r.Header())
		v.shared, v.failed, v.private = false, false, reasonFlush
		r.commit(v)
	}
	if r.client != nil {
		return http.NewResponseController(r.client).Flush()
	}
	f := r.fill
	f.mu.Lock()
	f.flushed = len(f.body)
	f.broadcast()
	f.mu.Unlock()
	return nil
}

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// Hijack takes the client's connection if the client is still there and
// nothing was sent.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	f := r.fill
	if r.client == nil {
		f.mu.Lock()
		if f.committed || f.leader == nil {
			f.mu.Unlock()
			return nil, nil, http.ErrNotSupported
		}
		f.hijacked = true
		f.verdict = verdict{private: reasonHijack, length: -1}
		f.committed = true
		r.wroteHeader = true
		r.handOver()
		f.mu.Unlock()
	}
	if r.client == nil {
		return nil, nil, errLeft
	}
	return http.NewResponseController(r.client).Hijack()
}

// control calls do for the client's ResponseWriter while that is there.
func (r *recorder) control(do func(*http.ResponseController) error) error {
	f := r.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader == nil {
		return http.ErrNotSupported
	}
	return do(http.NewResponseController(f.leader))
}

// SetReadDeadline acts on the connection of the client that began the fill.
func (r *recorder) SetReadDeadline(t time.Time) error {
	return r.control(func(rc *http.ResponseController) error { return rc.SetReadDeadline(t) })
}

// SetWriteDeadline acts on the connection of the client that began the fill.
func (r *recorder) SetWriteDeadline(t time.Time) error {
	return r.control(func(rc *http.ResponseController) error { return rc.SetWriteDeadline(t) })
}

// EnableFullDuplex acts on the connection of the client that began the fill.
func (r *recorder) EnableFullDuplex() error {
	return r.control(func(rc *http.ResponseController) error { return rc.EnableFullDuplex() })
}

// finish is called when the handler has returned.
func (r *recorder) finish(clean bool) {
	if clean && !r.wroteHeader {
		// net/http answers 200 with an empty body for a handler that wrote
		// nothing. To store that would make an accident last.
		v := r.fill.decide(r.fill, http.StatusOK, r.Header())
		v.shared, v.private = false, reasonEmpty
		r.commit(v)
	}
	if r.client != nil && !r.fill.hijacked {
		r.trailers()
	} else if clean && r.client == nil {
		r.sharedTrailers()
	}
	r.fill.finish(clean)
}

// sharedTrailers notes the trailers of a response that was shared since it
// announced none.
func (r *recorder) sharedTrailers() {
	var trailers []field
	for name, values := range r.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			trailers = append(trailers, field{name: name, values: slices.Clip(slices.Clone(values))})
		}
	}
	if trailers == nil {
		return
	}
	r.fill.mu.Lock()
	defer r.fill.mu.Unlock()
	r.fill.trailers = trailers
}

// trailers copies what the handler set after the header to the client's map:
// the fields it declared in Trailer, and those with http.TrailerPrefix.
func (r *recorder) trailers() {
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
