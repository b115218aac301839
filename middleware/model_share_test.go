package middleware_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

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
	outer := r.op.outer
	late := (outer.lateControl != "" || outer.lateCookie || outer.lateVary != "") && c.saidLate(r)
	if !late {
		outer.lateVary = ""
	}
	for _, name := range append(slices.Clone(s.vary), outer.vary, outer.lateVary) {
		if name == "*" || name != "" && r.op.who.field(name) != q.who.field(name) {
			return "Vary: " + name
		}
	}
	said := s.control.String()
	switch {
	case outer.control != "" && (said == "" || !s.sets):
		return outer.control + " by the outside"
	case late && (outer.lateControl != "" || outer.lateCookie):
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
	return (c.a.collapsed() || c.supposed) && !c.a.began.After(r.header.Add(c.plan.pace.slack))
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
