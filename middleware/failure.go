package middleware

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/internal/limit"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// An httpFailure is an error that knows which status a server answers it with,
// and after how long the client may come back; zero means it is not told. Those
// of packages upstream and cachefetch do.
type httpFailure interface {
	HTTPFailure() (status int, retryAfter time.Duration)
}

// Fail answers a request whose handler got err, and returns the status that it
// chose. The handler must not have written anything, and does nothing after it.
//
//	resp, err := client.Do(req)
//	if err != nil {
//		cachemw.Fail(w, err)
//		return
//	}
//
// An error in the chain of err that has a method HTTPFailure, with the signature
// of [upstream.Error.HTTPFailure], chooses the status itself, from 400 to 599:
// 503 with Retry-After if an upstream has no place for the request, or another
// caller's load takes too long; 404 for cachefetch.ErrNotFound. Any other timeout
// is 504, and all else 502.
//
// A status below 500 is an answer as if the handler had written it. Else clients
// behind a [Cache.Handler] that wait for the run get a stale response if there is
// one that may be used, or all of them get this answer. A 502 that a handler
// writes itself is a response like any other: when there is no stale one,
// everyone but the first client asks the upstream again.
func Fail(w http.ResponseWriter, err error) (status int) {
	f := failureOf(err)
	f.answer(w)
	return f.status
}

// failureOf chooses the answer to err.
func failureOf(err error) failure {
	var known httpFailure
	if errors.As(err, &known) {
		if status, retryAfter := known.HTTPFailure(); status >= 400 && status <= 599 {
			return failure{status: status, retryAfter: retryAfter}
		}
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return failure{status: http.StatusGatewayTimeout}
	}
	return failure{status: http.StatusBadGateway}
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
	failed := f.status >= 500
	if rec := recorderOf(w); rec != nil && failed {
		rec.Announce(f.head(), &verdict{failure: f})
	}
	h := w.Header()
	for name := range h { // what the handler had prepared for its response
		if stored.DescribesContent(name) || name == "Etag" || name == "Last-Modified" || name == "Expires" {
			delete(h, name)
		}
	}
	if failed {
		h.Set("Cache-Control", "no-store")
	}
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
