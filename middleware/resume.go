package middleware

import (
	"bytes"
	"net/http"
)

// A resumer is the ResponseWriter of a client that has been sent the first
// part of a response that then became too large to be shared. The handler runs
// again for this client, and what it writes is compared with what was sent:
// only if it is the same, byte for byte, does the rest follow. Otherwise the
// connection is cut, since a client must never get one half of each of two
// responses.
type resumer struct {
	w      http.ResponseWriter
	prefix []byte // sent, and not yet written again
	status int
	header http.Header
	wrote  bool
}

// Header returns a map that goes nowhere: the header has been sent.
func (s *resumer) Header() http.Header {
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s.header
}

// WriteHeader cuts the connection if the second response is of another kind.
func (s *resumer) WriteHeader(status int) {
	if status < 200 || s.wrote {
		return
	}
	s.wrote = true
	if status != s.status {
		panic(http.ErrAbortHandler)
	}
}

// Write passes on what is beyond the part sent.
func (s *resumer) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
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

// finish cuts the connection if the second response was shorter than what was
// sent of the first.
func (s *resumer) finish() {
	if len(s.prefix) > 0 {
		panic(http.ErrAbortHandler)
	}
}

// discard is the ResponseWriter of a client that needs no body.
type discard struct{ http.ResponseWriter }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Unwrap is for http.ResponseController.
func (d discard) Unwrap() http.ResponseWriter { return d.ResponseWriter }
