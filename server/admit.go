package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// admit prepares a request for routing.
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
		case r == nil:
			refuse(w, http.StatusBadRequest)
		case r.URL.Path == "*":
			// It asks for the gateway as a whole (RFC 9110 9.3.7), which has
			// nothing to tell. net/http answers the same before it gets here.
			w.Header().Set("Content-Length", "0")
		default:
			next.ServeHTTP(w, r)
		}
	})
}
