package middleware

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// modify runs the handler for a request whose method may change something. If
// it does not fail, what is stored for the URL is not true any more (RFC 9111
// 4.4), and is gone before the client knows that it has succeeded.
func (x exchange) modify() {
	x.tell("method", "")
	outer := outsideOf(x.w.Header())
	outer.enter(x.w.Header())
	w := &watcher{ResponseWriter: x.w}
	w.seen = func(status int, h http.Header) {
		if !rfc9111.Invalidates(x.r.Method, status) {
			return
		}
		x.invalidate(h)
		if x.r.Method == http.MethodPost && h["Content-Location"] != nil {
			w.kept = x.capture(status, x.arrived(h, outer, x.r.Header))
		}
	}
	complete := false
	defer func() {
		if w.kept == nil {
			return
		}
		for name := range w.Header() {
			complete = complete && !strings.HasPrefix(name, http.TrailerPrefix)
		}
		w.kept.store(complete)
	}()
	x.passWith(w, x.r)
	w.finish()
	complete = true
}

// invalidate removes what is stored for the URL of the request, and for those
// that its response names, if they are of the same origin.
func (x *exchange) invalidate(response http.Header) {
	x.invalidateKey(x.key(x.r))
	k := x.key(x.r)
	for _, group := range rfc9111.Groups(response["Cache-Group-Invalidation"]) { // RFC 9875 3
		x.cache.store.PurgeTag(k.groupTag(group), engine.Hard)
	}
	if response["Location"] == nil && response["Content-Location"] == nil {
		return
	}
	target, ok := x.target()
	if !ok {
		return
	}
	for _, raw := range rfc9111.InvalidationTargets(target, response) {
		if u, err := url.Parse(raw); err == nil {
			x.invalidateKey(x.keyOf(target, u))
		}
	}
}

// invalidateKey removes what is stored under k and for equivalent queries,
// whatever the header fields in it, and all that shares a group with it (RFC 9875 2.2.1).
func (x *exchange) invalidateKey(k key) {
	c := x.cache
	c.removing()
	for _, k := range c.equivalents(k) {
		if len(x.policy.Headers) > 0 {
			for _, tag := range k.urlTags() {
				c.store.PurgeTag(tag, engine.Hard)
			}
		}
		for _, tag := range c.remove(k) {
			if isGroupTag(tag) {
				c.store.PurgeTag(tag, engine.Hard)
			}
		}
	}
}

// target returns the URL that the client asked for. It is not that of the
// request where middleware has cut something off it.
func (x *exchange) target() (*url.URL, bool) {
	u := *x.r.URL
	if x.r.RequestURI != "" {
		parsed, err := url.ParseRequestURI(x.r.RequestURI)
		if err != nil {
			return nil, false
		}
		u = *parsed
	}
	u.Scheme, u.Host = "http", x.r.Host
	if x.r.TLS != nil {
		u.Scheme = "https"
	}
	return &u, true
}

// keyOf returns the key of a request like this one for another URL of its
// origin, as the cache would see it.
func (x *exchange) keyOf(target, u *url.URL) key {
	r := *x.r
	r.URL = &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	r.RequestURI = u.RequestURI()
	if cut, ok := strings.CutSuffix(target.Path, x.r.URL.Path); ok { // as http.StripPrefix does
		r.URL.Path = strings.TrimPrefix(u.Path, cut)
		r.URL.RawPath = strings.TrimPrefix(u.RawPath, cut)
	}
	return x.key(&r)
}

// remove removes what is stored under k itself, and returns its tags. Unlike
// purges by name, which make each later hit look at the marks once, it costs
// others nothing, however often it comes.
func (c *Cache) remove(k key) (tags []string) {
	hash := k.hash(c.seed)
	flight := k.string()
	c.flights.Doom(flightHash(c.seed, flight), flight)
	q := lookup{key: k}
	e := c.store.Get(hash, q)
	c.store.Delete(hash, q)
	if e == nil {
		return nil
	}
	if e.Value.variants == nil {
		return e.Tags
	}
	// Without the entry above none of these can be found by a new request;
	// what fills for them is still to be kept from bringing it back.
	for _, v := range e.Value.variants.all() {
		f := variantFlight(flight, v)
		c.flights.Doom(flightHash(c.seed, f), f)
		if e := c.store.Get(v.hash, lookup{variant: v}); e != nil {
			tags = append(tags, e.Tags...)
		}
		c.store.Delete(v.hash, lookup{variant: v})
	}
	return tags
}
