package rfc9111

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Reason says why a response is not stored. It is a token that can be sent
// in the detail parameter of a Cache-Status field (RFC 9211 2.8) or label a
// metric.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Storable             Reason = ""                 // nothing speaks against it
	ReasonMethod         Reason = "method"           // not a request whose response can answer GET
	ReasonStatus         Reason = "status"           // this status code is never stored
	ReasonPartial        Reason = "partial"          // a 206 response
	ReasonMustUnderstand Reason = "must_understand"  // and the status code is not understood
	ReasonNoStore        Reason = "no_store"         // or a malformed Cache-Control
	ReasonRequestNoStore Reason = "request_no_store" // no-store in a request that counts
	ReasonPrivate        Reason = "private"          // meant for one user
	ReasonAuthorization  Reason = "authorization"    // the request had credentials
	ReasonSetCookie      Reason = "set_cookie"       // the response sets a cookie
	ReasonVaryStar       Reason = "vary_star"        // no other request can match it
	ReasonTrailer        Reason = "trailer"          // trailer fields cannot be replayed
	ReasonNoCache        Reason = "no_cache"         // and it cannot be validated
	ReasonNoFreshness    Reason = "no_freshness"     // nothing says how long it is fresh
	ReasonExpired        Reason = "expired"          // it will never be fresh, or usable stale
)

// StoreInput is what [Store] judges by. Headers are canonical.
type StoreInput struct {
	Method  string
	Request http.Header // as sent by the client
	Status  int
	Header  http.Header  // of the response, complete: before fields are removed from it
	Control CacheControl // of the response

	// Freshness is what [Lifetime] returned and Age is the response's age on
	// arrival, from [InitialAge].
	Freshness Freshness
	Age       time.Duration

	// HasTTL says that a policy's default or a heuristic gives a lifetime to
	// this response if it has none of its own. Stale are the windows of the
	// policy.
	HasTTL bool
	Stale  StaleWindows

	// RequestControl is the Cache-Control field of the request, left zero
	// when the directives of clients do not count.
	RequestControl CacheControl

	// AllowSetCookie stores responses that set cookies, for everyone.
	AllowSetCookie bool

	// AllowAuthorization stores responses to requests with credentials, since
	// the cache finds them by these.
	AllowAuthorization bool
}

// Store decides whether a shared cache stores a response (3), and hands it to
// other requests that wait for the same one: what may not be stored may not be
// shared by coalescing either. When it is storable, [StripFields] names fields
// that go to the client that asked, and to no other.
//
// HasTTL makes a response storable that says nothing about freshness. It
// overrides no other rule.
func Store(in StoreInput) Reason {
	if !storableMethod(in) {
		return ReasonMethod
	}
	if r := unstorableStatus(in.Status); r != Storable {
		return r
	}
	if r := permission(in); r != Storable {
		return r
	}
	if r := form(in); r != Storable {
		return r
	}
	return freshness(in)
}

// storableMethod reports whether the response can answer a GET (3): one to HEAD
// has no content, and those to other methods say nothing about it, but for one
// to POST that says so (RFC 9110 9.3.3). Methods are case-sensitive.
func storableMethod(in StoreInput) bool {
	switch in.Method {
	case http.MethodGet:
		return true
	}
	return false
}

// permission applies what the two messages say about sharing.
func permission(in StoreInput) Reason {
	cc := in.Control
	switch {
	case cc.MustUnderstand && !UnderstoodStatus(in.Status):
		return ReasonMustUnderstand
	case cc.NoStore && !cc.MustUnderstand:
		return ReasonNoStore // 5.2.2.5; must-understand lifts it, 5.2.2.3
	case in.RequestControl.NoStore:
		return ReasonRequestNoStore // 5.2.1.5
	case cc.Private || slices.ContainsFunc(cc.PrivateFields, essential):
		return ReasonPrivate // 5.2.2.7
	case len(in.Request["Authorization"]) > 0 && !AllowsAuthorization(cc) && !in.AllowAuthorization:
		return ReasonAuthorization
	case !in.AllowSetCookie && setsCookie(in.Header, cc):
		return ReasonSetCookie
	}
	return Storable
}

// AllowsAuthorization reports whether a response may answer other requests
// than one with credentials (3.5).
func AllowsAuthorization(cc CacheControl) bool {
	return cc.Public || cc.MustRevalidate || cc.SMaxAge.Set
}

// setsCookie reports whether storing the response would store a cookie. RFC
// 9111 7.3 leaves that to the origin's Cache-Control; too many send max-age
// and a session in one response. An origin that says private="Set-Cookie", or
// the older no-cache="Set-Cookie", has thought of it: that field is not stored.
func setsCookie(h http.Header, cc CacheControl) bool {
	for _, name := range [...]string{"Set-Cookie", "Set-Cookie2"} {
		if len(h[name]) > 0 && !slices.Contains(cc.PrivateFields, name) && !slices.Contains(cc.NoCacheFields, name) {
			return true
		}
	}
	return false
}

// form applies rules on whether a stored copy could be used as such.
func form(in StoreInput) Reason {
	if _, star := VaryFields(in.Header); star {
		return ReasonVaryStar // 4.1: always fails to match
	}
	if declaresTrailer(in.Header) {
		return ReasonTrailer // 3.1 permits dropping them; the client was promised them
	}
	cc := in.Control
	if cc.NoCache && !HasValidator(in.Header) {
		return ReasonNoCache // 5.2.2.4: every use would go to the origin anyway
	}
	if slices.ContainsFunc(cc.NoCacheFields, essential) {
		return ReasonNoCache
	}
	return Storable
}

// declaresTrailer also knows the way in which net/http handlers send trailers
// without announcing them.
func declaresTrailer(h http.Header) bool {
	if len(h["Trailer"]) > 0 {
		return true
	}
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// freshness applies the last rule of section 3, and leaves out responses that
// could never be used.
func freshness(in StoreInput) Reason {
	if in.Control.NoCache {
		return noCacheFreshness(in)
	}
	if !in.Freshness.Explicit {
		if in.HasTTL {
			return Storable
		}
		return ReasonNoFreshness
	}
	w := Stale(in.Control, in.Stale)
	usable := clampAge(in.Freshness.Lifetime) + clampAge(max(w.WhileRevalidate, w.IfError))
	if usable <= in.Age && !HasValidator(in.Header) {
		return ReasonExpired
	}
	return Storable
}

// noCacheFreshness is for responses that are validated on every use and need
// no lifetime. Section 3 still wants a sign that they may be stored.
func noCacheFreshness(in StoreInput) Reason {
	if in.Freshness.Explicit || in.HasTTL || in.Control.Public || HeuristicStatus(in.Status) {
		return Storable
	}
	return ReasonNoFreshness
}

// StripFields returns the fields of a response that the qualified forms of
// private and no-cache keep from other clients, in canonical spelling
// (5.2.2.4, 5.2.2.7). They are removed from what is stored and also from what
// coalesced requests get. The result may share memory with cc.
//
// RFC 9111 would let a cache store the no-cache fields and send them after
// successful validation. Not storing them is the other choice it gives.
func StripFields(cc CacheControl) []string {
	if len(cc.PrivateFields) == 0 {
		return slices.Clip(cc.NoCacheFields)
	}
	return append(slices.Clip(cc.PrivateFields), cc.NoCacheFields...)
}

// essential reports whether a stored response without the field would be a
// different one: unreadable, or matched to the wrong requests. A response that
// wants such a field kept back is kept back as a whole.
func essential(field string) bool {
	switch field {
	case "Age", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Type", "Date", "Expires", "Vary":
		return true
	}
	return false
}
