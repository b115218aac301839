package middleware

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A handler is one mounted route.
type handler struct {
	cache   *Cache
	policy  Policy
	next    http.Handler
	metrics *routeMetrics // nil if the policy has no name
}

// An exchange is one request on its way through the cache.
type exchange struct {
	*handler
	w     http.ResponseWriter
	r     *http.Request
	began engine.Instant

	q      lookup
	hash   uint64                // of q
	old    *engine.Entry[object] // a response that is not fresh, or nil
	reason string                // why nothing could be used: a parameter fwd of RFC 9211
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
	x.q.key = newKey(r, &h.policy)
	x.hash = x.q.key.hash(c.seed)
	e := c.store.GetAt(x.hash, x.q, x.began)
	if e != nil && e.Value.variants != nil {
		e = x.variant(&e.Value)
	}
	if e == nil {
		x.miss()
		return
	}
	o := &e.Value
	if o.byPolicy && r.Header["Cookie"] != nil {
		x.pass("bypass", reasonCookie)
		return
	}
	switch e.Times.State(x.began) {
	case engine.Fresh:
		if o.private == reasonCookie && r.Header["Cookie"] == nil {
			x.miss() // it is requests with a Cookie whose responses are not shared
			return
		}
		if o.private != "" {
			x.pass(x.reason, o.private)
			return
		}
		x.write(e, x.began)
		x.countHit(o, outcomeHit)
	case engine.StaleWhileRevalidate:
		if x.nested() {
			x.next.ServeHTTP(w, r)
			return
		}
		x.refresh(e)
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
		if o.private == "" {
			x.old, x.reason = e, "stale"
		}
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
	return x.cache.store.GetAt(v.hash, lookup{variant: v}, x.began)
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
	case r.Header["Authorization"] != nil:
		return reasonAuthorization
	case r.Header["Range"] != nil:
		return reasonRange
	case r.Header["Upgrade"] != nil:
		return reasonUpgrade
	}
	return ""
}

// pass runs the handler for this request alone, untouched.
func (x *exchange) pass(fwd, why string) {
	x.tell(fwd, why)
	x.passWith(x.w, x.r)
}

// tell says in Cache-Status that the request went forward.
func (x *exchange) tell(fwd, why string) {
	if x.policy.HideStatus {
		return
	}
	status := "freshet; fwd=" + fwd
	if why != "" {
		status += "; detail=" + why
	}
	h := x.w.Header()
	h["Cache-Status"] = append(h["Cache-Status"], status)
}

func (x *exchange) passWith(w http.ResponseWriter, r *http.Request) {
	// Deferred, since a handler may panic. The route's pattern may become
	// known only while the handler runs.
	defer func() {
		m := x.route(r)
		m.origin.Inc()
		x.count(m, outcomePass)
	}()
	x.next.ServeHTTP(w, r)
}

// write answers from the store.
func (x *exchange) write(e *engine.Entry[object], now engine.Instant) {
	s := e.Value.response
	h := x.w.Header()
	notModified := s.status == http.StatusOK && conditional(x.r.Header) && rfc9111.NotModified(x.r.Header, s.header, s.date)
	if notModified {
		setFields(h, s.fields[s.content:])
	} else {
		setFields(h, s.fields)
	}
	age, status := s.linesAt(e.Times, now)
	h["Age"] = age
	if !x.policy.HideStatus {
		h["Cache-Status"] = status
	}
	if notModified {
		x.w.WriteHeader(http.StatusNotModified)
		return
	}
	x.w.WriteHeader(s.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(s.body) // the client may have left: nothing to be done
	}
}

func conditional(h http.Header) bool {
	return h["If-None-Match"] != nil || h["If-Modified-Since"] != nil
}

// describesContent reports whether a field describes the content that a 304
// does not have, and is left out of it (RFC 9110 15.4.5).
func describesContent(name string) bool {
	switch name {
	case "Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range":
		return true
	}
	return false
}

// writeNotModified sends a 304 instead of the response whose fields are set.
func writeNotModified(w http.ResponseWriter) {
	h := w.Header()
	for name := range h {
		if describesContent(name) {
			delete(h, name)
		}
	}
	w.WriteHeader(http.StatusNotModified)
}

// miss has the handler run, unless it does for somebody else, and answers from
// its response.
//
// It has a value receiver, and so have all that keep hold of the exchange:
// with a pointer, the exchange of a hit would be allocated too.
func (x exchange) miss() {
	if x.nested() {
		x.next.ServeHTTP(x.w, x.r)
		return
	}
	if x.r.Method == http.MethodHead {
		// The handler's answer to HEAD has no body to store, and turning it
		// into GET would cost the origin more than the client asked for.
		x.pass(x.reason, reasonMethod)
		return
	}
	t, err := x.join(true)
	if err != nil {
		x.pass("bypass", reasonClosed)
		return
	}
	defer t.Leave()
	f := t.State
	if t.Leader {
		defer f.leave()
	}
	rd := reader{
		fill:   f,
		w:      x.w,
		ctx:    x.r.Context(),
		leader: t.Leader,
	}
	rd.begin = func(v *verdict) { rd.w = x.begin(v, t.Leader) }
	if !t.Leader {
		rd.limit = x.policy.WaitTimeout
		rd.wants = func(v *verdict) bool {
			return sameValues(v.vary, f.asked, x.r.Header) && !(v.byPolicy && x.r.Header["Cookie"] != nil)
		}
	}
	x.end(t, &rd, rd.run())
}

// end does what is left to do after reading the fill.
func (x *exchange) end(t *engine.Ticket[*fill], rd *reader, how ending) {
	f := t.State
	m := x.routeOf(f)
	if t.Leader && how != left && how != useStale && f.over() {
		// Let the run be over before the leader goes on: its panic is the
		// leader's, and what net/http frees after the request is its too.
		<-t.Over()
		if crash := t.Crash(); crash != nil {
			if how == cutOff && !f.begun() && x.stale(m) {
				x.cache.opts.Logger.Error("handler panicked, an old response was used", "panic", crash.Value, "path", x.r.URL.Path)
				return
			}
			x.count(m, outcomeError)
			crash.Raise()
		}
	}
	switch how {
	case delivered:
		f.addTrailers(x.w.Header())
		x.count(m, x.readOutcome(t.Leader, f))
	case left:
		x.count(m, x.readOutcome(t.Leader, f))
	case refused:
		x.pass(x.reason, f.whyPrivate())
	case continueSelf:
		x.resume(&resumer{w: rd.w, prefix: f.shared(), status: f.verdict.status}, f.asked)
	case useStale:
		if !x.stale(m) { // the window closed while waiting
			x.fail(m, http.StatusBadGateway)
		}
	case waitedTooLong:
		if !x.stale(m) {
			x.w.Header().Set("Retry-After", "1")
			x.fail(m, http.StatusServiceUnavailable)
		}
	case cutOff:
		x.cut(t, m)
	}
}

// resume has the handler run for this client, asking for the whole as the
// first run was asked, and sends what is beyond the part sent.
func (x *exchange) resume(s *resumer, asked http.Header) {
	r := x.detach(x.r.Context())
	r.Header = asked.Clone()
	x.passWith(s, r)
	s.finish()
}

// cut ends an exchange whose run broke off.
func (x *exchange) cut(t *engine.Ticket[*fill], m *routeMetrics) {
	if x.sent(t) {
		// The client must not take what it got for the whole response.
		x.count(m, outcomeError)
		panic(http.ErrAbortHandler)
	}
	switch {
	case x.stale(m):
	case errors.Is(t.Context.Err(), context.DeadlineExceeded):
		x.fail(m, http.StatusGatewayTimeout)
	case errors.Is(t.Context.Err(), engine.ErrClosed):
		x.pass("bypass", reasonClosed)
	default:
		x.fail(m, http.StatusBadGateway)
	}
}

// sent reports whether this client has been sent a response header.
func (x *exchange) sent(t *engine.Ticket[*fill]) bool {
	t.State.mu.Lock()
	defer t.State.mu.Unlock()
	return t.State.committed && !t.State.verdict.failed
}

// stale answers with the old response if it may still be used.
func (x *exchange) stale(m *routeMetrics) bool {
	now := x.cache.store.Now()
	if x.old == nil || !x.old.Times.Usable(now) {
		return false
	}
	x.write(x.old, now)
	x.count(m, outcomeStale)
	return true
}

// fail answers with an error of the cache's own.
func (x *exchange) fail(m *routeMetrics, status int) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	if !x.policy.HideStatus {
		h["Cache-Status"] = append(h["Cache-Status"], "freshet; fwd="+x.reason+"; detail="+reasonError)
	}
	http.Error(x.w, http.StatusText(status), status)
	x.count(m, outcomeError)
}

func (x *exchange) readOutcome(leader bool, f *fill) outcome {
	switch {
	case !leader:
		return outcomeCoalesced
	case f.whyPrivate() != "":
		return outcomePass
	}
	return outcomeMiss
}

// begin writes the header of a fill's response for this client, and returns
// where to write the body.
func (x *exchange) begin(v *verdict, leader bool) http.ResponseWriter {
	h := x.w.Header()
	setFields(h, v.fields)
	if leader {
		setFields(h, v.personal)
	}
	if v.age >= time.Second {
		h["Age"] = []string{strconv.FormatInt(int64(v.age/time.Second), 10)}
	}
	if !x.policy.HideStatus {
		status := "freshet; fwd=" + x.reason
		if v.forwarded != 0 {
			status += "; fwd-status=" + strconv.Itoa(v.forwarded)
		}
		if leader {
			status += "; stored"
		} else {
			status += "; collapsed"
		}
		h["Cache-Status"] = append(slices.Concat(v.upstream, h["Cache-Status"]), status)
	}
	if conditional(x.r.Header) && v.status == http.StatusOK && rfc9111.NotModified(x.r.Header, v.header, time.Now()) {
		// The origin was asked for the whole; this client has it already.
		writeNotModified(x.w)
		return discard{x.w}
	}
	x.w.WriteHeader(v.status)
	return x.w
}
