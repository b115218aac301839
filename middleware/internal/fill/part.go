package fill

import (
	"errors"
	"net/http"
)

// ErrServed ends the delivery to a client that has got all it wants.
var ErrServed = errors.New("middleware: the client has what it asked for")

// A Part is the ResponseWriter of a client that wants a range of a response
// whose bytes come one after the other. It takes the bytes of the whole body,
// and sends those of the range. Its zero range is for who wants no body.
type Part struct {
	W          http.ResponseWriter
	Skip, Left int64 // bytes before the range, and of it, still to come
}

// Header returns the header of W.
func (p *Part) Header() http.Header { return p.W.Header() }

// WriteHeader does nothing: the header is out.
func (p *Part) WriteHeader(int) {}

// Write sends what of b is in the range. Beyond it, it fails with ErrServed.
func (p *Part) Write(b []byte) (int, error) {
	n := len(b)
	skipped := min(p.Skip, int64(len(b)))
	p.Skip -= skipped
	b = b[skipped:]
	b = b[:min(p.Left, int64(len(b)))]
	if len(b) > 0 {
		m, err := p.W.Write(b)
		p.Left -= int64(m)
		if err != nil {
			return m, err
		}
	}
	if p.Left == 0 {
		return 0, ErrServed
	}
	return n, nil
}

// Unwrap is for http.ResponseController.
func (p *Part) Unwrap() http.ResponseWriter { return p.W }
