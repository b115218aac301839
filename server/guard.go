package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lingerTime is how long net/http may go on reading, and throwing away, what is
// left of a body before it closes the connection: a client that is still
// sending then may lose the answer. net/http itself takes as long where it
// knows that there is too much to read.
const lingerTime = 500 * time.Millisecond

// A guard stands before all that a listener serves. It bounds the number of
// header and trailer fields, and keeps what is left of a body from becoming
// the next request.
type guard struct {
	next      http.Handler
	maxFields int
}

// ServeHTTP serves r, and watches over its body.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.Body == nil {
		g.serve(w, r)
		return
	}
	b := &requestBody{ReadCloser: r.Body, from: r, maxFields: g.maxFields}
	out := *r // net/http looks at its own
	out.Body = b
	if r.ProtoMajor != 1 {
		g.serve(w, &out)
	} else {
		a := &lastAnswer{ResponseWriter: w, body: b}
		defer a.end()
		g.serve(a, &out)
		a.begin()
	}
	r.MultipartForm = out.MultipartForm // net/http removes its files
}

func (g *guard) serve(w http.ResponseWriter, r *http.Request) {
	if len(r.Trailer) > g.maxFields || tooMany(r.Header, g.maxFields) {
		refuse(w, http.StatusRequestHeaderFieldsTooLarge)
		return
	}
	g.next.ServeHTTP(w, r)
}

// tooMany reports whether h has more than n fields.
func tooMany(h http.Header, n int) bool {
	for _, values := range h {
		if n -= len(values); n < 0 {
			return true
		}
	}
	return false
}

// A requestBody knows whether it was read to its end, which has to be a clean
// one.
type requestBody struct {
	io.ReadCloser
	from      *http.Request // net/http's own, which gets the trailers
	maxFields int

	reading sync.Mutex // held by a Read
	over    bool       // guarded by reading; the handler has returned
	closed  atomic.Bool
	ended   atomic.Bool
}

// A bodyError is the client's fault.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// Read reads as net/http does, until the handler has returned.
func (b *requestBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over || b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case err != io.EOF:
		err = &bodyError{err}
	case tooMany(b.from.Trailer, b.maxFields):
		err = &bodyError{fmt.Errorf("more than %d trailer fields", b.maxFields)}
	default:
		b.ended.Store(true)
	}
	return n, err
}

// Close makes further Reads fail, and leaves what was not read to net/http. Its
// own Close waits for a Read under way, which waits for a client that may be
// waiting for the answer: ReverseProxy closes the body before that is sent (Go
// 1.27).
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// A lastAnswer is the ResponseWriter for an HTTP/1 request with a body. If the
// answer begins before the body has ended, it is the last one on its
// connection: where the next request begins depends on bytes that nobody has
// asked for, and whose errors net/http does not look at.
type lastAnswer struct {
	http.ResponseWriter
	body     *requestBody
	began    bool
	hijacked bool
}

// begin comes before the header of the answer, which is that of an empty
// answer if the handler has written none.
func (a *lastAnswer) begin() {
	if a.began || a.hijacked {
		return
	}
	a.began = true
	if a.body.ended.Load() {
		return
	}
	a.Header().Set("Connection", "close")
	// Without this the server reads what is left of the body before it sends
	// the header. A client that waits for the answer would not send it.
	_ = http.NewResponseController(a.ResponseWriter).EnableFullDuplex()
}

// WriteHeader writes the header. That of an interim response says nothing yet.
func (a *lastAnswer) WriteHeader(status int) {
	if status >= 200 {
		a.begin()
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write writes to the client.
func (a *lastAnswer) Write(p []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(p)
}

// FlushError implements what http.ResponseController calls.
func (a *lastAnswer) FlushError() error {
	a.begin()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (a *lastAnswer) Flush() { _ = a.FlushError() }

// Hijack takes the connection, which net/http has nothing to do with then.
func (a *lastAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	a.hijacked = a.hijacked || err == nil
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (a *lastAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// end is called when the handler has returned, by a panic too. Nothing may read
// the body after it, since net/http does.
func (a *lastAnswer) end() {
	b := a.body
	if a.hijacked || b.ended.Load() {
		return
	}
	rc := http.NewResponseController(a.ResponseWriter)
	if !b.reading.TryLock() {
		// The body is on its way upstream, and there is no more of it yet.
		if rc.SetReadDeadline(time.Unix(1, 0)) != nil {
			return // no connection that could be closed
		}
		b.reading.Lock()
	}
	defer b.reading.Unlock()
	b.over = true
	_ = rc.SetReadDeadline(time.Now().Add(lingerTime))
}
