package middleware

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/internal/limit"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// Fail answers a request whose handler got err from an upstream, and returns
// the status it chose: 503 with Retry-After for a [*cachefetch.RefusedError],
// 504 for a timeout, else 502. The handler must not have written anything, and
// does nothing after it.
//
//	resp, err := client.Do(req)
//	if err != nil {
//		cachemw.Fail(w, err)
//		return
//	}
//
// Behind a [Cache.Handler], clients that wait for the run get a stale response
// if there is one that may be used, else all of them get this answer. A 502
// that a handler writes itself is a response like any other: when there is no
// stale one, everyone but the first client asks the upstream again.
func Fail(w http.ResponseWriter, err error) (status int) {
	var refused *cachefetch.RefusedError
	var timeout interface{ Timeout() bool }
	f := failure{status: http.StatusBadGateway}
	switch {
	case errors.As(err, &refused):
		f = failure{status: http.StatusServiceUnavailable, retryAfter: refused.RetryAfter}
	case errors.As(err, &timeout) && timeout.Timeout():
		f.status = http.StatusGatewayTimeout
	}
	f.answer(w)
	return f.status
}

// A failure is an answer of the program's own in place of a response.
type failure struct {
	status     int
	retryAfter time.Duration // 0 = none
	err        error         // of a round trip, for the callers of a Transport
}

// answer writes f. If w leads to the recorder of a run, that is told, so that
// the answer is not taken for the handler's.
func (f failure) answer(w http.ResponseWriter) {
	if rec := recorderOf(w); rec != nil {
		rec.Announce(f.head(), &verdict{failure: f})
	}
	h := w.Header()
	for name := range h { // what the handler had prepared for its response
		if stored.DescribesContent(name) || name == "Etag" || name == "Last-Modified" || name == "Expires" {
			delete(h, name)
		}
	}
	h.Set("Cache-Control", "no-store")
	f.setRetryAfter(h)
	http.Error(w, http.StatusText(f.status), f.status)
}

// head is what a run that ends in f says of itself.
func (f failure) head() fill.Head {
	return fill.Head{Status: f.status, Kind: fill.Instead, Length: -1, Reason: reasonError}
}

func (f failure) setRetryAfter(h http.Header) {
	if f.retryAfter > 0 {
		seconds := limit.RetryAfter(f.retryAfter) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}

// recorderOf looks behind the wrappers that other middleware puts around a
// ResponseWriter, as http.ResponseController does.
func recorderOf(w http.ResponseWriter) *fill.Recorder[*verdict] {
	for {
		switch x := w.(type) {
		case *fill.Recorder[*verdict]:
			return x
		case interface{ Unwrap() http.ResponseWriter }:
			w = x.Unwrap()
		default:
			return nil
		}
	}
}
