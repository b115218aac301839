package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
)

// admit prepares a request for routing, and for the cache: what goes upstream
// is what the cache has seen.
func admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodOptions, http.MethodTrace:
		case http.MethodConnect:
			// A tunnel to wherever the client likes is not a gateway's work.
			refuse(w, http.StatusNotImplemented)
			return
		default:
			// chi answers 405 to methods it does not know, and the list of
			// those it knows is global. Routes take all methods alike, so
			// any name finds them; the request keeps its own.
			chi.RouteContext(r.Context()).RouteMethod = http.MethodPost
		}
		r = originForm(r)
		switch {
		case r == nil || !sized(r):
			refuse(w, http.StatusBadRequest)
		case r.URL.Path == "*":
			// It asks for the gateway as a whole (RFC 9110 9.3.7), which has
			// nothing to tell. net/http answers the same before it gets here.
			w.Header().Set("Content-Length", "0")
		default:
			next.ServeHTTP(w, endToEnd(r))
		}
	})
}

// sized reports whether the length that r declares is the one that net/http
// goes by. In HTTP/2 it takes what it cannot read for 0, and drops the body.
func sized(r *http.Request) bool {
	declared := r.Header["Content-Length"]
	if r.ProtoMajor == 1 || declared == nil {
		return true
	}
	n, err := strconv.ParseInt(declared[0], 10, 64)
	return err == nil && len(declared) == 1 && n == r.ContentLength
}

// endToEnd returns r without the fields that its Connection names: they are for
// this hop only (RFC 9110 7.6.1). ReverseProxy removes them too, but behind the
// cache. A response would be stored under a field that its Vary names and the
// upstream has not seen.
func endToEnd(r *http.Request) *http.Request {
	out := r
	for _, line := range r.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			switch name {
			case "Connection", "Te", "Upgrade": // ReverseProxy looks at these
				continue
			}
			if out.Header[name] == nil {
				continue
			}
			if out == r {
				q := *r
				q.Header = r.Header.Clone()
				out = &q
			}
			delete(out.Header, name)
		}
	}
	return out
}
