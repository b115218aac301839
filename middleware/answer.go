package middleware

import (
	"net/http"
	"slices"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// pass runs the handler for this request alone, untouched.
func (x *exchange) pass(fwd, why string) {
	if why != "" {
		x.cache.metrics.notReused(why)
	}
	x.tell(fwd, why)
	x.passWith(x.w, x.r)
}

// tell says in Cache-Status that the request went forward.
func (x *exchange) tell(fwd, why string) {
	if x.policy.HideStatus {
		return
	}
	status := "freshet; fwd=" + fwd
	if x.alone {
		status += "; collapsed=?0"
	}
	if why != "" {
		status += "; detail=" + why
	}
	h := x.w.Header()
	h["Cache-Status"] = append(h["Cache-Status"], status)
}

func (x *exchange) passWith(w http.ResponseWriter, r *http.Request) {
	// Deferred, since a handler may panic. The route's pattern may become
	// known only while the handler runs.
	defer func() {
		m := x.route(r)
		m.origin.Inc()
		x.count(m, outcomePass)
	}()
	x.next.ServeHTTP(w, r)
}

// write answers from the store.
func (x *exchange) write(e *engine.Entry[object], now engine.Instant) {
	s := e.Value.response
	h := x.w.Header()
	notModified := s.status == http.StatusOK && conditional(x.r.Header) && rfc9111.NotModified(x.r.Header, &s.validators, s.date)
	if notModified {
		setFields(h, s.fields[s.content:])
	} else {
		setFields(h, s.fields)
	}
	age, status := linesAt(e, now)
	h["Age"] = age
	if x.forwarded != "" {
		status = append(slices.Clone(s.upstream), x.forwarded)
	}
	if !x.policy.HideStatus {
		h["Cache-Status"] = status
	}
	if notModified {
		x.w.WriteHeader(http.StatusNotModified)
		return
	}
	if x.r.Method == http.MethodHead {
		x.w.WriteHeader(s.status)
		return
	}
	w := x.w
	if s.status == http.StatusOK && x.r.Header["Range"] != nil {
		if p := selectPart(w, x.r.Header, &s.validators, int64(len(s.body))); p != nil {
			_, _ = p.Write(s.body)
			return
		}
	}
	w.WriteHeader(s.status)
	if rep, ok := w.(*reply); ok {
		rep.writeShared(s.body)
		return
	}
	_, _ = w.Write(s.body) // the client may have left: nothing to be done
}

func conditional(h http.Header) bool {
	return h["If-None-Match"] != nil || h["If-Modified-Since"] != nil
}

// describesContent reports whether a field describes the content that a 304
// does not have, and is left out of it (RFC 9110 15.4.5).
func describesContent(name string) bool {
	switch name {
	case "Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range":
		return true
	}
	return false
}

// writeNotModified sends a 304 instead of the response whose fields are set.
func writeNotModified(w http.ResponseWriter) {
	h := w.Header()
	for name := range h {
		if describesContent(name) {
			delete(h, name)
		}
	}
	w.WriteHeader(http.StatusNotModified)
}

// fail answers with an error of the cache's own.
func (x *exchange) fail(m *routeMetrics, status int, why string) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	if !x.policy.HideStatus {
		h["Cache-Status"] = append(h["Cache-Status"], "freshet; fwd="+x.reason+"; detail="+why)
	}
	http.Error(x.w, http.StatusText(status), status)
	how := outcomeError
	if status == http.StatusServiceUnavailable {
		how = outcomeRefused
	}
	x.count(m, how)
}
