package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// errServed ends the delivery to a client that has got its range.
var errServed = errors.New("middleware: the range is complete")

// A part is the ResponseWriter of a client that asked for a range of a
// response whose bytes come one after the other.
type part struct {
	w          http.ResponseWriter
	skip, left int64 // bytes before the range, and of it, still to come
}

// selectPart sends, instead of the response whose fields are set, the header
// of the range that was asked for, if it is one that a body of size bytes has.
// The result takes the bytes of the whole body, and sends those of the range.
// It is nil if the whole is to be sent.
func selectPart(w http.ResponseWriter, request http.Header, stored *rfc9111.Validators, size int64) *part {
	if !rfc9111.IfRange(request, stored) {
		return nil
	}
	start, length, selected := rfc9111.SelectRange(request["Range"], size)
	h := w.Header()
	switch selected {
	case rfc9111.SelectPart:
		h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, size)}
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
		w.WriteHeader(http.StatusPartialContent)
	case rfc9111.SelectNone:
		for name := range h {
			if describesContent(name) {
				delete(h, name)
			}
		}
		h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", size)}
		h["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	default:
		return nil
	}
	return &part{w: w, skip: start, left: length}
}

func (p *part) Header() http.Header { return p.w.Header() }

// WriteHeader does nothing: the header is out.
func (p *part) WriteHeader(int) {}

// Write sends what of b is in the range. Beyond it, it fails.
func (p *part) Write(b []byte) (int, error) {
	n := len(b)
	skipped := min(p.skip, int64(len(b)))
	p.skip -= skipped
	b = b[skipped:]
	b = b[:min(p.left, int64(len(b)))]
	if len(b) > 0 {
		m, err := p.w.Write(b)
		p.left -= int64(m)
		if err != nil {
			return m, err
		}
	}
	if p.left == 0 {
		return 0, errServed
	}
	return n, nil
}

// Unwrap is for http.ResponseController.
func (p *part) Unwrap() http.ResponseWriter { return p.w }
