package middleware

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// flight names the flight of x.
func (x *exchange) flight() string {
	name := x.q.key.string()
	if x.q.variant != nil {
		name = variantFlight(name, x.q.variant)
	}
	return name
}

// A runsOf is the key of a *runs in the context of each run of the cache.
type runsOf struct{ cache *Cache }

// runs are the flights of a run and of those that it was begun in. A request
// for one of them comes from the run itself, since the cache is mounted twice
// or the handler asks for its own URL: that request must not wait for the run,
// nor have the stale response that the run is to replace.
type runs struct {
	flight string
	outer  *runs
}

func (x *exchange) runs() *runs {
	r, _ := x.r.Context().Value(runsOf{x.cache}).(*runs)
	return r
}

func (x *exchange) nested() bool {
	r := x.runs()
	if r == nil {
		return false // nearly always, and without a name being made
	}
	flight := x.flight()
	for r != nil && r.flight != flight {
		r = r.outer
	}
	return r != nil
}

// join joins the run of the handler for x's key, or begins one.
func (x *exchange) join(attached bool) (*engine.Ticket[*fill], error) {
	c := x.cache
	var run *exchange
	name := x.flight()
	return c.flights.Join(x.r.Context(), flightHash(c.seed, name), name, engine.Start[*fill]{
		Timeout: x.policy.FillTimeout,
		Keep:    true, // until the header says that nobody else will have it
		Gen:     c.store.Generation,
		Joins:   x.mayJoin,
		State: func(f *engine.Flight[*fill]) *fill {
			own := *x // the request goes on with x, and may be over before the run is
			own.w = nil
			run = &own
			return x.newFill(f, run, attached)
		},
		Run:     func(f *engine.Flight[*fill]) { run.run(f) },
		Crashed: func(f *engine.Flight[*fill]) { run.crashed(f) },
	})
}

// mayJoin reports whether x may be answered from a run that is under way: not
// if it began before a purge. A purge dooms the runs it knows; those for
// variants that had lost their place in the list tell by their generation.
func (x *exchange) mayJoin(f *engine.Flight[*fill]) bool {
	if v := x.q.variant; v != nil && f.Gen < v.born {
		return false
	}
	return !x.superseded(f, x.cache.store.Newest()) && f.State.joinable(x.cache.store.Now(), x.strict)
}

// superseded reports whether what a run brings was purged between its beginning
// and the generation upTo, as far as its tags are known: until its header has
// come, those of its URL.
func (x *exchange) superseded(f *engine.Flight[*fill], upTo uint64) bool {
	if !x.cache.store.PurgedAfter(f.Gen) {
		return false // nearly always: all who join would wait while tags are made
	}
	f.State.mu.Lock()
	tags := f.State.verdict.tags
	f.State.mu.Unlock()
	tags = slices.Clone(tags)
	for _, k := range x.cache.equivalents(x.own()) { // by whatever rule its response comes with
		tags = append(tags, k.urlTags()...)
	}
	return x.cache.store.Superseded(f.Gen, upTo, &object{key: x.q.key}, tags)
}

// newFill makes the fill of a flight. It runs on the request's own goroutine,
// while its chi route context is certain to be its own.
func (x *exchange) newFill(fl *engine.Flight[*fill], run *exchange, attached bool) *fill {
	f := &fill{
		context: fl.Context,
		flushed: -1,
		grow:    x.cache.store.Reserve,
		around:  outsideOf(x.w.Header()),
	}
	f.query = x.own().query
	f.verdict.length = -1
	if attached {
		f.leader = x.w
		if !x.policy.HideStatus {
			f.forward = "freshet; fwd=" + x.reason
		}
	}
	f.decide = run.decide
	f.unfit = func(v *verdict) { run.unfit(fl, v) }
	ctx := context.WithValue(fl.Context, runsOf{x.cache}, &runs{x.flight(), x.runs()})
	f.asked = x.r.Header.Clone()
	rfc9111.StripConditional(f.asked)
	f.req = x.detach(ctx, f.asked.Clone())
	// What was purged before this run drew its generation must not come back
	// by a 304; what is purged after, the run will find out.
	if run.old != nil && !x.cache.store.Holds(run.old) {
		run.old = nil
	}
	if run.old != nil && rfc9111.SetValidators(f.req.Header, headerOf(run.old.Value.response.fields)) {
		f.whole = x.detach(ctx, nil)
	}
	return f
}

// detach returns the request that the handler is given: one that asks for the
// whole response, on the run's own context and with a header of its own.
func (x *exchange) detach(ctx context.Context, header http.Header) *http.Request {
	if rc := chi.RouteContext(ctx); rc != nil {
		// chi takes the context back when the request is over (chi #993).
		ctx = context.WithValue(ctx, chi.RouteCtxKey, rc.Clone())
	}
	if ctx.Value(http.ServerContextKey) == nil {
		// httputil.ReverseProxy reports a response that broke off only where
		// it believes itself in a server.
		ctx = context.WithValue(ctx, http.ServerContextKey, &http.Server{})
	}
	own := *x.r
	own.Header = nil // headers can be large: copied no more often than needed
	r := own.Clone(ctx)
	r.Header = header
	r.Body = http.NoBody
	r.Method = http.MethodGet
	if !x.policy.Query.isZero() {
		query := x.own().query
		r.URL.RawQuery, r.URL.ForceQuery = query, false
		// Other ways to see what is not part of the key.
		r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
		if path, _, ok := strings.Cut(r.RequestURI, "?"); ok {
			r.RequestURI = path
			if query != "" {
				r.RequestURI += "?" + query
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
	// and the joining. Its response is played into this fill, if it is one for
	// this client too.
	if e := c.store.Get(x.hash, x.q); !x.strict && e != nil && e.Value.response != nil &&
		e.State(c.store.Now()) == engine.Fresh && e.Value.excludes(f.asked) == "" {
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
		f.req, f.whole = f.whole, nil
		f.req.Header = f.asked.Clone()
		rec = newRecorder(f, x.policy.MaxBodyBytes)
		x.next.ServeHTTP(rec, f.req)
	}
	clean = true
}
