package middleware

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// modify runs the handler for a request whose method may change something. If
// it does not fail, what is stored for the URL is not true any more (RFC 9111
// 4.4), and is gone before the client knows that it has succeeded.
func (x exchange) modify() {
	x.tell("method", "")
	// Before the handler: it may rewrite the request.
	method, asked := x.r.Method, *x.r
	target, located := targetOf(&asked)
	own := x.rules.Of(&asked)
	destination := asked.Header.Get("Destination")
	w := &watcher{ResponseWriter: x.w, seen: func(status int, h http.Header) {
		if !rfc9111.Invalidates(method, status) {
			return
		}
		x.cache.removeKey(own)
		for _, group := range rfc9111.Groups(h["Cache-Group-Invalidation"]) { // RFC 9875 3
			x.cache.store.PurgeTag(groupTag(&own, group), engine.Hard)
		}
		if !located {
			return
		}
		x.cache.removeURL(target, x.rules.Outbound)
		for _, raw := range rfc9111.InvalidationTargets(target, method, destination, h) {
			if u, err := url.Parse(raw); err == nil {
				x.cache.removeURL(u, x.rules.Outbound)
				x.cache.removeKey(x.keyOf(&asked, target, u))
			}
		}
	}}
	x.passTo(w)
	w.finish()
}

// targetOf returns the URL that a client asked for. It is not that of the
// request where middleware has cut something off it.
func targetOf(r *http.Request) (*url.URL, bool) {
	u := *r.URL
	if r.RequestURI != "" {
		parsed, err := url.ParseRequestURI(r.RequestURI)
		if err != nil {
			return nil, false
		}
		u = *parsed
	}
	u.Scheme, u.Host = "http", r.Host
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return &u, true
}

// keyOf returns the key of a request like r for another URL of its origin, as
// the cache would see it.
func (t *route) keyOf(r *http.Request, target, u *url.URL) key.Key {
	to := *r
	to.URL = &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	to.RequestURI = u.RequestURI()
	if cut, ok := strings.CutSuffix(target.Path, r.URL.Path); ok { // as http.StripPrefix does
		to.URL.Path = strings.TrimPrefix(u.Path, cut)
		to.URL.RawPath = strings.TrimPrefix(u.RawPath, cut)
	}
	return t.rules.Of(&to)
}

// removeKey removes what is stored under k, with all variants, and what shares a
// group with it (RFC 9875 2.2.1). Unlike purges by name, which make each later
// hit look at the marks once, it costs others nothing, however often it comes.
func (c *Cache) removeKey(k key.Key) {
	hash, name := k.Hash(c.seed), k.String()
	c.flights.DoomAll(hash, func(flight string) bool { return strings.HasPrefix(flight, name) })
	e := c.store.Peek(hash, lookup{key: k})
	c.store.Delete(hash, lookup{key: k})
	if e == nil {
		return
	}
	tags := e.Tags
	if e.Value.rule != nil {
		tags = append(tags[:len(tags):len(tags)], e.Value.rule.tags(c.variantAt(&k))...)
	}
	for _, tag := range tags {
		if isGroupTag(tag) {
			c.store.PurgeTag(tag, engine.Hard)
		}
	}
}

// removeURL removes what is stored for a URL, however it was spelled by those
// who asked for it, and whatever of it is part of the key by the rules of the
// route. Most keys are spelled as their name is, and are removed by key.
func (c *Cache) removeURL(u *url.URL, outbound bool) {
	for _, q := range c.mountedQueries() {
		name := key.NameOf(u).Under(&q)
		for _, k := range name.Ordinary() {
			k.Outbound = outbound
			for k.Class = range c.classes.count() {
				c.removeKey(k)
			}
		}
		if tag := name.Tag(c.seed); c.odd.has(tag) {
			c.store.PurgeTag(tag, engine.Hard)
		}
	}
}
