package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
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
	if rep, ok := x.w.(*reply); ok {
		// Its caller reads the body while the exchange goes on.
		rep.start(func(r *http.Request) { x.r = r; x.fetch() })
		return
	}
	x.fetch()
}

// fetch is miss, on the goroutine that it is to run on.
func (x exchange) fetch() {
	if x.nested() {
		x.next.ServeHTTP(x.w, x.r)
		return
	}
	if x.r.Method == http.MethodHead {
		x.head()
		return
	}
	since := x.cache.store.Newest()
	x.soft = x.policy.SoftTimeout > 0 && x.old != nil && !x.strict && x.old.Usable(x.began)
	// Most clients take the response that they begin whatever it turns out to
	// be. One that wants a range does not: if there is nothing to share, it asks
	// for the range alone. Nor does one that has a response to fall back on.
	stays := x.r.Header["Range"] == nil && !x.soft
	t, err := x.join(stays)
	if err != nil {
		x.pass("bypass", reasonClosed)
		return
	}
	defer t.Leave()
	f := t.State
	rd := reader{
		fill:   f,
		w:      x.w,
		ctx:    x.r.Context(),
		leader: t.Leader && stays,
	}
	if rd.leader {
		defer f.leave()
	}
	rd.claims = t.Leader && !x.policy.HideStatus
	rd.begin = func(v *verdict) { rd.w = x.begin(v, t.Leader, rd.fate) }
	outdated, other := false, false
	if !rd.leader {
		rd.limit = x.patience(t.Leader)
		rd.wants = func(v *verdict) bool {
			// Only now are its tags known, by which it may have been purged
			// before this request came.
			outdated = x.cache.store.Superseded(t.Gen, since, &object{key: x.q.key}, v.tags)
			// The rule by which it joined need not be that of the response.
			other = v.shared && v.search != x.q.key.search && f.query != x.own().query
			return t.Leader || !outdated && !other && sameValues(v.vary, f.asked, x.r.Header) && v.excludes(x.r.Header) == ""
		}
	}
	if t.Leader {
		x.end(t, &rd, rd.run())
		return
	}
	how := x.follow(&rd)
	if how == refused && outdated && x.outdated < maxOutdated {
		x.outdated++
		x.fetch() // joins no such run any more
		return
	}
	if how == refused && other {
		x.under(x.own())
		x.fetch() // by its own query
		return
	}
	x.end(t, &rd, how)
}

// follow is run for a request that waits for the header of another one's run,
// unless too many do already.
func (x *exchange) follow(rd *reader) ending {
	var leave sync.Once
	defer leave.Do(func() { x.waiting.Add(-1) })
	if x.waiting.Add(1) > int64(x.policy.MaxWaiting) {
		return crowded
	}
	begin := rd.begin
	rd.begin = func(v *verdict) {
		leave.Do(func() { x.waiting.Add(-1) }) // a body is read at the client's own pace
		begin(v)
	}
	return rd.run()
}

// maxOutdated is how often a request looks for another run when the one that it
// waited for turns out to have begun before a purge.
const maxOutdated = 3

// patience is how long the client waits for a response header, zero for as long
// as the run lasts.
func (x *exchange) patience(leader bool) time.Duration {
	switch {
	case x.soft:
		return x.policy.SoftTimeout
	case leader:
		return 0
	}
	return x.policy.WaitTimeout
}

// end does what is left to do after reading the fill.
func (x *exchange) end(t *engine.Ticket[*fill], rd *reader, how ending) {
	f := t.State
	m := x.routeOf(f)
	if f.over() && (how == delivered || rd.leader && how != left && how != useStale) {
		// Let the run be over before the request goes on: who has the whole of a
		// response finds it stored, the run's panic is the leader's, and what
		// net/http frees after the leader's request is the run's too.
		<-t.Over()
		if crash := t.Crash(); rd.leader && crash != nil {
			if how == cutOff && !f.begun() && x.stale(m, 0, reasonPanic) {
				if !aborted(crash) {
					x.cache.opts.Logger.Error("handler panicked, an old response was used", "panic", crash.Value, "path", x.r.URL.Path)
				}
				return
			}
			x.count(m, outcomeError)
			crash.Raise()
		}
	}
	switch how {
	case delivered:
		if rd.leader {
			f.addTrailers(x.w.Header())
		}
		x.count(m, x.readOutcome(t.Leader, f))
	case left:
		x.count(m, x.readOutcome(t.Leader, f))
	case refused:
		x.alone = !t.Leader
		x.pass(x.reason, f.whyPrivate())
	case continueSelf:
		if !resumable(&f.verdict) {
			x.count(m, outcomeError)
			panic(http.ErrAbortHandler)
		}
		x.resume(&resumer{w: rd.w, first: f.verdict, prefix: f.shared()}, f.asked)
	case useStale:
		x.failed(m, f)
	case waitedTooLong:
		if x.soft {
			// Whoever comes next need not wait for the same again.
			x.old.Failed(x.cache.store.Now(), backoffBase, backoffLimit)
		}
		x.giveUp(m, reasonTimeout)
	case crowded:
		x.giveUp(m, reasonCrowded)
	case cutOff:
		x.cut(t, m)
	}
}

// giveUp answers a request that does not wait for a run any longer.
func (x *exchange) giveUp(m *routeMetrics, why string) {
	if !x.stale(m, 0, why) {
		x.w.Header().Set("Retry-After", "1")
		x.fail(m, http.StatusServiceUnavailable, why)
	}
}

// failed answers after an error of the handler: with the old response, or as
// the handler has said. If it has said nothing, and this client cannot have the
// old response or its window has closed while waiting, it asks for itself.
func (x *exchange) failed(m *routeMetrics, f *fill) {
	f.mu.Lock()
	status, answer := f.verdict.status, f.verdict.failure
	f.mu.Unlock()
	if x.stale(m, status, reasonError) {
		return
	}
	if rep, ok := x.w.(*reply); ok && answer.err != nil {
		rep.err = answer.err
		x.count(m, outcomeError)
		return
	}
	if answer.status == 0 {
		x.alone = true
		x.pass(x.reason, reasonError)
		return
	}
	answer.setRetryAfter(x.w.Header())
	x.fail(m, answer.status, reasonError)
}

// resume has the handler run for this client, asking for the whole as the
// first run was asked, and sends what is beyond the part sent.
func (x *exchange) resume(s *resumer, asked http.Header) {
	r := x.detach(x.r.Context(), asked.Clone())
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
	late, why := errors.Is(t.Context.Err(), context.DeadlineExceeded), reasonIncomplete
	if late {
		why = reasonTimeout
	}
	switch {
	case x.stale(m, 0, why):
	case late:
		x.noResponse(t, m, http.StatusGatewayTimeout)
	case errors.Is(t.Context.Cause(), engine.ErrClosed):
		x.pass("bypass", reasonClosed)
	default:
		x.noResponse(t, m, http.StatusBadGateway)
	}
}

// noResponse ends an exchange whose run brought no response: with an error
// status, or for the caller of a Transport with an error.
func (x *exchange) noResponse(t *engine.Ticket[*fill], m *routeMetrics, status int) {
	if rep, ok := x.w.(*reply); ok {
		rep.err = fmt.Errorf("middleware: no response from the origin: %w", cmp.Or(t.Context.Err(), io.ErrUnexpectedEOF))
		x.count(m, outcomeError)
		return
	}
	why := reasonIncomplete
	if status == http.StatusGatewayTimeout {
		why = reasonTimeout
	}
	x.fail(m, status, why)
}

// sent reports whether this client has been sent a response header.
func (x *exchange) sent(t *engine.Ticket[*fill]) bool {
	t.State.mu.Lock()
	defer t.State.mu.Unlock()
	return t.State.committed && !t.State.verdict.failed
}

// stale answers with the old response if it may still be used. The request went
// forward all the same, with this status if there was a response.
func (x *exchange) stale(m *routeMetrics, status int, why string) bool {
	now := x.cache.store.Now()
	if x.old == nil || x.strict || !x.old.Usable(now) || !x.cache.store.Holds(x.old) {
		return false // Holds: it may have been purged since it was found
	}
	x.forwarded = "freshet; fwd=" + x.reason
	if status != 0 {
		x.forwarded += "; fwd-status=" + strconv.Itoa(status)
	}
	_, ttl := seconds(x.old, now)
	x.forwarded += "; ttl=" + strconv.FormatInt(ttl, 10) + "; detail=" + why
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
func (x *exchange) begin(v *verdict, leader bool, fate fate) http.ResponseWriter {
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
		switch {
		case !leader:
			status += "; collapsed"
		case fate.reason != "":
			status += "; detail=" + fate.reason
		default:
			status += "; stored; ttl=" + strconv.FormatInt(fate.ttl, 10)
		}
		h["Cache-Status"] = append(slices.Concat(v.upstream, h["Cache-Status"]), status)
	}
	if asked := x.r.Header; v.status == http.StatusOK && (conditional(asked) || asked["Range"] != nil) {
		validators := validatorsOf(v.fields)
		if conditional(asked) && rfc9111.NotModified(asked, &validators, time.Now()) {
			// The origin was asked for the whole; this client has it already.
			writeNotModified(x.w)
			return discard{x.w}
		}
		if v.length >= 0 && asked["Range"] != nil {
			if v.untyped {
				h["Content-Type"] = nil // not to be guessed from a part
			}
			if p := selectPart(x.w, asked, &validators, v.length); p != nil {
				return p
			}
			if v.untyped {
				delete(h, "Content-Type")
			}
		}
	}
	x.w.WriteHeader(v.status)
	return x.w
}
