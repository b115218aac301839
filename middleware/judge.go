package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// decide is the verdict on a response, as known at its header.
func (x *exchange) decide(f *fill, status int, h http.Header) verdict {
	a := x.arrived(h, f.around, f.asked)
	if status == http.StatusNotModified && f.whole != nil {
		return x.freshen(a)
	}
	v := verdict{status: status, length: a.length()}
	if x.old != nil && serverError(status) && x.keepOld(a.now) {
		v.failed = true
		return v
	}
	x.judge(&v, a)
	return v
}

// An arrival is a response header as it came from the handler.
type arrival struct {
	method string
	asked  http.Header // of the request
	fields []field     // what the handler set, canonical, with a Date
	around outside     // what was set outside of the cache,
	left   http.Header // and what of it the handler left as it was
	date   time.Time
	now    engine.Instant
	wall   time.Time
}

// arrived takes down a response header to a request with the fields asked.
// Before the handler got it, it had those of around.
func (x *exchange) arrived(h http.Header, around outside, asked http.Header) *arrival {
	a := &arrival{method: http.MethodGet, asked: asked, around: around, now: x.cache.store.Now(), wall: time.Now()}
	a.fields, a.left = around.divide(rfc9111.Canonicalise(h))
	var ok bool
	if a.date, ok = rfc9111.DateField(headerOf(a.fields), "Date", a.wall); !ok { // a handler that sets none, as is normal in chi
		a.date = a.wall
		a.fields = slices.DeleteFunc(a.fields, func(f field) bool { return f.name == "Date" })
		a.fields = append(a.fields, field{name: "Date", values: []string{a.wall.UTC().Format(http.TimeFormat)}})
	}
	return a
}

// length is the Content-Length that the handler declared, or -1.
func (a *arrival) length() int64 {
	if n, err := strconv.ParseInt(headerOf(a.fields).Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		return n
	}
	return -1
}

// keepOld reports whether the old response is to be used, or kept, when the
// handler fails: if it has not been purged meanwhile, inside stale-if-error, and, by a run behind it, as long as it
// is served anyway.
func (x *exchange) keepOld(now engine.Instant) bool {
	return !x.strict && x.cache.store.Holds(x.old) && (x.old.Usable(now) || x.old.State(now) == engine.StaleWhileRevalidate)
}

// judge says whether v may be shared, for how long, and with which fields. All
// that the client is sent counts: what the handler has set, merged into what was
// stored if it has set a 304, and what it has left of the fields set outside.
func (x *exchange) judge(v *verdict, a *arrival) {
	header := a.around.around(a.fields, a.left)
	cc, targeted := rfc9111.ResponseControl(header, x.policy.TargetedFields)
	if targeted {
		delete(header, "Expires") // RFC 9213 2.2
	}
	ageValue, _ := rfc9111.ParseAge(header["Age"])
	v.age = rfc9111.InitialAge(ageValue, a.date, a.wall.Add(-a.now.Sub(x.began)), a.wall)
	fresh := rfc9111.Lifetime(header, cc, a.date, a.wall)
	lifetime := fresh.Lifetime - v.age
	if !fresh.Explicit {
		lifetime = min(x.assumed(v, header, cc, a), rfc9111.MaxDelta) // so that sums do not overflow
	}
	windows := rfc9111.StaleWindows{WhileRevalidate: x.policy.StaleWhileRevalidate, IfError: x.policy.StaleIfError}
	cookies := a.asked["Cookie"] != nil && !x.byCookie
	reason := rfc9111.Store(rfc9111.StoreInput{
		Method:      a.method,
		Request:     a.asked,
		Status:      v.status,
		LocatesSelf: a.method == http.MethodPost, // else it is not asked
		Header:      header,
		Control:     cc,
		Freshness:   fresh,
		Age:         v.age,
		HasTTL:      lifetime > 0 && !cookies,
		Stale:       windows,

		AllowSetCookie:     x.policy.SetCookie == StripSetCookie || x.policy.SetCookie == StoreSetCookie,
		AllowAuthorization: x.byCredentials,
	})
	vary, _ := rfc9111.VaryFields(header)
	v.vary = union(vary, unkeyed(a.asked))
	switch {
	case reason == rfc9111.ReasonNoFreshness && lifetime > 0:
		v.private = reasonCookie
	case reason != rfc9111.Storable:
		v.private = string(reason)
	case slices.Contains(vary, "X-Forwarded-For"):
		// A proxy behind the cache makes it anew of the client's address, which
		// no key has: what the request says of it is not what the origin saw.
		v.private = string(rfc9111.ReasonVaryStar)
	case eventStream(header.Get("Content-Type")):
		v.private = reasonEventStream
	}
	v.shared = v.private == ""
	v.untyped = !x.outbound && header["Content-Type"] == nil && header.Get("Content-Encoding") == ""
	v.upstream = headerOf(a.fields)["Cache-Status"]
	personal := rfc9111.StripFields(cc)
	if x.policy.SetCookie == StripSetCookie {
		personal = append(personal, "Set-Cookie", "Set-Cookie2")
	}
	v.divide(a.fields, personal)
	if v.shared {
		v.tags = x.tags(v)
		v.search = x.searchOf(v.header["No-Vary-Search"])
	}
	v.sharing = sharing{
		byPolicy:  !fresh.Explicit && !x.byCookie,
		anonymous: !rfc9111.AllowsAuthorization(cc) && !x.byCredentials,
		noStale:   rfc9111.StaleForbidden(cc),
	}
	if cc.NoCache {
		lifetime = 0 // 5.2.2.4: validated on every use
	}
	windows = rfc9111.Stale(cc, windows)
	if over := -lifetime; over > 0 { // stale on arrival: part of the windows is gone
		windows.WhileRevalidate -= over
		windows.IfError -= over
	}
	keep := time.Duration(0)
	if rfc9111.HasValidator(v.header) {
		keep = keepFor
	}
	v.times = func(now engine.Instant) engine.Times {
		return engine.NewTimes(now, lifetime, windows.WhileRevalidate, windows.IfError).Keep(keep)
	}
}

// divide sorts the fields into those of everyone and those of the client that
// asked, and leaves out those of a connection. Age is made anew for each
// answer, and Cache-Status is added to.
func (v *verdict) divide(fields []field, personal []string) {
	v.header = headerOf(fields)
	rfc9111.StripConnection(v.header)
	delete(v.header, "Age")
	delete(v.header, "Cache-Status")
	v.fields = make([]field, 0, len(fields))
	for _, f := range fields {
		switch {
		case f.values != nil && v.header[f.name] == nil:
		case slices.Contains(personal, f.name):
			v.personal = append(v.personal, f)
			delete(v.header, f.name)
		default:
			v.fields = append(v.fields, f)
		}
	}
}

// rewriters are request fields that change what a handler takes for the URL,
// the client's scheme or the method, and that nobody names in Vary.
var rewriters = []string{
	"Forwarded", "Front-End-Https", "X-Forwarded", "X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix",
	"X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Uri",
	"X-Host", "X-Http-Host-Override", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Host",
	"X-Original-Uri", "X-Original-Url", "X-Proto", "X-Rewrite-Url", "X-Scheme", "X-Script-Name", "X-Url-Scheme",
}

// plain reports whether a request has nothing, beside what its key says, by
// which handlers are known to tell clients apart.
func (h *handler) plain(asked http.Header) bool {
	return (asked["Authorization"] == nil || h.byCredentials) && (asked["Cookie"] == nil || h.byCookie) && len(unkeyed(asked)) == 0
}

// unkeyed returns the rewriters in a request. A response that was made with
// them is stored as if it varied by them: a client that sends X-Forwarded-Host
// gets what it asked for, and nobody else does.
func unkeyed(h http.Header) []string {
	var found []string
	for _, name := range rewriters {
		if h[name] != nil {
			found = append(found, name)
		}
	}
	return found
}

// assumed returns how long a response without explicit freshness is fresh from
// now on: what the policy gives it, or else a heuristic. A request with a
// Cookie gets nothing that is only assumed to be for everyone.
func (x *exchange) assumed(v *verdict, header http.Header, cc rfc9111.CacheControl, a *arrival) time.Duration {
	if _, named := x.policy.StatusTTL[v.status]; named || rfc9111.HeuristicStatus(v.status) {
		if ttl, ok := x.policy.ttl(v.status); ok || named {
			return ttl
		}
	}
	return rfc9111.Heuristic(v.status, header, cc, a.date, a.wall, x.policy.HeuristicLimit) - v.age
}

func eventStream(contentType string) bool {
	mime, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mime), "text/event-stream")
}

// serverError reports whether status is one that stale-if-error is for
// (RFC 5861 4).
func serverError(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
