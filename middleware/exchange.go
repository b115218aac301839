package middleware

import (
	"net/http"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// An exchange is one client's request on its way through the cache, and nothing
// of the run that may answer it.
type exchange struct {
	*route
	w     http.ResponseWriter
	r     *http.Request
	began engine.Instant

	key     key.Key
	hash    uint64      // of key
	variant key.Variant // by the rule of the key's responses, if there is one

	old    *entry // a response that cannot be sent as it is, or nil
	strict bool   // the client wants no response that the origin has not confirmed for it
	behind bool   // a run is begun for what is served stale, and not for the client
	reason string // why nothing could be used: a parameter fwd of RFC 9211
	alone  bool   // it waited for a run whose response is not for it

	// forwarded is the Cache-Status of an answer from the store that is no
	// hit, since the request went forward.
	forwarded string
}

// find looks for what is stored for the request. Why is set where it cannot be
// told apart from others.
func (x *exchange) find() (e *entry, why string) {
	e, x.variant, why = x.cache.find(x.hash, &x.key, x.r.Header, x.began)
	if !x.variant.IsZero() || why != "" {
		x.reason = "vary-miss"
	}
	return e, why
}

// nested reports whether the request comes from a run for the same. Nearly no
// request comes from a run of the cache at all.
func (x *exchange) nested() bool {
	r, _ := x.r.Context().Value(runsOf{x.cache}).(*runs)
	for r != nil && (r.key != x.key || r.method != x.r.Method) {
		r = r.outer
	}
	return r != nil
}

// flight names the flight of the request.
func (x *exchange) flight() string { return flightName(&x.key, x.variant, x.r.Method) }

func flightName(k *key.Key, v key.Variant, method string) string {
	name := k.String() + v.String()
	if method == http.MethodHead {
		name += "\x00HEAD"
	}
	return name
}

// count books one answered request.
func (x *exchange) count(m *routeMetrics, o outcome) {
	if m == nil {
		m = x.of(x.r)
	}
	m.requests[o].Update(x.cache.store.Now().Sub(x.began))
}

// pass runs the handler for this request alone, untouched.
func (x *exchange) pass(fwd, why string) {
	if why != "" {
		x.cache.metrics.notReused(why)
	}
	x.tell(fwd, why)
	x.passTo(x.w)
}

// tell says in Cache-Status that the request went forward.
func (x *exchange) tell(fwd, why string) {
	if x.policy.HideStatus {
		return
	}
	status := "freshet; fwd=" + fwd
	if x.alone {
		status += "; collapsed=?0"
	}
	if why != "" {
		status += "; detail=" + why
	}
	h := x.w.Header()
	h["Cache-Status"] = append(h["Cache-Status"], status)
}

func (x *exchange) passTo(w http.ResponseWriter) {
	// Deferred, since a handler may panic. The route's pattern may become
	// known only while the handler runs.
	defer func() {
		m := x.of(x.r)
		m.origin.Inc()
		x.count(m, outcomePass)
	}()
	x.next.ServeHTTP(w, x.r)
}

// fail answers with an error of the cache's own.
func (x *exchange) fail(m *routeMetrics, status int, why string) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	if !x.policy.HideStatus {
		h["Cache-Status"] = append(h["Cache-Status"], "freshet; fwd="+x.reason+"; detail="+why)
	}
	http.Error(x.w, http.StatusText(status), status)
	how := outcomeError
	if status == http.StatusServiceUnavailable {
		how = outcomeRefused
	}
	x.count(m, how)
}

// bypass returns why nothing can be shared between this request and others,
// or "".
func bypass(r *http.Request) string {
	h := r.Header
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return reasonMethod
	case r.ContentLength != 0:
		// Not r.Body: a server has one in HTTP/2 where there is none, and
		// middleware like chi's RequestSize wraps it in any case. Runs that
		// are shared get no body at all.
		return reasonBody
	case h["Connection"] != nil:
		if rfc9111.Upgrades(h) {
			return reasonUpgrade
		}
		if rfc9111.ConnectionHides(h) {
			// A handler that is a proxy takes the field away (RFC 9110 7.6.1),
			// and its origin answers as if it had not been there. The key says
			// that it was. To take it away here is no cure: middleware outside
			// may have acted on it.
			return reasonConnection
		}
	}
	return ""
}

func conditional(h http.Header) bool {
	return h["If-None-Match"] != nil || h["If-Modified-Since"] != nil
}
