package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// rewrite directs a request to the upstream. ReverseProxy has removed
// hop-by-hop fields and what the client claimed in Forwarded and
// X-Forwarded-*.
func (u *forwarder) rewrite(p *httputil.ProxyRequest) {
	// A URL can say more than a path and a query, and net/http obeys it: Opaque
	// would stand in the request line in place of all that is set here.
	p.Out.URL = &url.URL{Path: p.In.URL.Path, RawPath: p.In.URL.RawPath}
	p.SetURL(u.target)
	// ReverseProxy drops parameters that Go cannot parse. They are the
	// upstream's business: it would otherwise see another query than the one
	// in the cache's key.
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.URL.ForceQuery = p.In.URL.ForceQuery
	if u.config.PreserveHost {
		p.Out.Host = p.In.Host
	}
	// The server fills in the values when it has read the body. ReverseProxy
	// has cloned the map before, and would send the names alone.
	p.Out.Trailer = p.In.Trailer
	p.SetXForwarded()
	if !u.config.NoVia {
		addVia(p.Out.Header, p.In)
	}
}

// addVia appends this hop (RFC 9110 7.6.3), with the protocol that the request
// was received in.
func addVia(h http.Header, in *http.Request) {
	hop := "1.1 freshet"
	switch {
	case in.ProtoMajor == 2:
		hop = "2.0 freshet"
	case in.ProtoMajor == 1 && in.ProtoMinor == 0:
		hop = "1.0 freshet"
	}
	if prior := h["Via"]; len(prior) > 0 {
		hop = strings.Join(prior, ", ") + ", " + hop
	}
	h["Via"] = []string{hop}
}

// asSent keeps net/http from guessing a Content-Type where the upstream has sent
// none: it would take what a user has uploaded for a page with scripts, in spite
// of an X-Content-Type-Options beside it.
type asSent struct{ http.ResponseWriter }

func (w asSent) WriteHeader(status int) {
	if h := w.Header(); status >= 200 && h["Content-Type"] == nil {
		h["Content-Type"] = nil
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w asSent) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fail answers a request whose exchange with the upstream failed before there
// was a response header: with a stale response if there is one, else 503 with
// Retry-After, 504 or 502. If its body was at fault it is answered 400.
func (u *forwarder) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.As(err, new(*bodyError)) {
		refuse(w, http.StatusBadRequest)
		return
	}
	status := cachemw.Fail(w, err)
	// A client that left is no failure of the upstream, and sees no answer.
	if r.Context().Err() == context.Canceled {
		return
	}
	if ok, suppressed := u.failures.Allow(time.Now()); ok {
		u.log.Warn("upstream request failed", "method", discreet.Text(r.Method), "path", discreet.Text(r.URL.Path),
			"status", status, "error", discreet.Error(err), "suppressed", suppressed)
	}
}

// refuse answers on the gateway's own account, with the name of the status.
func refuse(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status)+"\n")
}

// bufferPool lends the buffers that bodies are copied through. 32 KiB is what
// io.Copy and ReverseProxy use by themselves.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return new([bufferSize]byte)[:]
}

// Put takes back a buffer. The array is kept by pointer, which needs no
// allocation, unlike the slice.
func (p *bufferPool) Put(b []byte) {
	if len(b) == bufferSize {
		p.pool.Put((*[bufferSize]byte)(b))
	}
}
