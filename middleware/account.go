package middleware

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// count books one answered request.
func (x *exchange) count(m *routeMetrics, o outcome) {
	if m == nil {
		m = x.route(x.r)
	}
	m.requests[o].Update(x.cache.store.Now().Sub(x.began))
}

// smallBody fits the buffer that net/http writes through (4 KiB, header
// included), so that a hit with such a body waits for nobody.
const smallBody = 2 << 10

// countHit is count for an answer from the store. One with a small body is
// booked as having taken no time: that is right to a microsecond, and reading
// the clock again would cost a tenth of it.
func (x *exchange) countHit(o *object, how outcome) {
	if len(o.response.body) > smallBody {
		x.count(o.metrics, how)
		return
	}
	o.metrics.requests[how].Instant(x.hash)
}

// routeOf returns the metrics of the route of f. Before the response header a
// router behind the cache may still be writing to the request.
func (x *exchange) routeOf(f *fill) *routeMetrics {
	f.mu.Lock()
	routed := f.committed || f.done
	f.mu.Unlock()
	if routed {
		return x.route(f.req)
	}
	return x.route(x.r)
}

// route returns the metrics of the route of r: the policy's name, or the
// router's pattern.
func (h *handler) route(r *http.Request) *routeMetrics {
	if h.metrics != nil {
		return h.metrics
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
	return h.cache.metrics.route(label)
}
