package compat

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A wrapper is middleware.
type wrapper = func(http.Handler) http.Handler

// A row is one middleware and what is to become of a page under it.
type row struct {
	name string
	// wrap returns the middleware, with a state of its own.
	wrap   func(notes *notes) wrapper
	target string // "/page" if empty
	// alice and bob are the fields that they send. No value of one may reach
	// the other.
	alice, bob []string
	page       http.HandlerFunc // what the origin answers; nil: the same to all
	policy     cachemw.Policy
	fresh      []string // response fields of which the middleware makes a new value each time
	// want says what is shared, for each place.
	want   map[place]sharing
	breaks bool // it may break responses off, or hide that they broke off
}

// A place is where middleware stands.
type place string

const (
	outside  place = "outside of Handler"
	inside   place = "inside of Handler"
	around   place = "around Transport"
	upstream place = "below Transport"
)

var places = []place{outside, inside, around, upstream}

// sharing says who is answered from the store.
type sharing int

const (
	shared  sharing = iota // everyone
	variant                // who has asked before
	apart                  // likewise, and the cache knows before the response comes
	never                  // nobody
	partly                 // as the middleware lets requests through
)

// notes are what middleware noted of requests.
type notes struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

// An origin is the innermost handler. It takes a second, so that clients wait
// for the same run of it.
type origin struct {
	page  http.HandlerFunc
	calls atomic.Int64
	fault atomic.Pointer[fault]
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	time.Sleep(time.Second)
	if f := o.fault.Load(); f != nil {
		f.serve(w, r)
		return
	}
	o.page(w, r)
}

// text is larger than what the writers of net/http hold back.
var text = strings.Repeat("a page for everyone\n", 1000)

func page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=60, stale-while-revalidate=600")
	h.Set("Etag", `"1"`)
	_, _ = fmt.Fprintf(w, "%s\n", r.URL.Path)
	_, _ = w.Write([]byte(text))
}

// A stage is a stack on its own site, with two users.
type stage struct {
	origin     *origin
	cache      *cachemw.Cache // nil for the twin without
	notes      *notes
	alice, bob *user
}

func newStage(t *testing.T, r *row, at place, protocol string, cached bool) *stage {
	s := &stage{origin: &origin{page: r.page}, notes: &notes{t: t}}
	if r.page == nil {
		s.origin.page = page
	}
	if cached {
		var err error
		if s.cache, err = cachemw.New(cachemw.Options{MaxBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.cache.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	m := serve(t, s.stack(t, r, at), protocols[protocol])
	s.alice = newUser(t, "alice", r.alice, m, protocols[protocol])
	s.bob = newUser(t, "bob", r.bob, m, protocols[protocol])
	return s
}

func (s *stage) stack(t *testing.T, r *row, at place) http.Handler {
	wrap := r.wrap(s.notes)
	switch at {
	case outside:
		return wrap(s.mount(r, s.origin))
	case inside:
		return s.mount(r, wrap(s.origin))
	case around:
		return wrap(s.proxy(t, r, s.origin))
	default:
		return s.proxy(t, r, wrap(s.origin))
	}
}

func (s *stage) mount(r *row, h http.Handler) http.Handler {
	if s.cache == nil {
		return h
	}
	return s.cache.Handler(r.policy)(h)
}

// proxy passes requests on to a site of h, through the client face of the cache.
func (s *stage) proxy(t *testing.T, r *row, h http.Handler) http.Handler {
	var rt http.RoundTripper = serve(t, h, protocols["HTTP/1"]).transport(t, protocols["HTTP/1"])
	if s.cache != nil {
		rt = s.cache.Transport(r.policy, rt)
	}
	return &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: "site.test"}) },
		Transport: rt,
		ErrorLog:  silent,
	}
}

// users returns those of names, in their order.
func (s *stage) users(names string) []*user {
	var us []*user
	for _, name := range strings.Fields(names) {
		us = append(us, map[string]*user{"alice": s.alice, "bob": s.bob}[name])
	}
	return us
}

// ask has the users of names ask for target, one shortly after the other.
func (s *stage) ask(names, method, target string, more ...string) []*answer {
	us := s.users(names)
	answers := make([]*answer, len(us))
	var wg sync.WaitGroup
	for i, u := range us {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			answers[i] = u.ask(method, target, more...)
		})
	}
	wg.Wait()
	synctest.Wait() // refreshes have begun, and net/http has finished
	return answers
}

// A play compares a stack with its twin, and collects what is wrong.
type play struct {
	row      *row
	target   string
	at       place
	cached   *stage
	twin     *stage
	given    map[string]string // values made for one user, to the user's name
	problems []string
}

func newPlay(t *testing.T, r *row, at place, protocol string) *play {
	p := &play{row: r, target: r.target, at: at, given: make(map[string]string)}
	if p.target == "" {
		p.target = "/page"
	}
	p.cached, p.twin = newStage(t, r, at, protocol, true), newStage(t, r, at, protocol, false)
	return p
}

func (p *play) say(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// A step is a part of a play.
type step struct {
	what  string
	after time.Duration // since the step before
	purge bool
	who   string
	calls [4]int64 // of the origin, by sharing
	fast  bool     // what is shared is answered at once, by whatever is called behind
}

var steps = []step{
	{what: "miss", who: "alice", calls: [4]int64{1, 1, 1, 1}},
	{what: "hit of another", who: "bob", calls: [4]int64{0, 1, 1, 1}},
	{what: "hit", who: "alice", calls: [4]int64{0, 0, 0, 1}, fast: true},
	{what: "stale", after: 90 * time.Second, who: "bob", calls: [4]int64{1, 1, 1, 1}, fast: true},
	{what: "refreshed", after: 2 * time.Second, who: "bob", calls: [4]int64{0, 0, 0, 1}, fast: true},
	{what: "refreshed by another", who: "alice", calls: [4]int64{0, 1, 1, 1}, fast: true},
	{what: "together", after: 2 * time.Second, purge: true, who: "alice bob", calls: [4]int64{1, 2, 2, 2}},
	// Who waited for what turned out to be another variant ran alone, and stored nothing.
	{what: "hit after together", who: "bob", calls: [4]int64{0, 0, 0, 1}},
	{what: "together, bob first", purge: true, who: "bob alice", calls: [4]int64{1, 2, 2, 2}},
	{what: "hit after bob", who: "alice", calls: [4]int64{0, 0, 0, 1}},
}

// run plays all steps, and then asks for less than the page.
func (p *play) run() []string {
	want, ok := p.row.want[p.at]
	if !ok {
		want = partly
	}
	for _, st := range steps {
		time.Sleep(st.after)
		if st.purge {
			if err := p.cached.cache.Flush(context.Background(), cachemw.Hard); err != nil {
				p.say("%v", err)
			}
		}
		before := p.cached.origin.calls.Load()
		got := p.cached.ask(st.who, http.MethodGet, p.target)
		whole := p.twin.ask(st.who, http.MethodGet, p.target)
		if n := p.cached.origin.calls.Load() - before; want != partly && n != st.calls[want] {
			p.say("%s: not shared as it should be: %d calls, want %d (%s)", st.what, n, st.calls[want], got[0].header["Cache-Status"])
		}
		for i, u := range p.cached.users(st.who) {
			p.compare(st.what, u, got[i], whole[i])
			if st.fast && want < never && got[i].took > 0 {
				p.say("%s: %s waited %v", st.what, u.name, got[i].took)
			}
		}
	}
	if p.at == outside || p.at == around {
		p.compareNotes()
	}
	p.less()
	return p.problems
}

// less asks with HEAD, for a part, and on conditions.
func (p *play) less() {
	for _, u := range []string{"alice", "bob"} {
		p.compare("HEAD", p.cached.users(u)[0], p.cached.ask(u, http.MethodHead, p.target)[0], p.twin.ask(u, http.MethodHead, p.target)[0])
		whole := p.twin.ask(u, http.MethodGet, p.target)[0]
		part := p.cached.ask(u, http.MethodGet, p.target, "Range", "bytes=10-19")[0]
		p.twin.ask(u, http.MethodGet, p.target) // so that what is counted is equal
		if part.status == http.StatusPartialContent {
			if part.err != nil || part.header.Get("Content-Encoding") == "" && part.body != between(whole.body, 10, 20) {
				p.say("part: %s got %q, %v", u, part.body, part.err)
			}
			if coding := part.header.Get("Content-Encoding"); coding != "" && (p.at == outside || p.at == around) {
				p.say("part: %s got a part of the text, and then %s of that", u, coding)
			}
		} else if part.status != whole.status || common(part.body) != common(whole.body) {
			p.say("part: %s got %d, %d bytes, without the cache %d, %d bytes", u, part.status, len(part.body), whole.status, len(whole.body))
		}
		if tag := whole.header.Get("Etag"); tag != "" {
			known := p.cached.ask(u, http.MethodGet, p.target, "If-None-Match", tag)[0]
			p.twin.ask(u, http.MethodGet, p.target)
			if known.status != http.StatusNotModified && common(known.body) != common(whole.body) || known.status == http.StatusNotModified && known.body != "" {
				p.say("If-None-Match: %s got %d, %d bytes", u, known.status, len(known.body))
			}
		}
	}
}

func between(s string, from, to int) string { return s[min(from, len(s)):min(to, len(s))] }

// own are fields that the cache makes, or of which only the length differs.
var own = []string{"Age", "Cache-Status", "Date", "Content-Length", "Set-Cookie", "Accept-Ranges"}

// compare says where got differs from what u gets without the cache, and what
// it has of the other user.
func (p *play) compare(what string, u *user, got, twin *answer) {
	if (got.err == nil) != (twin.err == nil) || got.status != twin.status || common(got.body) != common(twin.body) {
		p.say("%s: %s got %d, %.40q (%d bytes), %v; without the cache %d, %.40q (%d bytes), %v",
			what, u.name, got.status, got.body, len(got.body), got.err, twin.status, twin.body, len(twin.body), twin.err)
	}
	if strings.HasSuffix(got.body, "token=") && !strings.HasSuffix(twin.body, "token=") {
		p.say("%s: %s got an empty token", what, u.name)
	}
	p.compareFields(what, u, got.header, twin.header)
	p.compareFields(what+", trailers", u, got.trailer, twin.trailer)
	if (got.header["Set-Cookie"] == nil) != (twin.header["Set-Cookie"] == nil) {
		p.say("%s: %s got Set-Cookie %q, without the cache %q", what, u.name, got.header["Set-Cookie"], twin.header["Set-Cookie"])
	}
	p.foreign(what, u, got)
}

func (p *play) compareFields(what string, u *user, got, twin http.Header) {
	names := maps.Clone(got)
	maps.Copy(names, twin)
	for name := range names {
		if what == "HEAD" && name == "Content-Encoding" {
			continue // known only where there is content (RFC 9110 9.3.2)
		}
		if slices.Contains(own, name) || slices.Contains(p.row.fresh, name) {
			if !slices.Contains(own, name) && (got[name] == nil) != (twin[name] == nil) {
				p.say("%s: %s got %s %q, without the cache %q", what, u.name, name, got[name], twin[name])
			}
			continue
		}
		if !slices.Equal(elements(got[name]), elements(twin[name])) {
			p.say("%s: %s got %s %q, without the cache %q", what, u.name, name, got[name], twin[name])
		}
	}
}

// common returns what is not made for one user.
func common(body string) string {
	before, _, _ := strings.Cut(body, "token=")
	return before
}

// elements returns the elements of a list, whatever their order and lines.
func elements(values []string) []string {
	var all []string
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		all = append(all, strings.ToLower(strings.TrimSpace(part)))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// foreign says what of an answer belongs to the other user: values that the
// other sends, and those that were made for the other.
func (p *play) foreign(what string, u *user, a *answer) {
	other := map[string]string{"alice": "bob", "bob": "alice"}[u.name]
	if strings.Contains(common(a.body), other) {
		p.say("%s: %s got a page of %s", what, u.name, other)
	}
	for _, fields := range []http.Header{a.header, a.trailer} {
		for name, values := range fields {
			for _, v := range values {
				switch {
				case name == "Set-Cookie" || slices.Contains(p.row.fresh, name):
					p.give(what, u, name, v) // random, and may hold any name by chance
				case strings.Contains(v, other):
					p.say("%s: %s got the %s of %s: %q", what, u.name, name, other, v)
				}
			}
		}
	}
	if _, token, ok := strings.Cut(a.body, "token="); ok {
		p.give(what, u, "token in the page", token)
	}
}

// give says where u gets a value that was made for the other user.
func (p *play) give(what string, u *user, name, value string) {
	if owner, ok := p.given[name+value]; ok && owner != u.name {
		p.say("%s: %s got the %s of %s: %q", what, u.name, name, owner, value)
	}
	p.given[name+value] = u.name
}

func (p *play) compareNotes() {
	got, want := slices.Sorted(slices.Values(p.cached.notes.lines)), slices.Sorted(slices.Values(p.twin.notes.lines))
	if !slices.Equal(got, want) {
		p.say("noted %d: %q, without the cache %d: %q", len(got), got, len(want), want)
	}
}
