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
		if !x.stale(m) {
			x.failed(m, f)
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

// failed answers when there is no old response to be used: the handler has
// said what to answer, or the window has closed while waiting.
func (x *exchange) failed(m *routeMetrics, f *fill) {
	f.mu.Lock()
	answer := f.verdict.failure
	f.mu.Unlock()
	if answer.status == 0 {
		answer.status = http.StatusBadGateway
	}
	answer.setRetryAfter(x.w.Header())
	x.fail(m, answer.status)
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
	if x.old == nil || !x.old.Usable(now) {
		return false
	}
	x.write(x.old, now)
	x.count(m, outcomeStale)
	return true
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
