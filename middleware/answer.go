package middleware

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// write answers from the store.
func (x *exchange) write(e *entry, now engine.Instant) {
	s := e.Value.response
	h := x.w.Header()
	status := s.Status
	if status == http.StatusOK && conditional(x.r.Header) && rfc9111.NotModified(x.r.Header, &s.Validators, s.Date) {
		status = http.StatusNotModified
	}
	cuts := x.r.Header["Range"] != nil && x.cuts(s.Fields())
	age, ttl := seconds(e, now)
	own := ""
	switch {
	case x.policy.HideStatus:
	case x.forwarded != "":
		own = x.forwarded
	default:
		own = stored.Hits.At(ttl)
	}
	s.Header(h, status != http.StatusNotModified, stored.Ages.At(age), own)
	switch {
	case status == http.StatusNotModified || x.r.Method == http.MethodHead:
		x.w.WriteHeader(status)
	case status == http.StatusOK && cuts:
		if p := selectPart(x.w, x.r.Header, &s.Validators, int64(len(s.Body))); p != nil {
			_, _ = p.Write(s.Body)
			return
		}
		fallthrough
	default:
		x.w.WriteHeader(status)
		if rep, ok := x.w.(*reply); ok {
			rep.writeShared(s.Body)
			return
		}
		if pins(s.Body, x.r) {
			x.cache.pinned.send(x.w, e)
			return
		}
		_, _ = x.w.Write(s.Body) // the client may have left: nothing to be done
	}
}

// seconds returns the age of a response at now, and for how long it is still
// fresh.
func seconds(e *entry, now engine.Instant) (age, ttl int64) {
	initial, since := e.Value.response.InitialAge, e.Times.Stored
	age = int64((now.Sub(since) + initial) / time.Second)
	return age, int64((e.FreshUntil().Sub(since)+initial)/time.Second) - age
}

// countHit is count for an answer from the store. One with a small body is
// booked as having taken no time: that is right to a microsecond, and reading
// the clock again would cost a tenth of it.
func (x *exchange) countHit(o *object, how outcome) {
	if len(o.response.Body) > fill.SmallBody {
		x.count(o.metrics, how)
		return
	}
	o.metrics.requests[how].Instant(x.hash)
}

// stale answers with a response that may still be used although it cannot be
// sent as it is, if there is one now: what was found before may have been
// removed or replaced since. The request went forward all the same, with this
// status if there was a response.
func (x *exchange) stale(m *routeMetrics, status int, why string) bool {
	e := x.fallback()
	if e == nil {
		return false
	}
	now := x.cache.store.Now()
	x.forwarded = "freshet; fwd=" + x.reason
	if status != 0 {
		x.forwarded += "; fwd-status=" + strconv.Itoa(status)
	}
	_, ttl := seconds(e, now)
	x.forwarded += "; ttl=" + strconv.FormatInt(ttl, 10) + "; detail=" + why
	x.write(e, now)
	x.count(m, outcomeStale)
	return true
}

// fallback returns what can be used in place of an answer, or nil.
func (x *exchange) fallback() *entry {
	if x.old == nil || x.strict {
		return nil
	}
	e, _, _ := x.cache.find(x.hash, &x.key, x.r.Header, x.began)
	if e == nil || e.Value.response == nil || x.excludes(&e.Value.sharing, x.r) != "" {
		return nil
	}
	now := x.cache.store.Now()
	if x.stateOf(e, now) != engine.Fresh && !e.Usable(now) {
		return nil
	}
	return e
}

// writeNotModified sends a 304 instead of the response whose fields are set.
func writeNotModified(w http.ResponseWriter) {
	h := w.Header()
	for name := range h {
		if stored.DescribesContent(name) {
			delete(h, name)
		}
	}
	w.WriteHeader(http.StatusNotModified)
}

// cuts reports whether a range of the response is cut out here. Where the
// response has no coding, and the client accepts one, or middleware outside has
// said that the answer varies by that, middleware outside may encode what it is
// given: then what was cut would be no part of anything. It is called before the
// fields are set.
func (x *exchange) cuts(fields []stored.Field) bool {
	if ofServer(x.w) {
		return true // nothing is around it
	}
	vary, _ := rfc9111.VaryFields(x.w.Header())
	if !rfc9111.AcceptsCoding(x.r.Header) && !slices.Contains(vary, "Accept-Encoding") {
		return true
	}
	return slices.ContainsFunc(fields, func(f stored.Field) bool { return f.Name == "Content-Encoding" && f.Mode != stored.Remove })
}

// ofServer reports whether w is net/http's own: whoever changes what is written
// has to wrap it.
func ofServer(w http.ResponseWriter) bool {
	t := reflect.TypeOf(w)
	if t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "net/http" {
		return false
	}
	name := t.Elem().Name()
	return name == "response" || name == "http2responseWriter"
}

// selectPart sends, instead of the response whose fields are set, the header
// of the range that was asked for, if it is one that a body of size bytes has.
// It is nil if the whole is to be sent.
func selectPart(w http.ResponseWriter, request http.Header, v *rfc9111.Validators, size int64) *fill.Part {
	if !rfc9111.IfRange(request, v) {
		return nil
	}
	start, length, selected := rfc9111.SelectRange(request["Range"], size)
	h := w.Header()
	switch selected {
	case rfc9111.SelectPart:
		h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, size)}
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
		w.WriteHeader(http.StatusPartialContent)
	case rfc9111.SelectNone:
		for name := range h {
			if stored.DescribesContent(name) {
				delete(h, name)
			}
		}
		h["Content-Range"] = []string{fmt.Sprintf("bytes */%d", size)}
		h["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	default:
		return nil
	}
	return &fill.Part{W: w, Skip: start, Left: length}
}
