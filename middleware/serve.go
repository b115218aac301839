package middleware

import (
	"net/http"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// ServeHTTP answers from the store if it can. This is the path of a hit: all it
// allocates is the values of the header, which are the client's own.
func (t *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := t.cache
	x := exchange{route: t, w: w, r: r, began: c.store.Now(), reason: "uri-miss"}
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
	x.key.Set(r, &t.rules)
	x.hash = x.key.Hash(c.seed)
	e, why := x.find()
	switch {
	case why != "":
		x.pass(x.reason, why)
	case t.directed && r.Header["Cache-Control"] != nil:
		x.direct(e)
	case e == nil:
		x.miss()
	default:
		x.serve(e, x.stateOf(e, x.began))
	}
}

// serve answers with e as far as its state allows.
func (x *exchange) serve(e *entry, state engine.State) {
	o := &e.Value
	if o.response == nil {
		x.serveUnshared(e, state)
		return
	}
	if o.anonymous || o.byPolicy {
		if why := x.excludes(&o.sharing, x.r); why != "" {
			x.pass("bypass", why)
			return
		}
	}
	if rfc9111.HasPrecondition(x.r.Header) && !(state == engine.Fresh && rfc9111.Holds(x.r.Header, &o.response.Validators)) {
		x.pass("request", reasonPrecondition)
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

// serveUnshared goes on where it is known that responses are not shared. The
// knowledge is for some time checked by one request after the other, while the
// others do not wait for what it finds.
func (x *exchange) serveUnshared(e *entry, state engine.State) {
	why := e.Value.private
	switch {
	case e.Value.apart && x.plain(x.r):
		x.miss() // the responses that are not shared are to requests that say more
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

// direct answers a request whose Cache-Control counts (RFC 9111 5.2.1). What is
// stored for it is e, or nothing.
func (x exchange) direct(e *entry) {
	cc := rfc9111.ParseCacheControl(x.r.Header["Cache-Control"])
	state := engine.Gone
	if e != nil {
		state = x.stateOf(e, x.began)
	}
	if e != nil && e.Value.response != nil {
		switch x.reuse(e, state, cc) {
		case rfc9111.UseAnyway:
			state = engine.Fresh
		case rfc9111.UseValidated:
			if x.reason = "stale"; state == engine.Fresh {
				x.reason = "request"
			}
			state, x.strict, x.old = engine.Gone, true, e
		}
	}
	usable := e != nil && e.Value.response != nil && x.excludes(&e.Value.sharing, x.r) == "" && state <= engine.StaleWhileRevalidate
	switch {
	case usable:
		x.serve(e, state)
	case cc.OnlyIfCached: // 5.2.1.7
		x.fail(x.of(x.r), http.StatusGatewayTimeout, reasonOnlyIfCached)
	case cc.NoStore: // 5.2.1.5
		x.pass(x.reason, string(rfc9111.ReasonRequestNoStore))
	case e == nil || x.strict:
		x.miss()
	default:
		x.serve(e, state)
	}
}

// reuse says what the request's directives make of e, which is in this state.
func (x *exchange) reuse(e *entry, state engine.State, cc rfc9111.CacheControl) rfc9111.Use {
	s, times := e.Value.response, e.Now()
	age := x.began.Sub(times.Stored) + s.InitialAge
	lifetime := min(times.FreshUntil.Sub(times.Stored), rfc9111.MaxDelta) + s.InitialAge
	if state != engine.Fresh {
		lifetime = min(lifetime, age) // it may be fresh by another route's policy alone
	}
	return rfc9111.Reuse(cc, age, lifetime, e.Value.noStale)
}
