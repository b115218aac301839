package middleware

import (
	"net/http"
	"slices"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// head runs the handler for a HEAD request that nothing fresh is stored for.
// Its answer has no body to store, and to ask for one would cost the origin
// more than the client wants. What it says of the response to GET, a stored
// one takes over (RFC 9111 4.3.5).
func (x exchange) head() {
	x.tell(x.reason, reasonMethod)
	if x.old == nil {
		x.passWith(x.w, x.r)
		return
	}
	gen, outer := x.cache.store.Generation(), outsideOf(x.w.Header())
	outer.enter(x.w.Header())
	w := &watcher{ResponseWriter: x.w, seen: func(status int, h http.Header) {
		if status == http.StatusOK {
			x.freshenByHead(gen, x.arrived(h, outer, x.r.Header))
		}
	}}
	x.passWith(w, x.r)
	w.finish()
}

// freshenByHead makes the old response as fresh as a is, or removes it if it is
// another one. What a request was told because of something that is not in its
// key says nothing of what others are told.
func (x *exchange) freshenByHead(gen uint64, a *arrival) {
	if !x.plain(a.asked) {
		return
	}
	c, o := x.cache, &x.old.Value
	stored := headerOf(o.response.fields)
	if !rfc9111.HeadFreshens(stored, headerOf(a.fields), len(o.response.body)) {
		c.store.Delete(x.hash, x.q)
		return
	}
	before, _ := rfc9111.VaryFields(stored)
	v := x.merge(a)
	after, _ := rfc9111.VaryFields(v.header)
	if !v.shared || v.search != o.key.search || !slices.Equal(before, after) {
		c.store.Delete(x.hash, x.q)
		return
	}
	e := v.record(v.body)
	e.Value.key, e.Value.variant, e.Value.sharing, e.Value.metrics = o.key, o.variant, v.sharing, o.metrics
	e.Times, e.Tags, e.Gen = v.times(a.now), o.key.tagged(v.tags), gen
	c.store.Replace(x.old, e, c.cost(e))
}
