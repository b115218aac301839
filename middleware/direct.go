package middleware

import (
	"net/http"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// direct answers a request whose Cache-Control counts (RFC 9111 5.2.1). What is
// stored for it is e, or nothing.
func (x exchange) direct(e *engine.Entry[object]) {
	cc := rfc9111.ParseCacheControl(x.r.Header["Cache-Control"])
	state := engine.Gone
	if e != nil {
		state = e.State(x.began)
	}
	if e != nil && e.Value.response != nil {
		s := e.Value.response
		times := e.Now()
		age := x.began.Sub(times.Stored) + s.initialAge
		lifetime := min(times.FreshUntil.Sub(times.Stored), rfc9111.MaxDelta) + s.initialAge
		switch rfc9111.Reuse(cc, age, lifetime, e.Value.noStale) {
		case rfc9111.UseAnyway:
			state = engine.Fresh
		case rfc9111.UseValidated:
			if x.reason = "stale"; state == engine.Fresh {
				x.reason = "request"
			}
			state, x.strict, x.old = engine.Gone, true, e
		}
	}
	usable := e != nil && e.Value.response != nil && e.Value.excludes(x.r.Header) == "" && state <= engine.StaleWhileRevalidate
	switch {
	case usable:
		x.serve(e, state)
	case cc.OnlyIfCached: // 5.2.1.7
		x.fail(x.route(x.r), http.StatusGatewayTimeout, reasonOnlyIfCached)
	case cc.NoStore: // 5.2.1.5
		x.pass(x.reason, string(rfc9111.ReasonRequestNoStore))
	case e == nil || x.strict:
		x.miss()
	default:
		x.serve(e, state)
	}
}
