package rfc9111

import (
	"net/http"
	"time"
)

// A Freshness is how long a response is fresh, counted from its generation.
type Freshness struct {
	Lifetime time.Duration // never negative
	Explicit bool          // whether the response said so itself
}

// Lifetime returns the explicit freshness lifetime of a response for a shared
// cache (4.2.1): s-maxage, or else max-age, or else Expires. The zero
// Freshness means that the response says nothing.
//
// The parameter date is the value of the Date field, zero when there is none
// that can be used, and now is the time the response was received; it takes
// the place of a missing Date.
//
// An Expires that is no valid date, "0" above all, is in the past (5.3), and
// so are several of them, since nothing tells which one is meant.
func Lifetime(h http.Header, cc CacheControl, date, now time.Time) Freshness {
	switch {
	case cc.SMaxAge.Set:
		return Freshness{Lifetime: cc.SMaxAge.D, Explicit: true}
	case cc.MaxAge.Set:
		return Freshness{Lifetime: cc.MaxAge.D, Explicit: true}
	case len(h["Expires"]) == 0:
		return Freshness{}
	}
	expires, ok := DateField(h, "Expires", now)
	if !ok {
		return Freshness{Explicit: true}
	}
	if date.IsZero() {
		date = now
	}
	// Date and not the local clock, so that a skewed origin clock cancels
	// out. Sub saturates; it does not overflow.
	return Freshness{Lifetime: clampAge(expires.Sub(date)), Explicit: true}
}

// Heuristic returns the lifetime to assume for a response that states none: a
// tenth of the time for which it had not been modified, at most limit (4.2.2).
// It is 0 when the response has explicit freshness or no usable Last-Modified,
// and when neither its status code nor a public directive permits heuristics.
// The parameters date and now are as for [Lifetime].
func Heuristic(status int, h http.Header, cc CacheControl, date, now time.Time, limit time.Duration) time.Duration {
	if !HeuristicStatus(status) && !cc.Public {
		return 0
	}
	if cc.SMaxAge.Set || cc.MaxAge.Set || len(h["Expires"]) > 0 {
		return 0
	}
	modified, ok := DateField(h, "Last-Modified", now)
	if !ok {
		return 0
	}
	if date.IsZero() {
		date = now
	}
	return min(clampAge(date.Sub(modified))/10, max(0, limit))
}
