package middleware

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/freshet-go/freshet/middleware/internal/fill"
)

// Transport returns a round tripper that caches what base fetches, as p says.
// It is the other face of the same cache: the rules, the store, coalescing and
// the metrics are those of [Cache.Handler], but the two never answer for each
// other. A nil base is http.DefaultTransport. Transport panics if p is not
// valid; [Cache.CheckPolicy] tells before.
//
//	client := &http.Client{Transport: cache.Transport(cachemw.Policy{}, base)}
//
// A key is the URL that a request is sent to, and its Host where that differs.
// The Cache-Control of requests counts, unless p says otherwise. Requests that
// cannot be answered from a cache go to base as they are, and so do the bodies
// of their responses. For the others base gets a request of the cache's own,
// whose context keeps the values of the first caller's and ends after
// Policy.FillTimeout.
//
// A cache sees only what is in the request. What base adds to it, an API key
// or a user's token, is not part of the key: put such a transport around this
// one, not inside of it, unless all callers share the secret.
//
// When base fails and no stale response may be used, all who waited get base's
// error. A response from the store has neither TLS nor Uncompressed set.
func (c *Cache) Transport(p Policy, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	h := c.mount(c.accepted(p), HonourDirectives, true, origin{base})
	if h.metrics == nil { // the router's pattern in the context is that of another request
		h.metrics = c.metrics.route("transport")
	}
	return &transport{base: base, exchange: h}
}

// A transport is one use of a Cache as an http.RoundTripper.
type transport struct {
	base     http.RoundTripper
	exchange *route
}

// RoundTrip implements [http.RoundTripper]. A hit is answered on the caller's
// goroutine; a miss on one that ends with the response body.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !keyed(req.URL) {
		return t.base.RoundTrip(req)
	}
	r := &reply{req: req, in: asServed(req)}
	t.exchange.ServeHTTP(r, &r.in)
	return r.result()
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// keyed reports whether a key holds everything that u says. It has no place
// for credentials, nor for a URL that is not taken apart.
func keyed(u *url.URL) bool {
	return u != nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.Opaque == ""
}

// overTLS marks a request to an https URL, as a server marks one that came in
// over TLS.
var overTLS tls.ConnectionState

// asServed returns a request as a server that is asked for req's URL sees it. It
// shares the header of req, which belongs to the caller.
func asServed(req *http.Request) http.Request {
	in := *req
	in.RequestURI = ""
	if in.URL.Path == "" { // sent as "/"
		u := *in.URL
		u.Path = "/"
		in.URL = &u
	}
	if in.Host == "" {
		in.Host = in.URL.Host
	} else if in.Host != in.URL.Host {
		// Sent to one server in the name of another, as by a reverse proxy
		// that keeps the client's Host: the response depends on both.
		in.RequestURI = in.URL.Scheme + "://" + in.URL.Host + in.URL.EscapedPath()
	}
	in.TLS = nil
	if in.URL.Scheme == "https" {
		in.TLS = &overTLS
	}
	if in.Body != nil && in.Body != http.NoBody && in.ContentLength == 0 {
		in.ContentLength = -1 // unknown, in a request that is to be sent
	}
	if in.Header == nil {
		in.Header = make(http.Header)
	}
	return in
}

// outbound returns a copy of r for base to send.
func outbound(r *http.Request) *http.Request {
	out := *r
	out.RequestURI = ""
	out.TLS = nil
	//lint:ignore SA1019 it is one caller's, and the exchange heeds it
	out.Cancel = nil
	return &out
}

// An origin is what a Transport runs where a Handler runs the next handler: it
// makes the round trip.
type origin struct{ base http.RoundTripper }

// ServeHTTP copies base's response to w, or hands it to the caller whole if it
// is for that one alone.
func (o origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rep := replyOf(w); rep != nil {
		o.direct(rep, w, r)
		return
	}
	// net/http may call the hook when RoundTrip has returned: too late to touch w.
	var interim sync.Mutex
	over := false
	trace := httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		interim.Lock()
		defer interim.Unlock()
		if !over {
			forward(w, status, http.Header(h))
		}
		return nil
	}}
	if first, ok := r.Context().Value(replyKey{}).(*reply); ok && !first.traced {
		first.traced = true // its hooks are called by base, whose second round trip need not say so again
	}
	resp, err := o.base.RoundTrip(outbound(r.WithContext(httptrace.WithClientTrace(r.Context(), &trace))))
	interim.Lock()
	over = true
	interim.Unlock()
	if err == nil && resp == nil {
		err = fmt.Errorf("middleware: %T.RoundTrip returned neither a response nor an error", o.base)
	}
	if err != nil {
		f := failure{status: http.StatusBadGateway, err: err}
		recorderOf(w).Announce(f.head(), &verdict{failure: f})
		w.WriteHeader(f.status)
		return
	}
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	h := w.Header()
	for name, values := range resp.Header {
		h[name] = append(slices.Clip(values), h[name]...)
	}
	announced := make(map[string]bool, len(resp.Trailer))
	for name := range resp.Trailer {
		announced[name] = true
		h.Add("Trailer", name)
	}
	w.WriteHeader(resp.StatusCode)
	copyBody(w, resp)
	for name, values := range resp.Trailer {
		if !announced[name] {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// direct gives base's response to the one caller it is for, with its body as
// it is.
func (o origin) direct(rep *reply, w http.ResponseWriter, r *http.Request) {
	out := rep.req
	if rep.stream != nil || r != &rep.in {
		out = outbound(r)
	}
	resp, err := o.base.RoundTrip(out)
	if err == nil && resp == nil {
		err = fmt.Errorf("middleware: %T.RoundTrip returned neither a response nor an error", o.base)
	}
	if err != nil {
		rep.err = err
		return
	}
	h := w.Header()
	for name, values := range resp.Header {
		h[name] = append(slices.Clip(values), h[name]...)
	}
	rep.taken = resp
	w.WriteHeader(resp.StatusCode)
}

// forward writes an interim response to w.
func forward(w http.ResponseWriter, status int, fields http.Header) {
	h := w.Header()
	for name, values := range fields {
		h[name] = values
	}
	w.WriteHeader(status)
	for name := range fields {
		delete(h, name)
	}
}

// copyBuffers hold *[]byte of 32 KiB, as io.Copy uses.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copyBody copies the body to w. It does not return if the body breaks off or w
// refuses it: what has been copied must not pass for the whole.
func copyBody(w http.ResponseWriter, resp *http.Response) {
	rec := recorderOf(w)
	if resp.Body == nil || rec.Served() {
		return
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	if _, err := io.CopyBuffer(wanted{rec}, resp.Body, *buf); err != nil && err != fill.ErrServed {
		panic(originError{err})
	}
}

// wanted writes to a recorder for as long as anybody waits for more. It hides
// everything but Write.
type wanted struct{ rec *fill.Recorder[*verdict] }

func (w wanted) Write(p []byte) (int, error) {
	n, err := w.rec.Write(p)
	if err == nil && w.rec.Served() {
		err = fill.ErrServed
	}
	return n, err
}

// An originError is the value of a panic that ends a run in the middle of its
// response.
type originError struct{ error }

// Is makes it an http.ErrAbortHandler: an end that nobody has to be told of.
func (originError) Is(target error) bool { return target == http.ErrAbortHandler }

// Unwrap returns base's error.
func (e originError) Unwrap() error { return e.error }

// trailersOf returns the fields that are trailers in the header of a
// ResponseWriter, by their own names.
func trailersOf(h http.Header, announced []string) http.Header {
	trailers := make(http.Header)
	for _, name := range announced {
		trailers[name] = h[name]
	}
	for name, values := range h {
		if own, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			trailers[http.CanonicalHeaderKey(own)] = values
		}
	}
	return trailers
}
