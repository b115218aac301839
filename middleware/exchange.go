package middleware

import (
	"net/http"
	"sync/atomic"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A handler is one mounted route.
type handler struct {
	cache   *Cache
	policy  Policy
	next    http.Handler
	metrics *routeMetrics // nil if the policy has no name

	directed      bool // the Cache-Control of requests counts
	byCookie      bool // the key has all of Cookie
	byCredentials bool // the key has all of Authorization
	outbound      bool // of a Transport

	waiting atomic.Int64 // requests that wait for the header of another one's run
}

// An exchange is one request on its way through the cache.
type exchange struct {
	*handler
	w     http.ResponseWriter
	r     *http.Request
	began engine.Instant

	q      lookup
	hash   uint64                // of q
	old    *engine.Entry[object] // a response that cannot be sent as it is, or nil
	strict bool                  // the client wants no response that the origin has not confirmed for it
	soft   bool                  // a run that takes longer than SoftTimeout is answered from old
	reason string                // why nothing could be used: a parameter fwd of RFC 9211
	alone  bool                  // it waited for a run whose response is not for it

	// forwarded is the Cache-Status of an answer from the store that is no
	// hit, since the request went forward.
	forwarded string

	// asked is the request's own key, if what is looked for is a normal form
	// of it: see search.
	asked *key

	outdated int // runs waited for in vain, since they began before a purge
}

// ServeHTTP answers from the store if it can. This is the path of a hit:
// nothing here allocates.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.cache
	x := exchange{handler: h, w: w, r: r, began: c.store.Now(), reason: "uri-miss"}
	switch why := bypass(r); {
	case c.closed.Load():
		x.pass("bypass", reasonClosed)
		return
	case why == reasonMethod:
		x.modify()
		return
	case why != "":
		x.pass("bypass", why)
		return
	}
	x.q.key.set(r, &h.policy, h.outbound)
	x.hash = x.q.key.hash(c.seed)
	e := c.store.Get(x.hash, x.q)
	if e == nil {
		e = x.search()
	}
	if e != nil && e.Value.variants != nil {
		e = x.variant(&e.Value)
	}
	switch {
	case h.directed && r.Header["Cache-Control"] != nil:
		x.direct(e)
	case e == nil:
		x.miss()
	default:
		x.serve(e, e.State(x.began))
	}
}

// serve answers with e as far as its state allows.
func (x *exchange) serve(e *engine.Entry[object], state engine.State) {
	o := &e.Value
	if o.response == nil {
		x.serveUnshared(e, state)
		return
	}
	if why := o.excludes(x.r.Header); why != "" {
		x.pass("bypass", why)
		return
	}
	switch state {
	case engine.Fresh:
		x.write(e, x.began)
		x.countHit(o, outcomeHit)
	case engine.StaleWhileRevalidate:
		if x.nested() {
			x.next.ServeHTTP(x.w, x.r)
			return
		}
		if e.BeginRefresh(x.began) { // not while one is under way or has just failed
			x.refresh(e)
		}
		x.write(e, x.began)
		x.countHit(o, outcomeStale)
	case engine.StaleIfError:
		x.old, x.reason = e, "stale"
		if e.Backoff(x.began) {
			x.write(e, x.began)
			x.countHit(o, outcomeStale)
			return
		}
		x.miss()
	default:
		x.old, x.reason = e, "stale"
		x.miss()
	}
}

// excludes returns why a request is not to be answered although nothing in its
// key says so, or "".
func (s sharing) excludes(h http.Header) string {
	switch {
	case s.anonymous && h["Authorization"] != nil:
		return reasonAuthorization
	case s.byPolicy && h["Cookie"] != nil:
		return reasonCookie
	}
	return ""
}

// serveUnshared goes on where it is known that responses are not shared. The
// knowledge is for some time checked by one request after the other, while the
// others do not wait for what it finds.
func (x *exchange) serveUnshared(e *engine.Entry[object], state engine.State) {
	why := e.Value.private
	switch {
	case why == reasonCookie && x.r.Header["Cookie"] == nil,
		why == reasonAuthorization && x.r.Header["Authorization"] == nil:
		x.miss() // the responses that are not shared are those to requests with it
	case state == engine.Fresh:
		x.pass(x.reason, why)
	case state == engine.StaleWhileRevalidate && !e.BeginRefresh(x.began):
		x.pass(x.reason, why)
	case state == engine.StaleWhileRevalidate:
		defer e.EndRefresh()
		x.miss()
	default:
		x.miss()
	}
}

// variant goes on from the object of a key to that of the request's variant.
func (x *exchange) variant(o *object) *engine.Entry[object] {
	v := o.variants.find(x.r.Header)
	if v == nil {
		v = o.variants.add(x.r.Header, func(known *variant) bool {
			return x.cache.store.Get(known.hash, lookup{variant: known}) != nil
		})
	}
	x.reason = "vary-miss"
	x.q.variant = v
	if v == nil { // too many
		return &engine.Entry[object]{
			Value: object{private: reasonVariants},
			Times: engine.Times{FreshUntil: x.began + 1},
		}
	}
	x.hash = v.hash
	return x.cache.store.Get(v.hash, lookup{variant: v})
}

// bypass returns why nothing can be shared between this request and others,
// or "".
func bypass(r *http.Request) string {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return reasonMethod
	case r.ContentLength != 0:
		// Not r.Body: a server has one in HTTP/2 where there is none, and
		// middleware like chi's RequestSize wraps it in any case. Runs that
		// are shared get no body at all.
		return reasonBody
	case r.Header["Upgrade"] != nil:
		return reasonUpgrade
	case r.Header["Connection"] != nil && rfc9111.ConnectionHides(r.Header):
		// A handler that is a proxy takes the field away (RFC 9110 7.6.1), and
		// its origin answers as if it had not been there. The key says that it
		// was. To take it away here is no cure: middleware outside may have
		// acted on it.
		return reasonConnection
	}
	return ""
}
