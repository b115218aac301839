package middleware

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A resumer is the ResponseWriter of a client that has been sent the first
// part of a response that then became too large to be shared. The handler runs
// again for this client. The rest follows only if the second response has the
// same strong entity tag and begins with the same bytes, and is as long as it
// says. Otherwise the connection is cut, since a client must never get one half
// of each of two responses, nor a part for the whole.
type resumer struct {
	w      http.ResponseWriter
	first  verdict // on the response that the client was sent
	prefix []byte  // sent, and not yet written again
	header http.Header
	wrote  bool
	length int64 // that the second response declares, -1 if none
	n      int64 // of it, written so far
}

// resumable reports whether a client that has a part of a response with this
// verdict may get the rest from another run.
func resumable(v *verdict) bool { return rfc9111.HasStrongTag(v.header) }

// Header returns a map that goes nowhere: the header has been sent.
func (s *resumer) Header() http.Header {
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s.header
}

// WriteHeader cuts the connection if the second response is another one.
func (s *resumer) WriteHeader(status int) {
	if status < 200 || s.wrote {
		return
	}
	s.wrote = true
	second := rfc9111.Canonicalise(s.Header())
	if status != s.first.status || !rfc9111.SameRepresentation(s.first.header, second) {
		panic(http.ErrAbortHandler)
	}
	s.length = -1
	if n, err := strconv.ParseInt(second.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		s.length = n
	}
}

// Write passes on what is beyond the part sent.
func (s *resumer) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	if s.n += int64(len(p)); s.length >= 0 && s.n > s.length {
		return 0, http.ErrContentLength
	}
	n := min(len(p), len(s.prefix))
	if !bytes.Equal(p[:n], s.prefix[:n]) {
		panic(http.ErrAbortHandler)
	}
	s.prefix = s.prefix[n:]
	if n == len(p) {
		return n, nil
	}
	m, err := s.w.Write(p[n:])
	return n + m, err
}

// FlushError flushes what has been passed on.
func (s *resumer) FlushError() error { return http.NewResponseController(s.w).Flush() }

// finish cuts the connection if the second response was shorter than it should
// have been.
func (s *resumer) finish() {
	if len(s.prefix) > 0 || !s.wrote || s.length >= 0 && s.n != s.length {
		panic(http.ErrAbortHandler)
	}
}

// discard is the ResponseWriter of a client that needs no body.
type discard struct{ http.ResponseWriter }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Unwrap is for http.ResponseController.
func (d discard) Unwrap() http.ResponseWriter { return d.ResponseWriter }
