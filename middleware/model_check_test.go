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

	cachemw "github.com/freshet-go/freshet/middleware"
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

// forItsClient: promises 1, 2 and 12.
func (c *checker) forItsClient() {
	q := c.a.op
	if c.run != nil {
		if why := c.forbids(c.run, false); why != "" {
			c.fault("not for it", "#%d has the header of run %d, for #%d: %s", q.id, c.run.id, c.run.op.id, why)
		}
	}
	if c.rep != nil {
		why := ""
		confirmed := c.run != nil && !slices.Contains(c.rep.runs, c.run)
		for _, r := range c.rep.runs {
			if why = c.forbids(r, confirmed); why == "" {
				break
			}
		}
		if why != "" {
			c.fault("not for it", "#%d has rep %d, for #%d: %s", q.id, c.rep.id, c.rep.runs[0].op.id, why)
		}
	}
	for _, h := range append(slices.Clone(c.a.interim), c.a.header, c.a.trailer) {
		for name, values := range h {
			for _, v := range values {
				c.ofItself(name, v)
			}
		}
	}
}

// ofItself checks a field that is made for one request only.
func (c *checker) ofItself(name, value string) {
	switch name {
	case "X-Personal", "X-Early", "X-Trail", "X-Outer-Early", "X-Outer-Late":
	case "Set-Cookie":
		_, value, _ = strings.Cut(value, "=")
	case "Surrogate-Key", "Content-Type":
		edited := false
		if value, edited = strings.CutPrefix(value, "edited by "); !edited {
			return
		}
	default:
		return
	}
	if value != strconv.Itoa(c.a.op.id) {
		c.fault("field of another", "#%d was told %s: %s (interim %q, trailer %q)", c.a.op.id, name, value, c.a.interim, c.a.trailer)
	}
}

// forbids returns why what a run has brought is not for the client, or "". If
// another run has confirmed it, by a 304, what the first does not say does not
// count.
func (c *checker) forbids(r *run, confirmed bool) string {
	q := c.a.op
	if r.op == q {
		return ""
	}
	p, s := &c.plan.policy, &r.script
	onTop := r.status == http.StatusNotModified // of what is stored, which says the rest
	switch {
	case r.method == http.MethodPost || q.do == http.MethodPost:
		return "not a GET"
	case r.method == http.MethodHead && (q.do != http.MethodHead || !c.waitedFor(r)):
		return "a HEAD, whose response is for those who waited with HEAD for it"
	case r.place != q.place, r.op.query != q.query && !c.plan.mixes():
		return "another key"
	case r.op.who.proxied != "" && r.op.who.proxied != q.who.proxied:
		return "another X-Forwarded-Host"
	}
	for _, name := range p.Headers {
		if r.op.who.field(name) != q.who.field(name) {
			return "another " + name + " in the key"
		}
	}
	for _, name := range append(slices.Clone(s.vary), r.op.outer.vary) {
		if name == "*" || name != "" && r.op.who.field(name) != q.who.field(name) {
			return "Vary: " + name
		}
	}
	said, outer := s.control.String(), r.op.outer
	late := (outer.lateControl != "" || outer.lateCookie) && c.saidLate(r)
	switch {
	case outer.control != "" && (said == "" || !s.sets):
		return outer.control + " by the outside"
	case late:
		return fmt.Sprintf("%s, cookie %v by the outside when the header was written", outer.lateControl, outer.lateCookie)
	case s.control.private, s.control.noStore:
		return said
	case outer.cookie, s.cookie && !onTop && p.SetCookie != cachemw.StripSetCookie:
		return "it sets a cookie"
	}
	if confirmed || said == "" && onTop {
		return ""
	}
	return c.unsaid(r)
}

// waitedFor reports whether the client has its answer from a run whose header
// came while it waited.
func (c *checker) waitedFor(r *run) bool {
	return c.a.collapsed() && !c.a.began.After(r.header.Add(c.plan.pace.slack))
}

// saidLate reports whether the client that a run was begun for has its header,
// and with it what is said outside when that is written.
func (m *world) saidLate(r *run) bool {
	return slices.ContainsFunc(m.answers, func(b *answer) bool {
		return b.op == r.op && b.header.Get("X-Run") == strconv.Itoa(r.id) && !b.fallback()
	})
}

// unsaid returns why a response that does not forbid it may not be shared
// either.
func (c *checker) unsaid(r *run) string {
	p, q, control := &c.plan.policy, c.a.op, r.script.control
	byCookie, byAuth := slices.Contains(p.Headers, "Cookie"), slices.Contains(p.Headers, "Authorization")
	// Whoever waited for an error that is nobody's in particular has it too.
	plain := (r.op.who.auth == "" || byAuth) && (r.op.who.cookie == "" || byCookie) && r.op.who.proxied == ""
	waited := r.status >= 500 && plain && c.waitedFor(r)
	switch {
	case !control.public && !control.mustRevalidate && control.sMaxAge == 0 && !byAuth && (r.op.who.auth != "" || q.who.auth != ""):
		return "credentials"
	case control.noCache && c.plan.places[r.place].validator == "" && !waited:
		return "no-cache, and no validator"
	case control.noCache:
		return ""
	case control.maxAge > 0 || control.sMaxAge > 0:
		return c.expired(r)
	case !waited && (p.TTL == 0 || r.status >= 500):
		return "nothing says that it is fresh"
	case !byCookie && (r.op.who.cookie != "" || q.who.cookie != ""):
		return "a cookie, and only the policy's TTL"
	}
	return ""
}

// expired returns why a response that was stale when it came, since its run took
// longer than it is fresh, is not for the client, or "".
func (c *checker) expired(r *run) string {
	s := r.script.control
	life := time.Second * time.Duration(cmp.Or(s.sMaxAge, s.maxAge))
	stale := max(s.swr, s.sie, int(c.plan.policy.StaleWhileRevalidate/time.Second), int(c.plan.policy.StaleIfError/time.Second)) > 0
	if took := r.header.Sub(r.began); took > life && c.plan.places[r.place].validator == "" && !stale && !c.waitedFor(r) {
		return fmt.Sprintf("stale when it came, after %v", took)
	}
	return ""
}

// joined: nobody joins a run whose response will not be kept.
func (c *checker) joined() {
	r, slack := c.run, c.plan.pace.slack
	if r == nil || r.op == c.a.op || !c.a.collapsed() {
		return
	}
	if at := r.began.Add(c.plan.policy.FillTimeout + slack); c.a.began.After(at) {
		c.fault("joined", "#%d joined run %d when that had taken too long", c.a.op.id, r.id)
	}
	if !r.large.IsZero() && c.a.began.After(r.large.Add(slack)) {
		c.fault("joined", "#%d joined run %d when its body was too large", c.a.op.id, r.id)
	}
}

// outlives: promise 8. A run that took too long to be kept ends with its last
// reader.
func (m *world) outlives(r *run) {
	slack := m.plan.pace.slack
	if r.direct && !m.plan.outbound || r.script.heeds == "" || r.ended.Sub(r.began) <= m.plan.policy.FillTimeout+slack {
		return
	}
	if !slices.ContainsFunc(m.answers, func(a *answer) bool {
		return a.op.place == r.place && a.op.do == r.method && !a.began.After(r.ended) && a.ended.Add(slack).After(r.ended)
	}) {
		m.fault("outlives", "run %d went on until %v, and nobody had it", r.id, m.since(r.ended))
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
		return r.place == c.a.op.place && !r.began.After(c.a.ended) && (r.ended.IsZero() || !r.ended.Before(c.a.began)) && is(r)
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

// checkRuns: promise 4, in a history in which nothing speaks against sharing.
func (m *world) checkRuns() {
	type variant struct {
		target
		lang, method string
	}
	last := make(map[variant]*run)
	for _, r := range m.runs {
		p := m.plan.places[r.place]
		k := variant{target{r.place, r.query}, "", r.method}
		if len(p.vary) > 0 {
			k.lang = r.who.lang
		}
		before := last[k]
		last[k] = r
		if before == nil {
			continue
		}
		again := r.began.Sub(before.began)
		if r.method == http.MethodHead {
			// It is not stored, but those who wait for one have it together. Who
			// finds another variant's asks again once the key's rule is known.
			if len(p.vary) == 0 && r.began.Before(before.header) {
				m.fault("one run", "run %d, a HEAD, began %v after run %d, which had not answered", r.id, again, before.id)
			}
			continue
		}
		// In seconds of the Date of a server that is asked over a network.
		lifetime := time.Duration(p.control.maxAge)*time.Second - time.Second*time.Duration(m.plan.dated())
		if again < lifetime {
			m.fault("one run", "run %d began %v after run %d of the same %+v, fresh for %v", r.id, again, before.id, k, lifetime)
		}
	}
}

// dated is by how many seconds the Date field of a response may be older than
// the response.
func (h *plan) dated() int {
	if h.outbound {
		return 1
	}
	return 0
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
