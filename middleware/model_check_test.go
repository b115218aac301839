package middleware_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check looks at all that the clients of a history got.
func (m *world) check() []fault {
	for _, a := range m.answers {
		c := &checker{world: m, a: a}
		c.named()
		c.forItsClient()
		c.joined()
		c.asked()
		c.whole()
		c.current()
		c.inTime()
	}
	for _, r := range m.runs {
		m.outlives(r)
		m.inVain(r)
		m.remembers(r)
	}
	if m.plan.calm {
		m.checkRuns()
	}
	return m.faults
}

// A checker looks at one answer.
type checker struct {
	*world
	a   *answer
	run *run // whose header it has, or nil
	rep *rep // whose body it says that it has, or nil

	supposed bool // what it waited for is looked at, and not what it got
}

func (c *checker) fault(promise, format string, args ...any) {
	got := fmt.Sprintf(" [%v got %d, %d bytes, error %v, %q]", c.a.op, c.a.status, len(c.a.body), c.a.err, c.a.header)
	c.world.fault(promise, format+"%s", append(args, got)...)
}

// named finds out what the answer says it is.
func (c *checker) named() {
	if id, err := strconv.Atoi(c.a.header.Get("X-Run")); err == nil && id < len(c.runs) {
		c.run = c.runs[id]
	}
	if id, err := strconv.Atoi(c.a.header.Get("X-Rep")); err == nil && id < len(c.reps) {
		c.rep = c.reps[id]
	}
}

// asked: what answers a condition, a range or HEAD is what was asked for.
func (c *checker) asked() {
	a, weak := c.a, func(tag string) string { return strings.TrimPrefix(tag, "W/") }
	switch {
	case a.status == http.StatusNotModified && (a.condition == "" || weak(a.header.Get("Etag")) != weak(a.condition)):
		c.fault("not asked", "a 304 to If-None-Match %q", a.condition)
	case a.status == http.StatusPartialContent && a.op.ranges == "":
		c.fault("not asked", "a part for who wanted the whole")
	}
}

// whole: promises 3 and 13. The body, as far as it came, is of one response,
// and what ends as if it were whole, is.
func (c *checker) whole() {
	a := c.a
	if a.op.do == http.MethodPost || c.alone() {
		return
	}
	clean := a.err == nil && !a.gaveUp
	switch {
	case clean && c.rep == nil && c.run == nil && a.status < 400:
		c.fault("whole", "a %d that no run has sent", a.status)
		return
	case c.rep == nil || a.status == http.StatusNotModified || a.status == http.StatusNoContent || a.op.do == http.MethodHead:
		c.bodiless()
		return
	}
	want := c.rep.body()
	if c.run != nil && c.run.script.declares == "wrong" && c.run.status != http.StatusNotModified {
		want += strings.Repeat("\x00", lineBytes) // which never comes
	}
	if a.status == http.StatusPartialContent || a.status == http.StatusRequestedRangeNotSatisfiable {
		var ok bool
		if want, ok = part(want, a.header.Get("Content-Range")); !ok {
			c.fault("whole", "Content-Range of rep %d of %d bytes", c.rep.id, c.rep.total)
			return
		}
	}
	body := string(a.body)
	if !strings.HasPrefix(want, body) {
		c.fault("whole", "%q is not of rep %d: %q", clip(body), c.rep.id, clip(want))
	} else if clean && body != want {
		c.fault("whole", "%d of %d bytes of rep %d end as if they were all", len(body), len(want), c.rep.id)
	}
	if clean && strings.HasPrefix(a.cacheStatus(), "hit") {
		c.stored()
	}
}

// alone reports whether the handler wrote to this client itself, and returned in
// the middle since the client's context had ended: that is as without a cache.
func (c *checker) alone() bool {
	return slices.ContainsFunc(c.runs, func(r *run) bool {
		return r.op == c.a.op && r.direct && r.late && c.a.op.deadline > 0
	})
}

// bodiless checks an answer that says to have no body, or not to be a run's.
func (c *checker) bodiless() {
	a := c.a
	if c.rep != nil || a.status < 400 {
		if len(a.body) > 0 {
			c.fault("whole", "%q where there is to be no body", clip(string(a.body)))
		}
		declared := a.header.Get("Content-Length")
		if c.rep != nil && a.op.do == http.MethodHead && a.status == http.StatusOK && declared != "" &&
			c.run != nil && c.run.script.declares != "wrong" && declared != strconv.Itoa(c.rep.total) {
			c.fault("whole", "HEAD of rep %d of %d bytes", c.rep.id, c.rep.total)
		}
	} else if strings.Contains(string(a.body), "rep=") {
		c.fault("whole", "%q with a header of the cache's own", clip(string(a.body)))
	}
}

// stored: what is served from the store was complete, and may still be used.
func (c *checker) stored() {
	if why := c.tooOld(); why != "" {
		c.fault("stored", "#%d got %s", c.a.op.id, why)
	}
	if c.rep.total > bodyLimit {
		c.fault("stored", "rep %d of %d bytes", c.rep.id, c.rep.total)
	}
	for _, r := range c.rep.runs {
		if r.whole && r.ended.Sub(r.began) <= c.plan.policy.FillTimeout+c.plan.pace.slack {
			return
		}
	}
	c.fault("stored", "no run has brought the whole of rep %d in time", c.rep.id)
}

// tooOld returns why a response must not come from the store without a run any
// more, or "". What it has of its lifetime is what its header's run said: from
// when that was asked, if the response says it itself, or from when it came.
func (c *checker) tooOld() string {
	r, p := c.run, &c.plan.policy
	if r == nil || r.script.control == (control{}) && r.status == http.StatusNotModified || c.a.op.asks != "" {
		return ""
	}
	s, came := r.script.control, r.header
	if s.noCache {
		return "a response with no-cache that was not validated"
	}
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	life := cmp.Or(seconds(s.sMaxAge), seconds(s.maxAge), p.TTL)
	if s.sMaxAge+s.maxAge > 0 {
		came = r.began
	}
	if !s.mustRevalidate && s.sMaxAge == 0 {
		// After a failed refresh the longer window counts.
		life += max(cmp.Or(seconds(s.swr), p.StaleWhileRevalidate), cmp.Or(seconds(s.sie), p.StaleIfError))
	}
	for _, at := range c.madeStale() { // the windows begin anew
		if at.After(came) {
			came = at
		}
	}
	if age := c.a.began.Sub(came); age > life+c.plan.pace.slack+10*time.Millisecond {
		return fmt.Sprintf("the header of run %d %v after it came, usable for %v", r.id, age, life)
	}
	return ""
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:100] + " ... " + s[len(s)-100:]
	}
	return s
}

// part returns what a Content-Range names.
func part(body, named string) (string, bool) {
	var first, last, size int
	if _, err := fmt.Sscanf(named, "bytes %d-%d/%d", &first, &last, &size); err == nil && size == len(body) && first <= last && last < size {
		return body[first : last+1], true
	}
	return "", named == fmt.Sprintf("bytes */%d", len(body))
}

// over reports whether one of the runs that the client may have waited for is
// as said.
func (c *checker) over(is func(*run) bool) bool {
	return slices.ContainsFunc(c.runs, func(r *run) bool {
		return r.place == c.a.op.place && !r.began.After(c.a.ended) && (r.ended.IsZero() || !r.ended.Add(c.plan.pace.slack).Before(c.a.began)) && is(r)
	})
}

// current: promise 6.
func (c *checker) current() {
	a, version := c.a, int64(0)
	switch {
	case a.op.do == http.MethodPost:
		return
	case c.rep != nil:
		version = c.rep.version
	case c.run != nil:
		version = c.run.version
	default:
		return
	}
	if version < a.hard {
		c.fault("removed", "#%d got version %d, which was removed for %d before it came", a.op.id, version, a.hard)
	}
	if a.fallback() && version < a.hardAtHeader {
		c.fault("removed", "#%d got version %d in place of a failure, which was removed for %d before that", a.op.id, version, a.hardAtHeader)
	}
	if version >= a.soft {
		return
	}
	status, ttl := a.cacheStatus(), 0
	_, after, _ := strings.Cut(status, "ttl=")
	_, _ = fmt.Sscan(strings.ReplaceAll(after, ";", " "), &ttl)
	if ttl > 0 || !strings.HasPrefix(status, "hit") && !strings.Contains(status, "detail") {
		c.fault("removed", "#%d got version %d as fresh, which was made stale for %d before it came", a.op.id, version, a.soft)
	}
}

// inTime: promise 5. A client has a response, unless something went wrong that
// was not another client's doing, and has it soon.
func (c *checker) inTime() {
	a := c.a
	if a.gaveUp {
		return
	}
	if took := a.ended.Sub(a.began); took > c.plan.pace.bound && a.op.sip == 0 {
		c.fault("costs another", "#%d waited %v", a.op.id, took)
	}
	failed := a.err != nil || a.status >= 500 && c.run == nil
	if !failed || a.op.do == http.MethodPost {
		return
	}
	if why := c.excused(); why == "" {
		c.fault("costs another", "#%d failed, and no run did", a.op.id)
	}
}

// excused returns why a client may have no response, or "".
func (c *checker) excused() string {
	a, p, slack := c.a, &c.plan.policy, c.plan.pace.slack
	took := a.ended.Sub(a.began)
	refused := a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != ""
	switch {
	case a.op.deadline > 0 && took >= a.op.deadline-slack:
		return "its own deadline"
	case !c.closed.IsZero() && !a.ended.Before(c.closed) && !a.began.After(c.closed.Add(slack)):
		return "Close"
	case refused && p.WaitTimeout > 0 && took >= p.WaitTimeout-slack:
		return "WaitTimeout"
	case refused && p.MaxWaiting > 0 && c.beside() >= p.MaxWaiting:
		return "MaxWaiting"
	case a.status == http.StatusGatewayTimeout && a.op.asks == "only-if-cached":
		return "only-if-cached"
	case c.plan.pace.slack > time.Millisecond && (a.status == http.StatusGatewayTimeout || errors.Is(a.err, context.DeadlineExceeded)):
		return "on a busy machine FillTimeout may pass before the origin is reached"
	case c.over(func(r *run) bool { return r.script.bad() }):
		return "a run that ended badly"
	}
	return ""
}

// beside returns how many clients were there at the same time.
func (c *checker) beside() (n int) {
	for _, b := range c.answers {
		if b != c.a && !b.began.After(c.a.ended) && !b.ended.Before(c.a.began) {
			n++
		}
	}
	return n
}

// madeStale returns when soft purges reached what the client asked for.
func (c *checker) madeStale() (at []time.Time) {
	for _, r := range c.softened {
		if slices.Contains(c.plan.targets(c.a.op.place, c.a.op.query), r.target) {
			at = append(at, r.at)
		}
	}
	return at
}
