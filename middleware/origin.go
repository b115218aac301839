package middleware

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// Reasons why a response was not stored or nothing could be used: the detail
// parameter of Cache-Status, and a label of metrics. Those of package rfc9111
// are added to them.
const (
	reasonMethod        = "method"
	reasonBody          = "body"
	reasonAuthorization = "authorization"
	reasonRange         = "range"
	reasonUpgrade       = "upgrade"
	reasonCookie        = "cookie"
	reasonTooLarge      = "too-large"
	reasonVariants      = "variants"
	reasonFlush         = "flush"
	reasonHijack        = "hijack"
	reasonEmpty         = "empty"
	reasonEventStream   = "event-stream"
	reasonIncomplete    = "incomplete"
	reasonPanic         = "panic"
	reasonPurged        = "purged"
	reasonClosed        = "closed"
	reasonError         = "error"
)

// passFor is how long it is remembered that a key's responses are not shared,
// so that its requests need not wait for each other to find out (hit-for-miss).
const passFor = 5 * time.Second

// failing backoff of refreshes: doubled from base up to limit.
const (
	backoffBase  = time.Second
	backoffLimit = 32 * time.Second
)

// flight names the flight of x.
func (x *exchange) flight() string {
	name := x.q.key.string()
	if x.q.variant != nil {
		name = variantFlight(name, x.q.variant)
	}
	return name
}

// A runOf is the key of a value in the context of each run. A request with it
// comes from the run itself, since the cache is mounted twice or the handler
// asks for its own URL: that request must not wait for the run, nor have the
// stale response that the run is to replace.
type runOf struct {
	cache  *Cache
	flight string
}

func (x *exchange) nested() bool {
	return x.r.Context().Value(runOf{x.cache, x.flight()}) != nil
}

// join joins the run of the handler for x's key, or begins one.
func (x *exchange) join(attached bool) (*engine.Ticket[*fill], error) {
	c := x.cache
	run := *x // the request goes on with x, and may be over before the run is
	run.w = nil
	name := x.flight()
	return c.flights.Join(x.r.Context(), flightHash(c.seed, name), name, engine.Start[*fill]{
		Timeout: x.policy.FillTimeout,
		Keep:    true, // until the header says that nobody else will have it
		Gen:     c.store.Generation,
		Joins:   func(f *engine.Flight[*fill]) bool { return run.mayJoin(f) },
		State:   func(f *engine.Flight[*fill]) *fill { return x.newFill(f, &run, attached) },
		Run:     func(f *engine.Flight[*fill]) { run.run(f) },
		Crashed: run.crashed,
	})
}

// mayJoin reports whether x may be answered from a run that is under way: not
// if it began before a purge. A purge dooms the runs it knows; those for
// variants that had lost their place in the list tell by their generation.
func (x *exchange) mayJoin(f *engine.Flight[*fill]) bool {
	if v := x.q.variant; v != nil && f.Gen < v.born {
		return false
	}
	return !x.cache.store.Superseded(f.Gen, x.cache.store.Newest(), &object{key: x.q.key}, nil) && f.State.joinable(x.cache.store.Now())
}

// newFill makes the fill of a flight. It runs on the request's own goroutine,
// while its chi route context is certain to be its own.
func (x *exchange) newFill(fl *engine.Flight[*fill], run *exchange, attached bool) *fill {
	f := &fill{
		context: fl.Context,
		flushed: -1,
		grow:    x.cache.store.Reserve,
		outer:   http.Header{},
	}
	f.verdict.length = -1
	if attached {
		f.leader = x.w
		f.outer = x.w.Header().Clone()
		if !x.policy.HideStatus {
			f.forward = "freshet; fwd=" + x.reason
		}
	}
	f.decide = run.decide
	ctx := context.WithValue(fl.Context, runOf{x.cache, x.flight()}, true)
	f.whole = x.detach(ctx)
	f.asked = f.whole.Header.Clone()
	f.req = f.whole
	if x.old != nil {
		if r := x.detach(ctx); rfc9111.SetValidators(r.Header, x.old.Value.response.header) {
			f.req = r
		}
	}
	return f
}

// detach returns the request that the handler is given: one that asks for the
// whole response, on the run's own context.
func (x *exchange) detach(ctx context.Context) *http.Request {
	if rc := chi.RouteContext(ctx); rc != nil {
		// chi takes the context back when the request is over (chi #993).
		ctx = context.WithValue(ctx, chi.RouteCtxKey, rc.Clone())
	}
	if ctx.Value(http.ServerContextKey) == nil {
		// httputil.ReverseProxy reports a response that broke off only where
		// it believes itself in a server.
		ctx = context.WithValue(ctx, http.ServerContextKey, &http.Server{})
	}
	r := x.r.Clone(ctx)
	r.Body = http.NoBody
	r.Method = http.MethodGet
	rfc9111.StripConditional(r.Header)
	if !x.policy.Query.isZero() {
		r.URL.RawQuery = x.q.key.query
		// Other ways to see what is not part of the key.
		r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
		if path, _, ok := strings.Cut(r.RequestURI, "?"); ok {
			r.RequestURI = path
			if x.q.key.query != "" {
				r.RequestURI += "?" + x.q.key.query
			}
		}
	}
	return r
}

// run runs the handler and stores its response if it may be.
func (x *exchange) run(fl *engine.Flight[*fill]) {
	f := fl.State
	c := x.cache
	// Look again: another run may have ended between the look at the store
	// and the joining. Its response is played into this fill.
	if e := c.store.Get(x.hash, x.q); e != nil && e.Value.response != nil && e.State(c.store.Now()) == engine.Fresh {
		f.replay(e, c.store.Now())
		f.finish(true)
		x.settle(fl, true)
		return
	}
	rec := newRecorder(f, x.policy.MaxBodyBytes)
	clean := false
	defer func() {
		rec.finish(clean)
		x.settle(fl, clean)
	}()
	defer func() { x.route(f.req).origin.Inc() }()
	x.next.ServeHTTP(rec, f.req)
	if rec.again {
		x.route(f.req).origin.Inc()
		f.req = f.whole
		rec = newRecorder(f, x.policy.MaxBodyBytes)
		x.next.ServeHTTP(rec, f.req)
	}
	clean = true
}

// decide is the verdict on a response, as known at its header.
func (x *exchange) decide(f *fill, status int, h http.Header) verdict {
	now := x.cache.store.Now()
	a := arrival{now: now, wall: time.Now()}
	h = h.Clone()
	rfc9111.Canonicalise(h)
	a.fields = newFields(h, f.outer)
	var ok bool
	if a.date, ok = rfc9111.DateField(headerOf(a.fields), "Date", a.wall); !ok { // a handler that sets none, as is normal in chi
		a.date = a.wall
		a.fields = slices.DeleteFunc(a.fields, func(f field) bool { return f.name == "Date" })
		a.fields = append(a.fields, field{name: "Date", values: []string{a.wall.UTC().Format(http.TimeFormat)}})
	}
	if status == http.StatusNotModified && f.req != f.whole {
		return x.freshen(f, &a)
	}
	v := verdict{status: status, length: -1}
	header := headerOf(a.fields)
	if n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		v.length = n
	}
	if x.old != nil && serverError(status) && x.keepOld(now) {
		v.failed = true
		return v
	}
	x.judge(f, &v, header, &a)
	return v
}

// An arrival is a response header as it came from the handler.
type arrival struct {
	fields []field // what the handler set, canonical, with a Date
	date   time.Time
	now    engine.Instant
	wall   time.Time
}

// keepOld reports whether the old response is to be used, or kept, when the
// handler fails: inside stale-if-error, and, by a run behind it, as long as it
// is served anyway.
func (x *exchange) keepOld(now engine.Instant) bool {
	return x.old.Usable(now) || x.old.State(now) == engine.StaleWhileRevalidate
}

// judge says whether v may be shared, for how long, and with which fields.
// header is all of the response: what the handler has set, merged into what
// was stored if it has set a 304.
func (x *exchange) judge(f *fill, v *verdict, header http.Header, a *arrival) {
	cc := rfc9111.ParseCacheControl(header["Cache-Control"])
	ageValue, _ := rfc9111.ParseAge(header["Age"])
	v.age = rfc9111.InitialAge(ageValue, a.date, a.wall.Add(-a.now.Sub(x.began)), a.wall)
	fresh := rfc9111.Lifetime(header, cc, a.date, a.wall)
	ttl, hasTTL := x.ttl(f, v.status)
	windows := rfc9111.StaleWindows{WhileRevalidate: x.policy.StaleWhileRevalidate, IfError: x.policy.StaleIfError}
	reason := rfc9111.Store(rfc9111.StoreInput{
		Method:    http.MethodGet,
		Request:   f.asked,
		Status:    v.status,
		Header:    header,
		Control:   cc,
		Freshness: fresh,
		Age:       v.age,
		HasTTL:    hasTTL,
		Stale:     windows,
	})
	vary, _ := rfc9111.VaryFields(header)
	v.vary = union(vary, unkeyed(f.asked))
	switch {
	case reason == rfc9111.ReasonNoFreshness && x.cookieOnly(f, v.status):
		v.private = reasonCookie
	case reason != rfc9111.Storable:
		v.private = string(reason)
	case eventStream(header.Get("Content-Type")):
		v.private = reasonEventStream
	}
	v.shared = v.private == ""
	v.upstream = header["Cache-Status"]
	v.divide(a.fields, rfc9111.StripFields(cc))
	lifetime := fresh.Lifetime - v.age
	if v.byPolicy = !fresh.Explicit; v.byPolicy {
		lifetime = ttl
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
	if rfc9111.HasValidator(header) {
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
	forAll := headerOf(fields)
	rfc9111.StripConnection(forAll)
	for _, f := range fields {
		switch {
		case forAll[f.name] == nil, f.name == "Age", f.name == "Cache-Status":
		case slices.Contains(personal, f.name):
			v.personal = append(v.personal, f)
		default:
			v.fields = append(v.fields, f)
		}
	}
	v.header = headerOf(v.fields)
}

// rewriters are request fields that change what a handler takes for the URL,
// the client's scheme or the method, and that nobody names in Vary.
var rewriters = []string{
	"Forwarded", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme",
	"X-Host", "X-Http-Method-Override", "X-Original-Url", "X-Rewrite-Url",
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

// ttl returns the lifetime that the policy gives to a response without one.
func (x *exchange) ttl(f *fill, status int) (time.Duration, bool) {
	if f.asked["Cookie"] != nil {
		return 0, false
	}
	return x.cookielessTTL(status)
}

// cookieOnly reports whether the policy would have given a lifetime to the
// same response to a request without a Cookie.
func (x *exchange) cookieOnly(f *fill, status int) bool {
	_, ok := x.cookielessTTL(status)
	return ok && f.asked["Cookie"] != nil
}

func (x *exchange) cookielessTTL(status int) (time.Duration, bool) {
	if _, named := x.policy.StatusTTL[status]; !named && !rfc9111.HeuristicStatus(status) {
		return 0, false
	}
	return x.policy.ttl(status)
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
