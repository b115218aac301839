package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/key"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A verdict says what a response is to others, as known at its header.
type verdict struct {
	draft     stored.Draft
	forwarded int            // the handler's status if that is another one: of a 304 to the cache
	personal  []stored.Field // for the client that asked, and nobody else
	header    http.Header    // of the fields for everyone

	sharing
	vary    []string
	tags    []string      // without those of the URL
	before  []string      // tags of what a 304 was about
	age     time.Duration // initial age
	times   engine.Times  // counted from the header
	failure failure       // in place of a response
	around  *outside      // the response header before the handler got it
}

// A judge decides what responses to the requests of a route are to others. It
// is a value: what it is asked about, it is given.
type judge struct {
	*route
	asked *http.Request // as the handler got it, but with all of its fields
	began engine.Instant
}

// An arrival is a response header as it came from the handler.
type arrival struct {
	status int
	fields []stored.Field // what the handler set, canonical, with a Date
	left   http.Header    // what was set outside of the cache, and left as it was
	date   time.Time
	now    engine.Instant
	wall   time.Time
}

// arrived takes down a response header. Before the handler got it, it had the
// fields of o.
func (j *judge) arrived(status int, h http.Header, o *outside) *arrival {
	a := &arrival{status: status, now: j.cache.store.Now(), wall: time.Now()}
	a.fields, a.left = o.divide(rfc9111.Canonicalise(h))
	var ok bool
	if a.date, ok = rfc9111.DateField(stored.HeaderOf(a.fields), "Date", a.wall); !ok { // a handler that sets none, as is normal in chi
		a.date = a.wall
		a.fields = slices.DeleteFunc(a.fields, func(f stored.Field) bool { return f.Name == "Date" })
		a.fields = append(a.fields, stored.Field{Name: "Date", Values: []string{a.wall.UTC().Format(http.TimeFormat)}})
	}
	return a
}

// length is the Content-Length that the handler declared, or -1.
func (a *arrival) length() int64 { return lengthOf(stored.HeaderOf(a.fields)) }

func lengthOf(h http.Header) int64 {
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		return n
	}
	return -1
}

// judge says whose a response is, for how long, and with which fields. All that
// the client is sent counts: what the handler has set, and what it has left of
// the fields set outside.
func (j *judge) judge(a *arrival) (fill.Head, *verdict) {
	header := around(a.fields, a.left)
	cc, targeted := rfc9111.ResponseControl(header, j.policy.TargetedFields)
	if targeted {
		delete(header, "Expires") // RFC 9213 2.2
	}
	head := fill.Head{Status: a.status, Length: a.length(), Kind: fill.Shared}
	v := &verdict{draft: stored.Draft{Status: a.status}}
	ageValue, _ := rfc9111.ParseAge(header["Age"])
	v.age = rfc9111.InitialAge(ageValue, a.date, a.wall.Add(-a.now.Sub(j.began)), a.wall)
	fresh := rfc9111.Lifetime(header, cc, a.date, a.wall)
	lifetime := fresh.Lifetime - v.age
	if !fresh.Explicit {
		lifetime = min(j.assumed(a, header, cc, v.age), rfc9111.MaxDelta) // so that sums do not overflow
	}
	windows := rfc9111.StaleWindows{WhileRevalidate: j.policy.StaleWhileRevalidate, IfError: j.policy.StaleIfError}
	v.sharing = sharing{
		// A response that is public, and validated on each use, needs no lifetime.
		byPolicy:  !fresh.Explicit && !(cc.NoCache && cc.Public),
		lifetimes: j.lifetimes,
		anonymous: !rfc9111.AllowsAuthorization(cc) && !j.byToken,
		noStale:   rfc9111.StaleForbidden(cc),
	}
	excluded := ""
	if !fresh.Explicit && lifetime > 0 {
		excluded = j.excluded(header)
	}
	reason := rfc9111.Store(rfc9111.StoreInput{
		Method:    http.MethodGet,
		Request:   j.asked.Header,
		Status:    a.status,
		Header:    header,
		Control:   cc,
		Freshness: fresh,
		Age:       v.age,
		HasTTL:    lifetime > 0 && excluded == "",
		Stale:     windows,

		AllowSetCookie:     j.storesCookies(),
		AllowAuthorization: j.byToken,
	})
	vary, _ := rfc9111.VaryFields(header)
	v.vary = key.Union(key.Union(vary, implied(header)), unkeyed(j.asked.Header))
	switch {
	case reason == rfc9111.ReasonNoFreshness && excluded != "":
		head.Reason = excluded
	case reason != rfc9111.Storable:
		head.Reason = string(reason)
	default:
		head.Reason = against(a, header, vary)
	}
	if head.Reason != "" && !j.forWaiting(a, header, cc, fresh, reason) {
		head.Kind = fill.Private
	}
	j.draw(v, a, header, cc)
	v.time(a.now, cc, lifetime, windows)
	return head, v
}

// excluded returns why a lifetime that only the policy gives does not apply, or
// "".
func (j *judge) excluded(header http.Header) string {
	if header["Set-Cookie"] != nil && !j.storesCookies() {
		// An origin that keeps the cookie to itself, by no-cache="Set-Cookie",
		// has not said that the page is for everyone.
		return string(rfc9111.ReasonSetCookie)
	}
	return j.excludes(&sharing{byPolicy: true}, j.asked)
}

// against returns why a response is not stored though RFC 9111 permits it, or "".
func against(a *arrival, header http.Header, vary []string) string {
	switch {
	case a.left["Set-Cookie"] != nil: // whatever the policy says of the handler's
		return string(rfc9111.ReasonSetCookie)
	case slices.Contains(vary, "X-Forwarded-For"):
		// A proxy behind the cache makes it anew of the client's address, which
		// no key has: what the request says of it is not what the origin saw.
		return string(rfc9111.ReasonVaryStar)
	case eventStream(header.Get("Content-Type")):
		return reasonEventStream
	}
	return ""
}

func (j *judge) storesCookies() bool {
	return j.policy.SetCookie == StripSetCookie || j.policy.SetCookie == StoreSetCookie
}

// forWaiting reports whether a response that is not stored is all the same for
// those who have waited for it and meet the same conditions: they would get it
// if they asked now, or one like it.
func (j *judge) forWaiting(a *arrival, header http.Header, cc rfc9111.CacheControl, fresh rfc9111.Freshness, reason rfc9111.Reason) bool {
	if cc.NoStore || cc.Private || len(cc.PrivateFields) > 0 || header["Set-Cookie"] != nil || header["Set-Cookie2"] != nil {
		return false
	}
	if vary, star := rfc9111.VaryFields(header); star || header["Trailer"] != nil || against(a, header, vary) != "" {
		return false
	}
	switch {
	case reason == rfc9111.ReasonExpired:
		// By the time that the handler took, and not by the response's own word.
		age, _ := rfc9111.ParseAge(header["Age"])
		return fresh.Lifetime > age
	case a.status >= 500:
		return j.plain(j.asked)
	}
	return false
}

// draw sorts the fields into those of everyone and those of the client that
// asked, and leaves out those of a connection. Age is made anew for each
// answer, and Cache-Status is added to.
func (j *judge) draw(v *verdict, a *arrival, header http.Header, cc rfc9111.CacheControl) {
	personal := rfc9111.StripFields(cc)
	if j.policy.SetCookie == StripSetCookie {
		personal = append(personal, "Set-Cookie", "Set-Cookie2")
	}
	v.header = stored.HeaderOf(a.fields)
	v.draft.Upstream = v.header["Cache-Status"]
	v.draft.Unsized = a.length() < 0
	v.draft.Untyped = !j.rules.Outbound && v.header["Content-Type"] == nil && header.Get("Content-Encoding") == ""
	v.draft.InitialAge = v.age
	rfc9111.StripConnection(v.header)
	delete(v.header, "Age")
	delete(v.header, "Cache-Status")
	v.draft.Fields = make([]stored.Field, 0, len(a.fields))
	for _, f := range a.fields {
		switch {
		case f.Mode != stored.Remove && v.header[f.Name] == nil:
		case slices.Contains(personal, f.Name):
			v.personal = append(v.personal, f)
			delete(v.header, f.Name)
		default:
			v.draft.Fields = append(v.draft.Fields, f)
		}
	}
	v.tags = rfc9111.SurrogateKeys(header)
}

// time sets for how long the response may be used, counted from when its header
// came, however long its body takes.
func (v *verdict) time(now engine.Instant, cc rfc9111.CacheControl, lifetime time.Duration, windows rfc9111.StaleWindows) {
	if cc.NoCache {
		lifetime = 0 // 5.2.2.4: validated on every use
	}
	windows = rfc9111.Stale(cc, windows)
	if over := -lifetime; over > 0 { // stale on arrival: part of the windows is gone
		windows.WhileRevalidate -= over
		windows.IfError -= over
	}
	keep := time.Duration(0)
	if rfc9111.HasValidator(v.header) {
		keep = keepFor
	}
	v.times = engine.NewTimes(now, lifetime, windows.WhileRevalidate, windows.IfError).Keep(keep)
}

// keepFor is how long a response with a validator is kept after it must not be
// served any more: to be asked about is cheaper than to be made again.
const keepFor = time.Hour

// implied returns the request fields by which a response plainly varies, though
// its Vary may not say so: a coding is chosen by Accept-Encoding, and an answer
// that allows one origin is made for that origin.
func implied(header http.Header) []string {
	var fields []string
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		fields = append(fields, "Accept-Encoding")
	}
	if origin := header.Get("Access-Control-Allow-Origin"); origin != "" && origin != "*" {
		fields = append(fields, "Origin")
	}
	return fields
}

// assumed returns how long a response without explicit freshness is fresh from
// now on: what the policy gives it, or else a heuristic.
func (j *judge) assumed(a *arrival, header http.Header, cc rfc9111.CacheControl, age time.Duration) time.Duration {
	if ttl, ok := j.policy.gives(a.status); ok {
		return ttl
	}
	return rfc9111.Heuristic(a.status, header, cc, a.date, a.wall, j.policy.HeuristicLimit) - age
}

// merged returns what arrived with a 304 put into the stored response that it
// is about (RFC 9111 3.2).
func (j *judge) merged(a *arrival, s *stored.Response) (m *arrival, cookies []stored.Field) {
	own := stored.HeaderOf(a.fields)
	rfc9111.StripConnection(own)
	m = &arrival{status: s.Status, left: a.left, date: a.date, now: a.now, wall: a.wall}
	for _, f := range a.fields {
		switch {
		case j.policy.SetCookie != StoreSetCookie && (f.Name == "Set-Cookie" || f.Name == "Set-Cookie2"):
			// Whoever asked gets it, and what is stored has none: a session
			// renewed by a 304 is no reason to send the whole again.
			cookies = append(cookies, f)
		case f.Mode != stored.Remove && own[f.Name] != nil && rfc9111.Updates(f.Name):
			m.fields = append(m.fields, f)
		}
	}
	for _, kept := range s.Fields() {
		if !slices.ContainsFunc(m.fields, func(f stored.Field) bool { return f.Name == kept.Name }) {
			m.fields = append(m.fields, kept)
		}
	}
	return m, cookies
}

// freshened is the verdict on a 304 that the handler gave to the cache: the
// stored response with the fields of the 304 (RFC 9111 4.3.4). It is judged
// anew, since those, or what was set outside for the client that asked, may say
// that it is not for everyone any more. ok is false if the whole has to be asked
// for.
func (j *judge) freshened(a *arrival, s *stored.Response) (head fill.Head, v *verdict, ok bool) {
	if !rfc9111.Freshens(stored.HeaderOf(s.Fields()), stored.HeaderOf(a.fields)) {
		return head, nil, false
	}
	if cc, _ := rfc9111.ResponseControl(around(a.fields, a.left), j.policy.TargetedFields); cc.NoStore || cc.Private {
		return head, nil, false
	}
	own := stored.HeaderOf(a.fields)
	m, cookies := j.merged(a, s)
	head, v = j.judge(m)
	if head.Kind != fill.Shared {
		return head, nil, false
	}
	// Fields that are for one client are those that this one was sent. Stored
	// ones of that name are another's.
	v.personal = slices.DeleteFunc(v.personal, func(f stored.Field) bool { return own[f.Name] == nil })
	v.personal = append(v.personal, cookies...)
	v.forwarded = http.StatusNotModified
	head.Length, head.Body, head.Has = int64(len(s.Body)), s.Body, true
	return head, v, true
}

// replaces reports whether an answer with this status takes the place of a
// response that others may still use. An error does not (RFC 5861 4). Nor does
// a refusal that may be because of who asked, or how often.
func replaces(status int, plain bool) bool {
	switch {
	case status < 400, status == http.StatusNotFound, status == http.StatusGone:
		return true
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return plain
	}
	return false
}

func eventStream(contentType string) bool {
	mime, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mime), "text/event-stream")
}

// serverError reports whether status is one that stale-if-error is for
// (RFC 5861 4).
func serverError(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
