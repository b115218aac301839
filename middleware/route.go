package middleware

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// A route is a policy where it is mounted: what all requests and runs of it
// share.
type route struct {
	cache   *Cache
	policy  Policy // with defaults
	rules   key.Rules
	next    http.Handler
	metrics *routeMetrics // nil if the policy has no name
	share   *share        // nil if nothing but the cache bounds its bytes

	lifetimes   uint64   // tells what the policy gives apart from what another one does
	directed    bool     // the Cache-Control of requests counts
	credentials []string // fields that say who a client is, and are not in the key
	byCookie    bool     // the key has all of Cookie
	byToken     bool     // the key has all of Authorization

	waiting atomic.Int64 // requests that wait for the header of another one's run
	orphans atomic.Int64 // runs whose clients have all left
	turns   turns        // of those who run for themselves, since what they waited for was not for them
}

// atOnce is how many requests for a URL go on at once when a run that they
// waited for turns out to be for nobody else.
const atOnce = 64

// turns are the places of those, by the hash of their key: whom one slow URL
// keeps waiting, another one does not.
type turns struct {
	mu sync.Mutex
	by map[uint64]*turn
}

type turn struct {
	places  chan struct{}
	waiters int
}

// of returns the places of a hash, which are given back by done.
func (t *turns) of(hash uint64) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[uint64]*turn)
	}
	of := t.by[hash]
	if of == nil {
		of = &turn{places: make(chan struct{}, atOnce)}
		t.by[hash] = of
	}
	of.waiters++
	return of.places
}

func (t *turns) done(hash uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.by[hash]; of.waiters > 1 {
		of.waiters--
		return
	}
	delete(t.by, hash)
}

// share bounds the bytes of the responses of a route, or of all of one name.
type share = engine.Share[object]

// shares are those of a cache, by the names of policies. Responses outlive the
// mounting of their route, as when a configuration is loaded again, and count in
// the share of the next one.
type shares struct {
	mu sync.Mutex
	by map[string]*share
}

// of returns the share of a name, which is limit bytes from now on. Each route
// without a name has one to itself.
func (s *shares) of(name string, limit int64) *share {
	if name == "" {
		return engine.NewShare[object](limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.by[name]; known != nil {
		known.SetLimit(limit)
		return known
	}
	if s.by == nil {
		s.by = make(map[string]*share)
	}
	made := engine.NewShare[object](limit)
	s.by[name] = made
	return made
}

// newRoute returns the route of a policy with its defaults.
func newRoute(c *Cache, p Policy, directives RequestDirectives, outbound bool, next http.Handler) *route {
	t := &route{
		cache:     c,
		policy:    p,
		lifetimes: p.lifetimes(c.seed),
		rules:     key.Rules{Query: p.Query, Headers: p.Headers, Outbound: outbound, Class: c.classes.of(p.sharing())},
		next:      next,
		directed:  cmp.Or(p.RequestDirectives, directives) == HonourDirectives,
		byCookie:  slices.Contains(p.Headers, "Cookie"),
		byToken:   slices.Contains(p.Headers, "Authorization"),
	}
	for _, name := range p.Credentials {
		if !slices.Contains(p.Headers, name) {
			t.credentials = append(t.credentials, name)
		}
	}
	if p.Name != "" {
		t.metrics = c.metrics.route(p.Name)
	}
	if p.MaxBytes > 0 {
		t.share = c.shares.of(p.Name, p.MaxBytes)
	}
	return t
}

// of returns the metrics of the route of r: the policy's name, or the router's
// pattern.
func (t *route) of(r *http.Request) *routeMetrics {
	if t.metrics != nil {
		return t.metrics
	}
	label := r.Pattern
	if rc := chi.RouteContext(r.Context()); rc != nil {
		if p := rc.RoutePattern(); p != "" {
			label = p
		}
	}
	if label == "" {
		label = "other"
	}
	return t.cache.metrics.route(label)
}

// identified reports whether a request says who its client is, by something
// that is not in its key. Of what the policy lists, all of which no response
// speaks, only a policy's lifetime depends.
func (t *route) identified(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return true
	}
	for _, name := range t.credentials {
		if r.Header[name] != nil {
			return true
		}
	}
	return false
}

// plain reports whether a request has nothing, beside what its key says, by
// which handlers are known to tell clients apart.
func (t *route) plain(r *http.Request) bool {
	h := r.Header
	return (h["Authorization"] == nil || t.byToken) && (h["Cookie"] == nil || t.byCookie) && !t.identified(r) &&
		h["Origin"] == nil && len(unkeyed(h)) == 0
}

// stateOf returns the state of e for requests of this route. Another policy may
// have made e fresh, as before a reload: then this one says for how long.
func (t *route) stateOf(e *entry, now engine.Instant) engine.State {
	state := e.State(now)
	o := &e.Value
	if !o.byPolicy || o.lifetimes == t.lifetimes || o.response == nil {
		return state
	}
	ttl, _ := t.policy.gives(o.response.Status)
	switch {
	case state == engine.Fresh && now.Sub(e.Now().Stored) < ttl:
		return engine.Fresh
	case e.Usable(now):
		return engine.StaleIfError
	}
	return engine.Gone
}

// excludes returns why a request is not to be answered although nothing in its
// key says so, or "".
func (t *route) excludes(s *sharing, r *http.Request) string {
	switch {
	case s.anonymous && r.Header["Authorization"] != nil:
		return reasonAuthorization
	case s.byPolicy && r.Header["Cookie"] != nil && !t.byCookie:
		return reasonCookie
	case s.byPolicy && t.identified(r):
		return reasonCredentials
	}
	return ""
}

// rewriters are request fields that change what a handler takes for the URL,
// the client's scheme or the method, and that nobody names in Vary.
var rewriters = []string{
	"Forwarded", "Front-End-Https", "X-Forwarded", "X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix",
	"X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Uri",
	"X-Host", "X-Http-Host-Override", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Host",
	"X-Original-Uri", "X-Original-Url", "X-Proto", "X-Rewrite-Url", "X-Scheme", "X-Script-Name", "X-Url-Scheme",
}

// unkeyed returns the rewriters in a request. A response that was made with
// them is stored as if it varied by them: a client that sends X-Forwarded-Host
// gets what it asked for, and nobody else does.
func unkeyed(h http.Header) []string {
	var found []string
	for _, name := range rewriters {
		if h[name] != nil {
			found = append(found, name)
		}
	}
	return found
}
