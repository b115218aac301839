package middleware

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// modify runs the handler for a request whose method may change something. If
// it does not fail, what is stored for the URL is not true any more (RFC 9111
// 4.4), and is gone before the client knows that it has succeeded.
func (x exchange) modify() {
	x.tell("method", "")
	outer := x.w.Header().Clone()
	w := &watcher{ResponseWriter: x.w}
	w.seen = func(status int, h http.Header) {
		if !rfc9111.Invalidates(x.r.Method, status) {
			return
		}
		x.invalidate(h)
		if x.r.Method == http.MethodPost && h["Content-Location"] != nil {
			w.kept = x.capture(status, x.arrived(h, outer, x.r.Header))
		}
	}
	complete := false
	defer func() {
		if w.kept != nil {
			w.kept.store(complete)
		}
	}()
	x.passWith(w, x.r)
	w.finish()
	complete = true
}

// invalidate removes what is stored for the URL of the request, and for those
// that its response names, if they are of the same origin.
func (x *exchange) invalidate(response http.Header) {
	x.cache.purge(x.key(x.r))
	if response["Location"] == nil && response["Content-Location"] == nil {
		return
	}
	target, ok := x.target()
	if !ok {
		return
	}
	for _, raw := range rfc9111.InvalidationTargets(target, response) {
		if u, err := url.Parse(raw); err == nil {
			x.cache.purge(x.keyOf(target, u))
		}
	}
}

// target returns the URL that the client asked for. It is not that of the
// request where middleware has cut something off it.
func (x *exchange) target() (*url.URL, bool) {
	u := *x.r.URL
	if x.r.RequestURI != "" {
		parsed, err := url.ParseRequestURI(x.r.RequestURI)
		if err != nil {
			return nil, false
		}
		u = *parsed
	}
	u.Scheme, u.Host = "http", x.r.Host
	if x.r.TLS != nil {
		u.Scheme = "https"
	}
	return &u, true
}

// keyOf returns the key of a request like this one for another URL of its
// origin, as the cache would see it.
func (x *exchange) keyOf(target, u *url.URL) key {
	r := *x.r
	r.URL = &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	r.RequestURI = u.RequestURI()
	if cut, ok := strings.CutSuffix(target.Path, x.r.URL.Path); ok { // as http.StripPrefix does
		r.URL.Path = strings.TrimPrefix(u.Path, cut)
		r.URL.RawPath = strings.TrimPrefix(u.RawPath, cut)
	}
	return x.key(&r)
}
