package middleware_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A plan is a history before it happens. It is plain data made from a seed, so
// that a part of it can happen again. What the origin does is drawn from the
// seed and the request that a run is for: it stays the same when others are
// left out.
type plan struct {
	seed      uint64
	outbound  bool // through Cache.Transport, else through Cache.Handler
	http2     bool
	calm      bool // nothing fails, is purged or personal: each key has one run a freshness period
	keepAlive bool // of HTTP/1 connections to the cache
	pace      pace
	maxBytes  int64
	policy    cachemw.Policy
	places    []place
	ops       []op
}

// A pace says how long what a plan has in it takes.
type pace struct {
	span  time.Duration // of the history
	ops   int           // at most
	fill  time.Duration // Policy.FillTimeout
	hang  time.Duration // of a handler that hangs and does not heed its context
	stall time.Duration // of a client that stops reading
	slack time.Duration // for what takes no time in a bubble
	bound time.Duration // in which a client that does nothing of the like has its answer
}

var (
	virtualPace = pace{span: 12 * time.Second, ops: 60, fill: 4 * time.Second, hang: 6 * time.Second, stall: 90 * time.Second, slack: time.Millisecond / 2, bound: 30 * time.Second}
	socketPace  = pace{span: 2 * time.Second, ops: 40, fill: time.Second, hang: 1500 * time.Millisecond, stall: 1500 * time.Millisecond, slack: 100 * time.Millisecond, bound: 30 * time.Second}
)

// A place is what a URL without its query names.
type place struct {
	host, path, tag string
	validator       string // "strong", "weak", "date" or ""
	control         control
	vary            []string
	script          string // what its runs are like: "calm", "plain", "wild" or "failing"
}

// who are the request fields by which an origin may tell clients apart.
type who struct {
	cookie, auth, lang, kind, proxied string
	session                           string // whom the outer middleware has found out
}

func (w who) String() string {
	return fmt.Sprintf("cookie=%s auth=%s lang=%s kind=%s xfh=%s session=%s", w.cookie, w.auth, w.lang, w.kind, w.proxied, w.session)
}

// field returns the value of a field named in Vary.
func (w who) field(name string) string {
	switch name {
	case "Cookie":
		return w.cookie
	case "Authorization":
		return w.auth
	case "Accept-Language":
		return w.lang
	case "X-Kind":
		return w.kind
	case "X-Session":
		return w.session
	}
	return ""
}

// An op is one thing that happens.
type op struct {
	id     int
	at     time.Duration
	do     string // GET, HEAD, POST, or purge-url, purge-tag, purge-prefix, flush, close
	soft   bool
	place  int
	query  string
	who    who
	asks   string // Cache-Control
	ranges string
	cond   string // "last", "bogus" or ""

	cancel   time.Duration // after which the client leaves, 0 = never
	deadline time.Duration // of the outer middleware's context, 0 = none
	says504  bool          // what it answers then, as chi's Timeout does
	sip      int           // bytes read at a time, 0 = all
	pause    time.Duration // between reads
	stallAt  int           // bytes after which it stops reading, 0 = never

	spelled int // how a removal writes the URL

	outer outer
}

// outer is what middleware outside of the cache does for one request.
type outer struct {
	control string // for those who are logged in
	cookie  bool
	vary    string
	early   bool // a field of this client's before the handler
	late    bool // and one when the header is written
	edits   bool // changes values in place then

	lateControl string // set when the header is written, as sessions do
	lateCookie  bool   // the same
	lateVary    string // the same
}

func (o *op) String() string {
	switch o.do {
	case "flush", "close":
		return fmt.Sprintf("#%d %v %s soft=%v", o.id, o.at, o.do, o.soft)
	case "GET", "HEAD", "POST":
	default:
		return fmt.Sprintf("#%d %v %s place %d%s soft=%v spelled %d", o.id, o.at, o.do, o.place, o.query, o.soft, o.spelled)
	}
	s := fmt.Sprintf("#%d %v %s place %d%s", o.id, o.at, o.do, o.place, o.query)
	if o.who != (who{}) {
		s += " (" + o.who.String() + ")"
	}
	for _, f := range []struct{ name, value string }{
		{"cache-control", o.asks}, {"range", o.ranges}, {"if-none-match", o.cond},
	} {
		if f.value != "" {
			s += " " + f.name + "=" + f.value
		}
	}
	if o.cancel > 0 {
		s += fmt.Sprintf(" leaves after %v", o.cancel)
	}
	if o.deadline > 0 {
		s += fmt.Sprintf(" deadline %v (504: %v)", o.deadline, o.says504)
	}
	if o.sip > 0 {
		s += fmt.Sprintf(" reads %d every %v", o.sip, o.pause)
	}
	if o.stallAt > 0 {
		s += fmt.Sprintf(" stops reading at %d", o.stallAt)
	}
	if o.outer != (outer{}) {
		s += fmt.Sprintf(" outer %+v", o.outer)
	}
	return s
}

// A control is a Cache-Control field of a response. Zero numbers are not said.
type control struct {
	maxAge, sMaxAge, swr, sie                         int
	public, private, noStore, noCache, mustRevalidate bool
	privateField                                      bool // private="X-Personal"
}

func (c control) String() string {
	var parts []string
	for _, n := range []struct {
		name  string
		value int
	}{{"max-age", c.maxAge}, {"s-maxage", c.sMaxAge}, {"stale-while-revalidate", c.swr}, {"stale-if-error", c.sie}} {
		if n.value > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", n.name, n.value))
		}
	}
	for _, b := range []struct {
		name string
		said bool
	}{{"public", c.public}, {"private", c.private}, {"no-store", c.noStore}, {"no-cache", c.noCache},
		{"must-revalidate", c.mustRevalidate}, {`private="X-Personal"`, c.privateField}} {
		if b.said {
			parts = append(parts, b.name)
		}
	}
	return strings.Join(parts, ", ")
}

// dice are random choices.
type dice struct{ *rand.Rand }

// one reports true once in n times.
func (d dice) one(n int) bool { return d.IntN(n) == 0 }

// upTo returns a duration below limit, in whole milliseconds.
func (d dice) upTo(limit time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(limit/time.Millisecond))) * time.Millisecond
}

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func diceOf(seed uint64, what ...int) dice {
	stream := uint64(0)
	for _, n := range what {
		stream = stream*1_000_003 + uint64(n) + 1
	}
	return dice{rand.New(rand.NewPCG(seed, stream))}
}

func (d dice) control() control {
	return pick(d,
		control{maxAge: 1}, control{maxAge: 2}, control{public: true, maxAge: 1}, control{public: true, maxAge: 3},
		control{sMaxAge: 1}, control{maxAge: 1, mustRevalidate: true}, control{maxAge: 1, swr: 3}, control{public: true, maxAge: 1, sie: 5},
		control{public: true, noCache: true}, control{private: true, maxAge: 5}, control{noStore: true}, control{maxAge: 2, privateField: true},
		control{}, control{})
}

func (d dice) vary() []string {
	return pick(d, nil, nil, nil, []string{"Accept-Language"}, []string{"Cookie"}, []string{"Accept-Language", "X-Kind"}, []string{"Authorization"}, []string{"*"})
}

// newPlan draws a plan.
func newPlan(seed uint64, p pace) *plan {
	d := diceOf(seed)
	h := &plan{seed: seed, pace: p, outbound: d.one(2), http2: d.one(3), keepAlive: d.one(2), calm: d.one(5), maxBytes: pick(d, int64(128<<10), 1<<20)}
	h.policy = h.drawPolicy(d)
	for i := range 1 + d.IntN(3) {
		h.places = append(h.places, h.drawPlace(d, i))
	}
	for n := 10 + d.IntN(p.ops-10); len(h.ops) < n; {
		if d.one(6) && !h.calm {
			h.drawStory(d)
			continue
		}
		h.ops = append(h.ops, h.drawOp(d, len(h.ops)))
	}
	if d.one(4) && !h.calm {
		h.ops = append(h.ops, op{id: len(h.ops), do: "close", at: p.span/2 + d.upTo(p.span/2)})
	}
	return h
}

func (h *plan) drawPolicy(d dice) cachemw.Policy {
	second := time.Second
	p := cachemw.Policy{Name: "model", FillTimeout: h.pace.fill, MaxBodyBytes: bodyLimit}
	if h.calm {
		h.maxBytes, p.FillTimeout = 4<<20, time.Minute
		return p
	}
	p.TTL = pick(d, 0, second, 2*second)
	p.StaleWhileRevalidate = pick(d, 0, 0, second, 3*second)
	p.StaleIfError = pick(d, 0, 0, 5*second)
	p.SoftTimeout = pick(d, 0, 0, 200*time.Millisecond)
	p.WaitTimeout = pick(d, 0, 0, second/2)
	p.MaxWaiting = pick(d, 0, 0, 0, 2)
	p.MaxBytes = pick(d, 0, 0, 0, int64(64<<10))
	p.MaxVariants = pick(d, 0, 0, 2)
	p.SetCookie = pick(d, "", "", cachemw.StripSetCookie)
	p.RequestDirectives = pick(d, "", "", cachemw.HonourDirectives, cachemw.IgnoreDirectives)
	p.Headers = pick(d, nil, nil, nil, nil, []string{"Accept-Language"}, []string{"Cookie"}, []string{"Authorization"})
	if d.one(5) {
		p.Query.Ignore = []string{"utm"}
	}
	return p
}

func (h *plan) drawPlace(d dice, i int) place {
	p := place{
		host: pick(d, "a.example", "b.example"), path: fmt.Sprintf("/%s/%d", pick(d, "p", "q"), i),
		tag: fmt.Sprintf("t%d", i%2), validator: pick(d, "strong", "strong", "weak", "date", ""),
		control: d.control(), vary: d.vary(), script: pick(d, "plain", "wild", "wild", "failing"),
	}
	if h.calm {
		p.control = control{public: true, maxAge: 2 + d.IntN(2)}
		p.vary = pick(d, nil, nil, []string{"Accept-Language"})
		p.script = "calm"
	}
	return p
}

func (h *plan) drawOp(d dice, id int) op {
	o := op{id: id, at: d.upTo(h.pace.span), place: d.IntN(len(h.places)), do: pick(d, "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "purge")}
	if !d.one(4) { // many at once, or while what others began is under way
		o.at = o.at.Truncate(h.pace.span/6) + pick(d, 0, d.upTo(h.pace.span/200), d.upTo(h.pace.span/20), d.upTo(h.pace.span/20))
	}
	if h.calm && (o.do == "POST" || o.do == "purge") {
		o.do = "GET"
	}
	o.query = pick(d, "", "", "", "", "?utm=1", "?utm=2")
	if o.do == "purge" {
		o.do = pick(d, "purge-url", "purge-url", "purge-tag", "purge-prefix", "flush")
		o.soft, o.spelled = d.one(3), d.IntN(spellings)
		return o
	}
	h.drawWho(d, &o)
	h.drawClient(d, &o)
	return o
}

// drawStory draws what seldom comes together by itself: a response is stored
// and asked for again, is removed while that is answered, and asked for once
// more, by clients between whom nothing stands.
func (h *plan) drawStory(d dice) {
	first, removal := h.drawOp(d, len(h.ops)), h.drawOp(d, len(h.ops)+2)
	first.do, first.cond, first.ranges, first.asks, first.cancel, first.deadline, first.outer, first.who.session = "GET", "", "", "", 0, 0, outer{}, ""
	again, last := first, first
	again.id, again.at = first.id+1, first.at+d.upTo(h.pace.span/4)
	removal.at = again.at + d.upTo(h.pace.span/30)
	last.id, last.at = first.id+3, removal.at+d.upTo(h.pace.span/60)
	for removal.do == "GET" || removal.do == "HEAD" {
		removal.do = pick(d, "POST", "purge-url", "purge-tag", "flush")
	}
	removal.place, removal.query = first.place, first.query
	h.ops = append(h.ops, first, again, removal, last)
}

// drawWho draws what a request says, and what is said for it outside.
func (h *plan) drawWho(d dice, o *op) {
	user := pick(d, "", "", "alice", "bob")
	if d.one(2) {
		o.who.cookie = user
	} else {
		o.who.auth = user
	}
	o.who.lang = pick(d, "", "de", "en")
	o.who.kind = pick(d, "", "", "1", "2")
	if o.do != "POST" {
		o.ranges = pick(d, "", "", "", "", "", "", "bytes=0-199", "bytes=-100", "bytes=5000-")
		o.cond = pick(d, "", "", "", "", "last", "last", "bogus")
	}
	if !h.outbound {
		o.outer = outer{early: d.one(3), late: d.one(3), edits: d.one(4)}
	}
	if h.calm {
		return
	}
	o.who.proxied = pick(d, "", "", "", "", "", "", "evil.example")
	o.asks = pick(d, "", "", "", "", "", "", "no-cache", "no-store", "max-age=0", "max-stale", "only-if-cached")
	if h.outbound {
		return
	}
	o.outer.cookie = d.one(10)
	o.outer.vary = pick(d, "", "", "", "", "X-Session")
	if o.who.session = pick(d, "", "", "carol", "dave"); o.who.session != "" {
		switch said := pick(d, "private", "no-store"); d.IntN(4) {
		case 0:
			o.outer.control = said
		case 1:
			o.outer.lateControl = said
		case 2:
			o.outer.lateVary = "X-Session"
		default:
			o.outer.vary = "X-Session"
		}
	}
	o.outer.lateCookie = d.one(10)
}

// drawClient draws what becomes of a client.
func (h *plan) drawClient(d dice, o *op) {
	switch d.IntN(10) {
	case 0, 1:
		o.cancel = 1 + d.upTo(time.Second)
	case 2:
		o.sip, o.pause = 100+d.IntN(400), d.upTo(10*time.Millisecond)
	case 3:
		o.stallAt = 1 + d.IntN(2000)
	case 4:
		if !h.outbound && !h.calm {
			o.deadline, o.says504 = time.Millisecond+d.upTo(time.Second), d.one(2)
		}
	}
}

// mixes reports whether the key has nothing of the query.
func (h *plan) mixes() bool { return len(h.policy.Query.Ignore) > 0 }

// targets returns what shares its key with a query of a place.
func (h *plan) targets(place int, query string) []target {
	if !h.mixes() {
		return []target{{place, query}}
	}
	all := make([]target, len(queries))
	for i, q := range queries {
		all[i] = target{place, q}
	}
	return all
}

var queries = []string{"", "?utm=1", "?utm=2"}

// spellings is how many ways there are to write a URL.
const spellings = 5

// spell writes a URL in one of the ways that mean the same.
func spell(n int, host, path, query string) string {
	switch n {
	case 1:
		return "https://" + host + path + query
	case 2:
		return "HTTP://" + strings.ToUpper(host) + ":80" + path + query
	case 3:
		return "https://" + host + ":443/%7" + fmt.Sprint(path[1]-'p') + path[2:] + strings.Replace(query, "t", "%74", 1)
	case 4:
		return "http://" + host + ":" + path + query
	}
	return "http://" + host + path + query
}

// sorted returns the ops in the order in which they happen.
func (h *plan) sorted() []op {
	ops := slices.Clone(h.ops)
	slices.SortStableFunc(ops, func(a, b op) int { return int(a.at - b.at) })
	return ops
}

func (h *plan) String() string {
	face := "handler"
	if h.outbound {
		face = "transport"
	}
	s := fmt.Sprintf("  %s, http2 %v, keep-alive %v, calm %v, MaxBytes %d\n  %+v\n", face, h.http2, h.keepAlive, h.calm, h.maxBytes, h.policy)
	for i, p := range h.places {
		s += fmt.Sprintf("  place %d: %s%s tag %s, %s validator, %q, vary %q, %s\n", i, p.host, p.path, p.tag, p.validator, p.control, p.vary, p.script)
	}
	for _, o := range h.sorted() {
		s += "  " + o.String() + "\n"
	}
	return s
}
