package middleware

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A searchID is the number of a No-Vary-Search rule in its cache, from 1.
type searchID uint8

const (
	noSearch searchID = 0

	// ofPath marks the key of a path's hint. No rule has this number.
	ofPath searchID = 255
)

// maxSearches bounds the different rules a cache knows, since a purge goes
// through all of them; origins have a few. maxSearchBytes bounds each field.
const (
	maxSearches    = 32
	maxSearchBytes = 1 << 10
)

// searches are the No-Vary-Search rules that responses came with. A response
// with one is stored under its rule and the normal form of its query: what is
// there was said, by a response with this very rule, to be for all whose query
// has this form. So which rule a path had last is only a hint where to look.
type searches struct {
	rules atomic.Pointer[[]rfc9111.Search] // replaced, not changed; the first is number 1

	// mu is held to read while a run stores what it could not be named by:
	// a removal by key before has not found it, and one after finds the
	// entry. Nothing else is locked while it is held to write.
	mu      sync.RWMutex
	removed uint64 // guarded by mu; generation of the last removal by URL
}

func (s *searches) all() []rfc9111.Search {
	if p := s.rules.Load(); p != nil {
		return *p
	}
	return nil
}

// number returns the number of the rule in the lines of a No-Vary-Search
// field, which it learns, or noSearch.
func (s *searches) number(lines []string) searchID {
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	if size > maxSearchBytes {
		return noSearch
	}
	rule, ok := rfc9111.ParseSearch(lines)
	if !ok {
		return noSearch
	}
	if i := slices.IndexFunc(s.all(), rule.Equal); i >= 0 {
		return searchID(i + 1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.all()
	i := slices.IndexFunc(known, rule.Equal)
	if i < 0 {
		if len(known) >= maxSearches {
			return noSearch
		}
		i = len(known)
		learned := append(slices.Clone(known), rule)
		s.rules.Store(&learned)
	}
	return searchID(i + 1)
}

// removing is called before what is stored for some URL is removed. Runs begun
// before it are not stored under a form of their query that they did not have
// as a name, by which the removal would have found them.
func (c *Cache) removing() {
	c.searches.mu.Lock()
	c.searches.removed = c.store.Generation()
	c.searches.mu.Unlock()
}

// normal returns the key under which responses to k with a rule are stored.
func (c *Cache) normal(k key, n searchID) key {
	k.query = c.searches.all()[n-1].Normal(k.query)
	k.bare, k.search = false, n
	return k
}

// equivalents returns k and the keys of all responses to equivalent queries.
func (c *Cache) equivalents(k key) []key {
	keys := []key{k}
	for i := range c.searches.all() {
		keys = append(keys, c.normal(k, searchID(i+1)))
	}
	return keys
}

// own returns the key of x's request itself.
func (x *exchange) own() key {
	if x.asked != nil {
		return *x.asked
	}
	return x.q.key
}

// under makes x look for another key than that of its request.
func (x *exchange) under(k key) {
	own := x.own()
	x.asked = &own
	x.q = lookup{key: k}
	x.hash = k.hash(x.cache.seed)
}

// search goes on, where nothing is stored for the request's own query, with
// the normal form that it has by the rule last seen for its path.
func (x *exchange) search() *engine.Entry[object] {
	c := x.cache
	if len(c.searches.all()) == 0 || !rfc9111.Unambiguous(x.q.key.query) {
		return nil
	}
	p := x.q.key.ofPath()
	hint := c.store.Get(p.hash(c.seed), lookup{key: p})
	if hint == nil {
		return nil
	}
	x.under(c.normal(x.q.key, hint.Value.search))
	return c.store.Get(x.hash, x.q)
}

// searchOf returns the number of the rule by which a response to x is stored.
// One to a query that parsers do not agree on is for that query alone, lest a
// parameter hides in another one.
func (x *exchange) searchOf(lines []string) searchID {
	if len(lines) == 0 || !rfc9111.Unambiguous(x.own().query) {
		return noSearch
	}
	return x.cache.searches.number(lines)
}

// home returns the key under which a response to x is stored.
func (x *exchange) home(n searchID) key {
	if n == noSearch {
		return x.own()
	}
	return x.cache.normal(x.own(), n)
}

// hint notes which rule the path of k has, for as long as times says at least.
func (x *exchange) hint(fl *engine.Flight[*fill], n searchID, times engine.Times) {
	c := x.cache
	own := x.own()
	k := own.ofPath()
	hash := k.hash(c.seed)
	if e := c.store.Get(hash, lookup{key: k}); e != nil && e.Value.search == n && e.Times.Horizon() >= times.Horizon() {
		return
	}
	e := &engine.Entry[object]{
		Value: object{key: k.clone(), search: n, metrics: x.route(fl.State.req)},
		Times: engine.NewTimes(times.Stored, times.Horizon().Sub(times.Stored), 0, 0),
		Gen:   c.store.Generation(),
	}
	c.store.Put(hash, e, c.cost(e), 0)
}

// searchTag is urlTag for what is stored under the normal form of a query. No
// URL has the byte before the number.
func searchTag(base, normal string, n searchID) string {
	return urlTag(base, "") + "\x01" + strconv.Itoa(int(n)) + "?" + normal
}

// moved returns x for a response that is stored under another key than that
// of its run. What it takes the place of is gone.
func (x *exchange) moved(fl *engine.Flight[*fill], home key) *exchange {
	c := x.cache
	m := *x
	m.under(home)
	own := m.own()
	if home != own {
		hash := own.hash(c.seed)
		if e := c.store.Get(hash, lookup{key: own}); e != nil && e.Gen <= fl.Gen {
			c.store.Delete(hash, lookup{key: own})
		}
	}
	return &m
}
