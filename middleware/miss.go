package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/inbound"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// miss has the handler run, unless it does for somebody else, and answers from
// its response.
//
// It has a value receiver, and so have all that keep hold of the exchange:
// with a pointer, the exchange of a hit would be allocated too.
func (x exchange) miss() {
	if rfc9111.HasPrecondition(x.r.Header) {
		x.pass("request", reasonPrecondition) // of whether it holds, the handler knows
		return
	}
	if rep, ok := x.w.(*reply); ok {
		// Its caller reads the body while the exchange goes on.
		rep.start(func(r *http.Request) { x.r = r; x.fetch() })
		return
	}
	x.fetch()
}

// maxTries is how often a request looks for another run when the one that it
// waited for turns out to be for others.
const maxTries = 5

// fetch joins runs until one answers the request.
func (x *exchange) fetch() {
	for try := 1; ; try++ {
		if x.nested() {
			x.next.ServeHTTP(x.w, x.r)
			return
		}
		how, why := x.attempt()
		if how != fill.Again && how != fill.Alone {
			return
		}
		x.alone = true
		if how == fill.Alone || try == maxTries {
			x.takeTurns(why)
			return
		}
		// There may be something stored by now, or a rule to ask by.
		e, why := x.find()
		switch {
		case why != "":
			x.takeTurns(why)
			return
		case e == nil || e.Value.response == nil || x.strict || x.excludes(&e.Value.sharing, x.r) != "":
		case x.stateOf(e, x.cache.store.Now()) == engine.Fresh:
			x.write(e, x.cache.store.Now())
			x.count(e.Value.metrics, outcomeCoalesced)
			return
		default:
			x.old = e
		}
	}
}

// attempt joins one run, or begins it, and reads its response. For fill.Again
// and fill.Alone nothing was sent, and why says why not; else the request is
// answered.
func (x *exchange) attempt() (how fill.Ending, why string) {
	since := x.cache.store.Newest()
	soft := x.policy.SoftTimeout > 0 && x.fallback() != nil
	leave := func() {}
	var t *ticket
	rd := &fill.Reader[*verdict]{W: x.w, Ctx: x.r.Context(), Lend: x.lend}
	rd.Begin = func(h fill.Head, v *verdict, known fill.Known) (http.ResponseWriter, string) {
		leave() // a body is read at the client's own pace
		return x.begin(h, v, known, rd.Leader)
	}
	rd.Chooses = func(h fill.Head, v *verdict) (choice fill.Choice) {
		choice, why = x.chooses(t, since, h, v)
		return choice
	}
	rd.Patience = func() time.Duration {
		if !soft || x.fallback() != nil {
			return 0
		}
		soft = false // what it would have been answered with is gone
		return cmp.Or(x.patience(rd.Leader), x.policy.FillTimeout)
	}
	t, err := x.join(rd)
	if err != nil {
		x.pass("bypass", reasonClosed)
		return fill.Delivered, ""
	}
	defer t.Leave()
	defer rd.Leave()
	if rd.Wait = x.patience(rd.Leader); soft {
		rd.Wait = x.policy.SoftTimeout
	}
	if !rd.Leader {
		leave = sync.OnceFunc(func() { x.waiting.Add(-1) })
		defer leave()
		if x.waiting.Add(1) > int64(x.policy.MaxWaiting) {
			x.giveUp(x.of(x.r), reasonCrowded)
			return fill.TimedOut, ""
		}
	}
	how = rd.Run()
	if rd.Leader && (how == fill.Left || how == fill.TimedOut) {
		x.listen(rd)
	}
	return x.end(t, rd, how, soft), why
}

// listen is called when the leader of a run is about to be answered with something
// else. What is outside of the cache says of that answer what it would have said
// of the response, which others may be given.
func (x *exchange) listen(rd *fill.Reader[*verdict]) {
	if _, outbound := x.w.(*reply); outbound {
		rd.Say("") // nothing is outside
		return
	}
	var before words
	x.w = &watcher{
		ResponseWriter: x.w,
		seen:           func(_ int, h http.Header) { before = wordsOf(h, x.policy.TargetedFields) },
		sent:           func(h http.Header) { rd.Say(before.lateIn(h, x.policy.TargetedFields)) },
	}
}

// join joins the run of the handler for x, or begins one that rd is the leader
// of. A nil rd begins one without a client.
func (x *exchange) join(rd *fill.Reader[*verdict]) (*ticket, error) {
	name := x.flight()
	set := x.w.Header() // not inside of Join, under its lock: it is a stranger's code
	if !x.key.Ordinary() {
		for _, n := range x.key.Names() { // before anything can be stored under it
			x.cache.odd.note(n.Tag(x.cache.seed))
		}
	}
	ctx := x.r.Context()
	if rd == nil {
		ctx = inbound.Without(ctx)
	}
	return x.cache.flights.Join(ctx, x.hash, name, engine.Start[any]{
		Timeout: x.policy.FillTimeout,
		Expired: func(f *flight) bool { return runOf(f).expired() },
		Left:    func(f *flight) bool { return runOf(f).deserted() },
		Gen:     x.cache.store.Generation,
		Joins:   func(f *flight) bool { return x.mayJoin(f, rd) },
		State: func(f *flight) any {
			r := newRun(x, f, set)
			if rd != nil {
				rd.Fill, rd.Leader = r.fill, true
				rd.Enter()
			}
			return r
		},
		Run:     func(f *flight) { runOf(f).run() },
		Crashed: func(f *flight) { runOf(f).crashed() },
	})
}

// mayJoin reports whether x may be answered from a run that is under way: not
// if it began before a purge. One whose response is stale on arrival, as with
// no-cache, was validated for those who asked before its header came, and so is
// any response for a request that is strict. If it may, rd reads the fill.
func (x *exchange) mayJoin(f *flight, rd *fill.Reader[*verdict]) bool {
	c := x.cache
	if c.store.PurgedAfter(f.Gen) { // nearly never: all who join would wait while tags are made
		r := runOf(f)
		var tags []string
		if _, v, judged := r.fill.Verdict(); judged {
			tags = slices.Concat(v.tags, v.before)
		} else if r.old != nil {
			tags = r.old.Tags // it may be confirmed
		}
		if c.store.Superseded(f.Gen, c.store.Newest(), &object{key: x.key}, r.tagged(tags)) {
			return false
		}
	}
	return runOf(f).fill.Join(rd, func(h fill.Head, v *verdict) bool {
		now := c.store.Now()
		return !x.strict && (h.Reason == "" || h.Reason == replayed) && v.times.FreshUntil > now
	})
}

// patience is how long the client waits for a response header, zero for as long
// as the run lasts.
func (x *exchange) patience(leader bool) time.Duration {
	if leader {
		return 0
	}
	return x.policy.WaitTimeout
}

// chooses says whether a request that waited for another one's run takes what
// that has brought, and if not, why.
func (x *exchange) chooses(t *ticket, since uint64, h fill.Head, v *verdict) (fill.Choice, string) {
	r := runOf(t.Flight)
	if h.Kind == fill.Private {
		if h.Reason == reasonUnheard || !x.plain(r.asked) && x.plain(x.r) || !key.SameValues(v.vary, r.asked.Header, x.r.Header) {
			return fill.LookAgain, h.Reason // it is not said of requests like this one
		}
		return fill.AskAlone, h.Reason
	}
	switch {
	case x.cache.store.Superseded(t.Gen, since, &object{key: x.key}, slices.Concat(v.tags, v.before)):
		// Only now are its tags known, by which it may have been purged before
		// this request came.
		return fill.LookAgain, ""
	case !key.SameValues(v.vary, r.asked.Header, x.r.Header):
		if x.reason == "uri-miss" {
			x.reason = "vary-miss"
		}
		return fill.LookAgain, ""
	}
	if why := x.excludes(&v.sharing, x.r); why != "" {
		return fill.AskAlone, why
	}
	return fill.Take, ""
}

// end does what is left to do after reading the fill.
func (x *exchange) end(t *ticket, rd *fill.Reader[*verdict], how fill.Ending, soft bool) fill.Ending {
	m := x.routeOf(t)
	over := runOf(t.Flight).fill.State() >= fill.Complete
	if over && (how == fill.Delivered || rd.Leader && how != fill.Left && how != fill.UseOld) && x.crashed(t, rd, m, how) {
		return how
	}
	switch how {
	case fill.Delivered:
		if rd.Leader {
			rd.Fill.Trailers(x.w.Header())
		}
		x.count(m, x.readOutcome(t))
	case fill.Left:
		x.left(t, rd, m)
	case fill.UseOld:
		x.failed(t, m)
	case fill.TimedOut:
		if soft && x.old != nil {
			// Whoever comes next need not wait for the same again.
			x.old.Failed(x.cache.store.Now(), backoffBase, backoffLimit)
		}
		x.giveUp(m, reasonTimeout)
	case fill.CutOff:
		x.cut(t, rd, m)
	}
	return how
}

// crashed lets the run be over before the request goes on: who has the whole of a
// response finds it stored, the run's panic is the leader's, and what net/http
// frees after the leader's request is the run's too. It reports whether the
// request was answered in spite of a panic. A run that breaks off takes nothing
// from a leader who has all it asked for.
func (x *exchange) crashed(t *ticket, rd *fill.Reader[*verdict], m *routeMetrics, how fill.Ending) (answered bool) {
	if rd.Leader {
		runOf(t.Flight).taken.Store(true)
	}
	<-t.Over()
	crash := t.Crash()
	if !rd.Leader || crash == nil || rd.Fill.Served() && aborted(crash) {
		return false
	}
	if how == fill.CutOff && !rd.Sent() && x.stale(m, 0, reasonPanic) {
		return true
	}
	x.count(m, outcomeError)
	crash.Raise()
	return true
}

// left ends an exchange whose client's context has ended. The client may well be
// there, if it was something on the server's side that ended it: it must not
// take an empty answer, or a part of one, for the whole.
func (x *exchange) left(t *ticket, rd *fill.Reader[*verdict], m *routeMetrics) {
	if _, ok := x.w.(*reply); ok {
		x.count(m, x.readOutcome(t)) // its caller is told why its context ended
		return
	}
	late := errors.Is(x.r.Context().Err(), context.DeadlineExceeded)
	switch {
	case rd.Sent():
		x.count(m, x.readOutcome(t))
		// What has been sent does not end as if it were all. Nearly always the
		// client has left, and a panic would be noise.
		if !sever(x.w) && late {
			panic(http.ErrAbortHandler)
		}
	case late && x.stale(m, 0, reasonTimeout):
	case late:
		x.fail(m, http.StatusGatewayTimeout, reasonTimeout)
	default:
		x.count(m, x.readOutcome(t))
		x.w.Header().Set("Cache-Control", "no-store")
		http.Error(x.w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
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
func (x *exchange) failed(t *ticket, m *routeMetrics) {
	h, v, _ := runOf(t.Flight).fill.Verdict()
	if x.stale(m, h.Status, reasonError) {
		return
	}
	if rep, ok := x.w.(*reply); ok && v.failure.err != nil {
		rep.err = v.failure.err
		x.count(m, outcomeError)
		return
	}
	if v.failure.status == 0 {
		x.alone = true
		x.takeTurns(reasonError)
		return
	}
	v.failure.setRetryAfter(x.w.Header())
	x.fail(m, v.failure.status, reasonError)
}

// takeTurns has the handler run for this request, which waited in vain: as one
// of a few at a time, the next as one begins its answer.
func (x *exchange) takeTurns(why string) {
	timeout := time.NewTimer(cmp.Or(x.policy.WaitTimeout, x.policy.FillTimeout))
	defer timeout.Stop()
	turn := x.route.turns.of(x.hash)
	defer x.route.turns.done(x.hash)
	select {
	case turn <- struct{}{}:
	case <-x.r.Context().Done():
		x.fail(x.of(x.r), http.StatusServiceUnavailable, why)
		return
	case <-timeout.C:
		x.giveUp(x.of(x.r), reasonCrowded)
		return
	}
	release := sync.OnceFunc(func() { <-turn })
	defer release()
	if why != "" {
		x.cache.metrics.notReused(why)
	}
	x.tell(x.reason, why)
	x.passTo(&watcher{ResponseWriter: x.w, seen: func(int, http.Header) { release() }})
}

// cut ends an exchange whose run broke off.
func (x *exchange) cut(t *ticket, rd *fill.Reader[*verdict], m *routeMetrics) {
	if rd.Sent() {
		// The client must not take what it got for the whole response.
		x.count(m, outcomeError)
		panic(http.ErrAbortHandler)
	}
	late, why := rd.Fill.TimedOut(), reasonIncomplete
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
func (x *exchange) noResponse(t *ticket, m *routeMetrics, status int) {
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

func (x *exchange) readOutcome(t *ticket) outcome {
	h, _, judged := runOf(t.Flight).fill.Verdict()
	switch {
	case !t.Leader:
		return outcomeCoalesced
	case judged && h.Reason != "" && h.Reason != replayed:
		return outcomePass
	}
	return outcomeMiss
}

// routeOf returns the metrics of the route of a run. Before the response header
// a router behind the cache may still be writing to the request.
func (x *exchange) routeOf(t *ticket) *routeMetrics {
	if runOf(t.Flight).fill.State() > fill.Waiting {
		return x.of(runOf(t.Flight).req)
	}
	return x.of(x.r)
}

// refresh has the handler run behind a stale response, unless all workers are
// busy. The caller has begun the refresh of e; if it were done here, its value
// receiver would be allocated for all who find that another one has.
func (x exchange) refresh(e *entry) {
	c := x.cache
	if !c.pool.Acquire() {
		c.refreshSkips.Add(1)
		e.EndRefresh()
		return
	}
	x.old, x.reason, x.behind = e, "stale", true
	if x.r.Method == http.MethodHead {
		r := *x.r
		r.Method = http.MethodGet
		x.r = &r
	}
	t, err := x.join(nil)
	if err != nil || !t.Leader {
		e.EndRefresh()
		c.pool.Release()
		if err == nil {
			t.Leave()
		}
		return
	}
	c.refreshes.Add(1)
	go func() { // a body that takes longer than FillTimeout is read by nobody, and ends
		defer c.pool.Release()
		defer e.EndRefresh()
		defer t.Leave()
		if err := t.Wait(context.Background(), x.policy.FillTimeout); err != nil {
			if errors.Is(err, engine.ErrClosed) {
				<-t.Over() // Close waits for it
			}
			e.Failed(c.store.Now(), backoffBase, backoffLimit)
		}
	}()
}
