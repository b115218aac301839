package middleware_test

import (
	"net/http"
	"slices"
	"time"
)

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

// inVain: promise 4, of those who wait. A client that has waited for a run whose
// response it may have does not begin another one.
func (m *world) inVain(second *run) {
	h, slack := m.plan, m.plan.pace.slack
	i := slices.IndexFunc(m.answers, func(b *answer) bool { return b.op == second.op })
	if second.method == http.MethodPost || i < 0 || !m.closed.IsZero() || second.op.asks != "" {
		return
	}
	var first *run
	for _, r := range m.runs {
		if r.place != second.place || r.header.IsZero() || r.header.Before(second.began.Add(-slack)) || r.header.After(second.began.Add(slack)) {
			continue
		}
		if first != nil {
			return // which of them it has waited for cannot be told
		}
		first = r
	}
	b := m.answers[i]
	if first == nil || first.op == b.op || first.method != second.method || !m.waits(b, first) || !m.tells(first) {
		return
	}
	c := &checker{world: m, a: b, supposed: true}
	if why := c.forbids(first, false); why == "" && slices.Contains(h.targets(b.op.place, b.op.query), target{first.place, first.op.query}) {
		m.fault("in vain", "run %d was begun for #%d, which had waited for run %d, and nothing keeps that from it", second.id, b.op.id, first.id)
	}
}

// waits reports whether a client came while a run had no header, and nothing was
// removed meanwhile.
func (m *world) waits(b *answer, r *run) bool {
	slack := m.plan.pace.slack
	if r.direct && !m.plan.outbound || b.began.Before(r.began.Add(slack)) || b.began.After(r.header.Add(-slack)) {
		return false
	}
	for _, o := range m.plan.ops {
		switch at := m.start.Add(o.at); {
		case o.do == "GET" || o.do == "HEAD":
		case o.do == "POST" && o.place != r.place:
		case at.After(r.header.Add(slack)), at.Before(r.began.Add(-m.plan.pace.span / 4)):
		default:
			return false
		}
	}
	return true
}

// tells reports whether what is known of a run is all that there is to say of who
// may have its response.
func (m *world) tells(r *run) bool {
	s, large := &r.script, r.rep.total > bodyLimit && r.method == http.MethodGet
	ofItself := s.cookie || s.control.privateField
	took := r.header.Sub(r.began)
	switch {
	case r.status == 0 || r.status == http.StatusNotModified || r.op.asks != "":
		return false // it may have been for that client alone, or had another after it
	case r.op.outer.lateControl != "" || r.op.outer.lateCookie || r.op.outer.lateVary != "":
		return false
	case s.flushFirst, s.bad(), large && s.declares != "", took > m.plan.policy.FillTimeout:
		return false
	case ofItself && (r.status >= 500 || took > time.Second/2):
		return false
	case r.status >= 400:
		return !slices.ContainsFunc(m.runs, func(o *run) bool { return o.place == r.place && o.began.Before(r.began) })
	}
	return true
}

// remembers: that an error was shared with those who waited says nothing of the
// next response.
func (m *world) remembers(r *run) {
	i := slices.IndexFunc(m.answers, func(b *answer) bool { return b.op == r.op })
	if !r.direct || m.plan.outbound || r.method == http.MethodPost || r.op.asks != "" || i < 0 || !m.closed.IsZero() ||
		r.began.After(m.answers[i].began.Add(m.plan.pace.slack)) {
		return
	}
	if !slices.ContainsFunc(m.runs, func(o *run) bool {
		return o != r && o.place == r.place && !o.began.After(r.began) && !m.nobodys(o)
	}) {
		m.fault("remembers", "run %d is for #%d alone, and all that came before are errors that are nobody's", r.id, r.op.id)
	}
}

// nobodys reports whether a run brought an error that is nobody's in particular,
// and is not stored.
func (m *world) nobodys(r *run) bool {
	s, c, w := &r.script, &r.script.control, &r.op.who
	return r.status >= 500 && !r.direct && r.op.asks == "" && *w == (who{lang: w.lang, kind: w.kind}) &&
		c.maxAge+c.sMaxAge == 0 && !c.private && !c.noStore && !c.privateField && !s.cookie && !slices.Contains(s.vary, "*") &&
		r.op.outer == (outer{early: r.op.outer.early, late: r.op.outer.late, edits: r.op.outer.edits}) &&
		(s.declares == "" || r.rep.total <= bodyLimit)
}
