package middleware

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A reply is the ResponseWriter of a caller of RoundTrip: what is written to it
// becomes an *http.Response.
//
// The exchange begins on the caller's goroutine, and for a hit or a request
// that is passed to base it ends there. When it has to wait for a run, start
// lets it go on by itself: the caller gets the response at its header and
// reads the body through a pipe.
type reply struct {
	req *http.Request // the caller's, which is not changed
	in  http.Request  // what the exchange sees

	header http.Header
	resp   *http.Response // set by the final WriteHeader
	taken  *http.Response // base's response, which becomes resp
	err    error          // instead of resp
	crash  any            // value of a panic, instead of both

	body   hit     // of a response that is complete
	stream *stream // nil on the caller's goroutine
	traced bool    // base calls the hooks of the caller's trace
}

// A stream is the part of a reply that goes on after RoundTrip has returned.
type stream struct {
	ready  chan struct{} // closed when resp, err or crash is set
	done   bool          // ready is closed
	r      *io.PipeReader
	w      *io.PipeWriter
	cancel context.CancelFunc // the caller is gone

	length    int64       // of the body as declared, or less than 0
	sent      int64       // of it
	announced []string    // names of trailers
	trailers  http.Header // set before w is closed
}

// A replyKey is the key of the reply that a run was begun for, in the run's
// context.
type replyKey struct{}

// replyOf returns the reply that w writes to directly, or nil.
func replyOf(w http.ResponseWriter) *reply {
	for {
		switch t := w.(type) {
		case *reply:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil
		}
	}
}

// start goes on by serving the request on a goroutine of its own. From here on
// nothing of the caller's request is used that the caller may change once it
// has closed the body.
func (r *reply) start(serve func(*http.Request)) {
	ctx, cancel := context.WithCancel(context.WithValue(r.req.Context(), replyKey{}, r))
	r.stream = &stream{ready: make(chan struct{}), cancel: cancel}
	r.stream.r, r.stream.w = io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = r.stream.w.CloseWithError(context.Cause(ctx)) })
	//lint:ignore SA1019 http.Client uses it for its Timeout
	if abort := r.req.Cancel; abort != nil {
		go func() {
			select {
			case <-abort:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	in := r.in.WithContext(ctx)
	in.Header = in.Header.Clone()
	u := *in.URL
	in.URL = &u
	r.in = *in
	go func() {
		returned := false
		defer func() {
			var err error
			if !returned {
				err = r.crashed(recover())
			}
			if stop(); err == nil {
				err = context.Cause(ctx) // one that has left must not take its part for the whole
			}
			r.end(err)
		}()
		serve(&r.in)
		returned = true
	}()
}

// crashed takes the value of a panic, nil after runtime.Goexit, and returns
// what the reader of the body is told.
func (r *reply) crashed(value any) error {
	if r.stream.done {
		if e, ok := value.(originError); ok && e.error != io.EOF { // which would be a clean end
			return e.error
		}
		return io.ErrUnexpectedEOF
	}
	switch e := value.(type) {
	case originError:
		r.err = e.error
	case nil:
		r.err = errors.New("middleware: the round trip called runtime.Goexit")
	default:
		r.crash = value
	}
	return nil
}

// end is called when the exchange is over.
func (r *reply) end(err error) {
	s := r.stream
	if r.resp != nil && r.taken == nil {
		s.trailers = trailersOf(r.header, s.announced)
		if err == nil && s.sent < s.length {
			err = io.ErrUnexpectedEOF
		}
	}
	_ = s.w.CloseWithError(err)
	if !s.done {
		s.done = true
		close(s.ready)
	}
	if r.taken == nil {
		s.cancel() // else when the body is closed
	}
}

// result returns what RoundTrip returns.
func (r *reply) result() (*http.Response, error) {
	if r.stream != nil {
		<-r.stream.ready
	}
	switch {
	case r.crash != nil:
		panic(r.crash)
	case r.resp != nil:
		return r.resp, nil
	case r.err != nil:
		return nil, r.err
	case r.req.Context().Err() != nil:
		return nil, context.Cause(r.req.Context())
	}
	return nil, errors.New("middleware: request canceled while waiting for a response")
}

// Header implements [http.ResponseWriter].
func (r *reply) Header() http.Header {
	if r.header == nil {
		r.header = make(http.Header, 12)
	}
	return r.header
}

// WriteHeader makes the response, or tells the caller's trace of an interim
// one.
func (r *reply) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		trace := httptrace.ContextClientTrace(r.req.Context())
		if !r.traced && trace != nil && trace.Got1xxResponse != nil {
			_ = trace.Got1xxResponse(status, textproto.MIMEHeader(r.Header().Clone()))
		}
		return
	}
	if r.resp != nil {
		return
	}
	if r.resp = r.taken; r.resp == nil {
		r.resp = r.respond(status)
	} else {
		r.resp.Header, r.resp.Request = r.Header(), r.req
		if s := r.stream; s != nil && r.resp.Body != nil {
			r.resp.Body = &closeThen{r.resp.Body, s.cancel}
		}
	}
	if r.stream != nil {
		r.stream.done = true
		close(r.stream.ready)
	}
}

// respond makes the response that has been described so far.
func (r *reply) respond(status int) *http.Response {
	resp := &http.Response{
		Status:        statusLine(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        r.Header(),
		ContentLength: -1,
		Request:       r.req,
	}
	if n, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		resp.ContentLength = n
	}
	if !stored.BodyAllowed(status) {
		resp.ContentLength = 0
	}
	if r.stream == nil {
		resp.Body = &r.body
		return resp
	}
	if r.req.Method != http.MethodHead {
		r.stream.length = resp.ContentLength
	}
	resp.Header = resp.Header.Clone() // the exchange adds trailers to its own
	for _, line := range resp.Header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			r.stream.announced = append(r.stream.announced, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	delete(resp.Header, "Trailer")
	for _, name := range r.stream.announced {
		if resp.Trailer == nil {
			resp.Trailer = make(http.Header)
		}
		resp.Trailer[name] = nil
	}
	resp.Body = &streamed{r}
	return resp
}

func statusLine(status int) string {
	if status == http.StatusOK {
		return "200 OK"
	}
	return strconv.Itoa(status) + " " + http.StatusText(status)
}

// Write adds to the body.
func (r *reply) Write(p []byte) (int, error) {
	if r.resp == nil {
		r.WriteHeader(http.StatusOK)
	}
	if s := r.stream; s != nil {
		n, err := s.w.Write(p)
		s.sent += int64(n)
		return n, err
	}
	r.body.Reset(append(r.body.rest(), p...))
	return len(p), nil
}

// writeShared is Write for bytes that are never changed.
func (r *reply) writeShared(p []byte) {
	if r.stream != nil {
		_, _ = r.Write(p)
		return
	}
	r.body.Reset(p)
}

// A hit is a body that is there as a whole.
type hit struct{ bytes.Reader }

// Close implements [io.Closer].
func (h *hit) Close() error { h.Reset(nil); return nil }

// rest returns what has not been read.
func (h *hit) rest() []byte {
	b := make([]byte, h.Len())
	_, _ = h.ReadAt(b, 0)
	return b
}

// closeThen calls then when a body is closed.
type closeThen struct {
	io.ReadCloser
	then func()
}

// Close implements [io.Closer].
func (c *closeThen) Close() error {
	err := c.ReadCloser.Close()
	c.then()
	return err
}

// A streamed is the body of a response that is read while the exchange goes
// on.
type streamed struct{ reply *reply }

// Read sets the response's trailers at the end of the body.
func (b *streamed) Read(p []byte) (int, error) {
	s := b.reply.stream
	n, err := s.r.Read(p)
	if err == io.EOF && len(s.trailers) > 0 {
		b.reply.resp.Trailer = s.trailers
	}
	return n, err
}

// Close says that the client has left.
func (b *streamed) Close() error {
	s := b.reply.stream
	err := s.r.Close()
	s.cancel()
	return err
}
