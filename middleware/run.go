package middleware

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/key"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A run is one run of the handler on a goroutine of its own, whose response
// fills for all who want it. It knows no client: those read the fill.
type run struct {
	*route
	fill  *fill.Fill[*verdict]
	fl    *flight
	began engine.Instant

	key     key.Key     // a clone
	hash    uint64      // of key
	variant key.Variant // by the rule that was known when it began
	method  string      // GET or HEAD

	asked  *http.Request // a clone of the leader's, with all of its fields but conditions
	req    *http.Request // what the handler is given: it may do with it what it likes
	whole  *http.Request // req without the conditions of a validation and without a header; nil if it has none
	around outside       // the response header before the handler gets it
	strict bool          // the leader wants no response that the origin has not confirmed for it
	behind bool          // no client waits for it: it refreshes what is served stale
	old    *entry        // a response that may be validated, or used if this run fails; or nil
	again  bool          // the verdict was to ask for the whole

	replayed *entry // what was played into the fill, in place of a run

	status int          // of the response
	varies []string     // fields by which it is told apart from others
	taken  atomic.Bool  // a panic is the leader's to raise
	left   atomic.Int32 // attended, deserted or settled
}

// Whether a run counts as one that goes on without clients.
const (
	attended int32 = iota // it does not
	deserted
	settled // nothing that a client's leaving could end is left of it
)

type (
	flight = engine.Flight[any]
	ticket = engine.Ticket[any]
)

// runOf returns the run of a flight.
func runOf(f *flight) *run { return f.State.(*run) }

// A runsOf is the key of a *runs in the context of each run of the cache.
type runsOf struct{ cache *Cache }

// runs are what a run is for and what those are that it was begun in. A request
// for the same comes from the run itself, since the cache is mounted twice or the
// handler asks for its own URL: that request must not wait for the run, nor have
// the stale response that the run is to replace. Its variant does not matter: a
// run has that of its leader first, and may be joined as another one's later.
type runs struct {
	key    key.Key
	method string
	outer  *runs
}

// newRun returns the run that an exchange begins. It is made on the request's
// own goroutine, while its chi route context is certain to be its own, under a
// lock of the flights: it calls nothing that others have made.
func newRun(x *exchange, fl *flight, set http.Header) *run {
	r := &run{
		route: x.route, fl: fl, began: x.cache.store.Now(), key: x.key.Clone(), hash: x.hash, variant: x.variant,
		method: x.r.Method, strict: x.strict, behind: x.behind, old: x.old,
		around: outsideOf(set),
	}
	r.fill = fill.New(fl.Context, fill.Hooks[*verdict]{
		Decide:  r.decide,
		Reserve: x.cache.store.Reserve,
		Release: x.cache.store.Release,
		Unfit:   r.unfit,
	}, x.policy.MaxBodyBytes, r.method == http.MethodHead)
	outer, _ := x.r.Context().Value(runsOf{x.cache}).(*runs)
	ctx := context.WithValue(fl.Context, runsOf{x.cache}, &runs{r.key, r.method, outer})
	header := x.r.Header.Clone()
	rfc9111.StripConditional(header)
	for _, hop := range [...]string{"Connection", "Upgrade", "Http2-Settings"} { // a run has no connection
		delete(header, hop)
	}
	r.asked = x.r.WithContext(ctx)
	r.asked.Header = header
	r.req = r.detach(ctx, x.r, header.Clone())
	// What was purged before this run drew its generation must not come back
	// by a 304; what is purged after, the run will find out. What another run
	// has put in its place will do as well.
	if r.old != nil {
		r.old = r.held()
	}
	if r.old != nil && r.method == http.MethodGet && rfc9111.SetValidators(r.req.Header, stored.HeaderOf(r.old.Value.response.Fields())) {
		r.whole = r.detach(ctx, x.r, nil)
	}
	return r
}

// detach returns the request that the handler is given: one that asks for the
// whole response, on the run's own context and with a header of its own.
func (r *run) detach(ctx context.Context, from *http.Request, header http.Header) *http.Request {
	if rc := chi.RouteContext(ctx); rc != nil {
		// chi takes the context back when the request is over (chi #993).
		ctx = context.WithValue(ctx, chi.RouteCtxKey, rc.Clone())
	}
	if ctx.Value(http.ServerContextKey) == nil {
		// httputil.ReverseProxy reports a response that broke off only where
		// it believes itself in a server.
		ctx = context.WithValue(ctx, http.ServerContextKey, &http.Server{})
	}
	own := *from
	own.Header = nil // headers can be large: copied no more often than needed
	out := own.Clone(ctx)
	out.Header, out.Body = header, http.NoBody
	if !r.rules.Query.IsZero() {
		query := r.key.Query
		out.URL.RawQuery, out.URL.ForceQuery = query, false
		// Other ways to see what is not part of the key.
		out.Form, out.PostForm, out.MultipartForm = nil, nil, nil
		if path, _, ok := strings.Cut(out.RequestURI, "?"); ok {
			out.RequestURI = path
			if query != "" {
				out.RequestURI += "?" + query
			}
		}
	}
	return out
}

// run runs the handler and stores its response if it may be.
func (r *run) run() {
	// Look again: another run may have ended between the look at the store
	// and the joining. Its response is played into this fill, if it is one for
	// this client too.
	if r.method == http.MethodGet && !r.strict && r.replay() {
		r.settle(true)
		return
	}
	rec := r.recorder()
	clean := false
	defer func() { r.settle(clean) }() // even where what Finish calls panics
	defer func() { rec.Finish(clean) }()
	defer func() { r.of(r.req).origin.Inc() }()
	r.next.ServeHTTP(rec, r.req)
	if r.again {
		r.of(r.req).origin.Inc()
		r.req, r.whole, r.again = r.whole, nil, false
		r.req.Header = r.asked.Header.Clone()
		rec = r.recorder()
		r.next.ServeHTTP(rec, r.req)
	}
	clean = true
}

func (r *run) recorder() *fill.Recorder[*verdict] {
	return fill.NewRecorder(r.fill, r.around.header(), r.around.own)
}

// replay plays what has been stored meanwhile, if it answers the leader.
func (r *run) replay() bool {
	c := r.cache
	e, _, _ := c.find(r.hash, &r.key, r.asked.Header, c.store.Now())
	now := c.store.Now()
	if e == nil || e.Value.response == nil || r.stateOf(e, now) != engine.Fresh || r.excludes(&e.Value.sharing, r.asked) != "" {
		return false
	}
	s := e.Value.response
	times := e.Now()
	v := &verdict{
		draft:   stored.Draft{Status: s.Status, Fields: s.Fields(), Upstream: s.Upstream},
		header:  stored.HeaderOf(s.Fields()),
		sharing: e.Value.sharing,
		age:     now.Sub(times.Stored) + s.InitialAge,
		tags:    e.Tags, // a purge by one of them ends the replay too
		times:   times,
	}
	if rule := c.ruleOf(r.hash, &r.key); rule != nil && e.Value.variant != "" {
		v.vary = rule.vary.Fields()
	}
	r.replayed = e
	r.fill.Replay(fill.Head{Status: s.Status, Kind: fill.Shared, Length: int64(len(s.Body)), Body: s.Body, Has: true, Reason: replayed}, v)
	return true
}

// replayed is the reason why a replay is not stored.
const replayed = "replayed"

// decide is the verdict on a response, as known at its header.
func (r *run) decide(status int, h http.Header) (head fill.Head, v *verdict) {
	j := judge{route: r.route, asked: r.asked, began: r.began}
	r.status = status
	a := j.arrived(status, h, &r.around)
	defer func() {
		v.around, r.varies = &r.around, v.vary
		if v.forwarded == http.StatusNotModified && r.old != nil {
			v.before = r.old.Tags
		}
	}()
	if status == http.StatusNotModified && r.whole != nil {
		var ok bool
		if head, v, ok = j.freshened(a, r.old.Value.response); !ok {
			r.again = true
			return fill.Head{Kind: fill.Void}, &verdict{}
		}
		r.shared(&head, v)
		return head, v
	}
	if r.keepsOld(status, a.now) {
		return fill.Head{Status: status, Kind: fill.Instead, Reason: reasonError}, &verdict{}
	}
	head, v = j.judge(a)
	if r.method == http.MethodHead && head.Reason == "" {
		head.Reason = reasonMethod // what it says of GET has no body to it
	}
	r.shared(&head, v)
	return head, v
}

// shared completes a verdict by what the key says.
func (r *run) shared(head *fill.Head, v *verdict) {
	if head.Kind != fill.Shared {
		return
	}
	for _, group := range rfc9111.Groups(v.header["Cache-Groups"]) {
		v.tags = append(v.tags, groupTag(&r.key, group))
	}
	if r.policy.Tags != nil {
		own := r.policy.Tags(r.key.URL(), v.header.Clone())
		v.tags = append(v.tags, slices.DeleteFunc(slices.Clone(own), func(tag string) bool {
			return tag == "" || tag[0] == key.ReservedTag
		})...)
	}
	if head.Reason == "" && len(v.vary) > 0 {
		r.announce(v)
	}
}

// keepsOld reports whether what is stored is to be used, or kept, in place of a
// response with this status: inside stale-if-error where the handler fails, and
// by a run behind it as long as it is served anyway.
func (r *run) keepsOld(status int, now engine.Instant) bool {
	if r.old == nil || r.strict {
		return false
	}
	e := r.held()
	if e == nil {
		return false
	}
	served := r.stateOf(e, now) <= engine.StaleWhileRevalidate
	if serverError(status) {
		return served || e.Usable(now)
	}
	return r.behind && served && !replaces(status, r.plain(r.asked))
}

// held returns the response that is stored for what the run was asked, or nil.
func (r *run) held() *entry {
	e, _, _ := r.cache.find(r.hash, &r.key, r.asked.Header, r.cache.store.Now())
	if e == nil || e.Value.response == nil {
		return nil
	}
	return e
}

// expired is called when the run has taken as long as a response may take that
// is kept.
func (r *run) expired() (goesOn bool) {
	if !r.fill.Expire() {
		return false
	}
	r.fl.Disown()
	return r.fl.Waiters() > 0
}

// deserted is called when no client is left, and reports whether the run goes
// on all the same: if its response will be stored, and not too many do so.
func (r *run) deserted() (goesOn bool) {
	if !r.fill.Wanted() {
		return false
	}
	if !r.left.CompareAndSwap(attended, deserted) {
		return true
	}
	if r.orphans.Add(1) >= int64(r.policy.MaxOrphans) {
		r.orphans.Add(-1)
		r.left.Store(attended)
		return false
	}
	return true
}

// crashed reports a panic that no client's goroutine can take: that of a
// refresh, or of a run whose client has left.
func (r *run) crashed() {
	crash := r.fl.Crash()
	if aborted(crash) {
		return
	}
	if r.taken.Load() {
		// Raised again where the client's middleware sees it, but not the
		// stack that led to it.
		r.cache.opts.Logger.Error("handler panicked", "panic", crash.Value, "path", r.asked.URL.Path, "stack", string(crash.Stack))
		return
	}
	r.cache.panics.Add(1)
	r.cache.opts.Logger.Error("handler panicked, and its client has left",
		"panic", crash.Value, "path", r.asked.URL.Path, "stack", string(crash.Stack))
}

// aborted reports whether a run ended in the way in which a handler says that
// nobody has to be told.
func aborted(crash *engine.Crash) bool {
	err, ok := crash.Value.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}
