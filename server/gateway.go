package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/cachefetch"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// gateway routes requests through the cache to upstreams. The router is
// replaced as a whole: a request finishes on the one it came in on.
type gateway struct {
	cache *cachemw.Cache
	log   *slog.Logger
	bufs  bufferPool

	current atomic.Pointer[routing]

	mu sync.Mutex // guards replacing current
}

// routing is one generation of routes. It is never changed once in use.
type routing struct {
	mux       http.Handler
	upstreams map[string]*forwarder
	limiters  map[cachemw.LimitOptions]*cachemw.Limiter
}

// ServeHTTP serves the routes of the configuration last applied.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.current.Load().mux.ServeHTTP(w, r)
}

// apply puts the routes of c in place, or returns an error and changes
// nothing. Upstreams whose settings are the same keep their connections. The
// cache stays, with all it holds.
func (g *gateway) apply(c Config) error {
	c = c.withDefaults()
	if err := c.validate(g.cache.CheckPolicy); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.current.Load()
	next := &routing{upstreams: make(map[string]*forwarder), limiters: make(map[cachemw.LimitOptions]*cachemw.Limiter)}
	for _, uc := range c.Upstreams {
		if old != nil && old.upstreams[uc.Name] != nil && old.upstreams[uc.Name].config == uc {
			next.upstreams[uc.Name] = old.upstreams[uc.Name]
			continue
		}
		u, err := newForwarder(uc, &g.bufs, g.log)
		if err != nil {
			return fmt.Errorf("server: upstream %s: %w", uc.Name, err)
		}
		next.upstreams[uc.Name] = u
	}
	mux := chi.NewRouter()
	mux.Use(admit)
	mux.NotFound(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound) })
	for _, r := range c.Routes {
		h := stripPrefix(r.StripPrefix, next.upstreams[r.Upstream])
		if r.limited() {
			limiter, err := next.limiter(r.Limit, old)
			if err != nil {
				return fmt.Errorf("server: route %s: %w", r.Pattern, err)
			}
			h = limiter.Handler(h) // inside of the cache: only exchanges count
		}
		mux.With(g.cache.Handler(r.Policy)).Handle(r.Pattern, h)
	}
	next.mux = mux
	g.current.Store(next)
	if old != nil {
		for name, u := range old.upstreams {
			if next.upstreams[name] != u {
				u.retire()
			}
		}
	}
	return nil
}

// limiter returns the limiter with these options, that of the generation
// before if it has one: what is under way there counts on.
func (t *routing) limiter(o cachemw.LimitOptions, old *routing) (*cachemw.Limiter, error) {
	l := t.limiters[o]
	if l == nil && old != nil {
		l = old.limiters[o]
	}
	if l == nil {
		made, err := cachemw.NewLimiter(o)
		if err != nil {
			return nil, err
		}
		l = made
	}
	t.limiters[o] = l
	return l, nil
}

// sources returns what has metrics beside the cache: the upstreams and the
// limits of the configuration last applied.
func (g *gateway) sources() []cachefetch.MetricsSource {
	var all []cachefetch.MetricsSource
	now := g.current.Load()
	for _, name := range slices.Sorted(maps.Keys(now.upstreams)) {
		all = append(all, now.upstreams[name].transport)
	}
	byName := func(a, b cachemw.LimitOptions) int { return strings.Compare(a.Name, b.Name) }
	for _, o := range slices.SortedFunc(maps.Keys(now.limiters), byName) {
		all = append(all, now.limiters[o])
	}
	return all
}

// close ends idle connections, and those in use when their exchanges end.
func (g *gateway) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.current.Load().upstreams {
		u.retire()
	}
}

// stripPrefix hands h the request without a prefix of its path. The prefix
// holds nothing that could be encoded, so it stands in both forms of the path
// if it stands in the one that was routed by.
func stripPrefix(prefix string, h http.Handler) http.Handler {
	if prefix == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Path = withSlash(strings.TrimPrefix(u.Path, prefix))
		if u.RawPath != "" {
			u.RawPath = withSlash(strings.TrimPrefix(u.RawPath, prefix))
		}
		out := *r
		out.URL = &u
		h.ServeHTTP(w, &out)
	})
}

func withSlash(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}
