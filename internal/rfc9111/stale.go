package rfc9111

import "time"

// StaleWindows is for how long after the end of its freshness a response may
// still be used.
type StaleWindows struct {
	WhileRevalidate time.Duration // while it is being refreshed (RFC 5861 3)
	IfError         time.Duration // when the origin fails (RFC 5861 4)
}

// StaleForbidden reports whether the response forbids every stale use (4.2.4):
// by must-revalidate, proxy-revalidate or no-cache, or by s-maxage, which
// includes proxy-revalidate (5.2.2.10).
//
// An s-maxage beside a stale-while-revalidate or stale-if-error directive of
// the same response does not: whoever wrote both meant the window, and would
// have written must-revalidate otherwise. The more explicit must-revalidate
// and proxy-revalidate are never lifted that way.
func StaleForbidden(cc CacheControl) bool {
	if cc.MustRevalidate || cc.ProxyRevalidate || cc.NoCache {
		return true
	}
	return cc.SMaxAge.Set && cc.StaleWhileRevalidate.D <= 0 && cc.StaleIfError.D <= 0
}

// Stale returns the windows that apply to a response. Its own directives win
// over those of the policy, in both directions: a window of 0 closes one that
// the policy opens. With s-maxage only the response's own count.
func Stale(cc CacheControl, policy StaleWindows) StaleWindows {
	if StaleForbidden(cc) {
		return StaleWindows{}
	}
	w := policy
	if cc.SMaxAge.Set {
		w = StaleWindows{}
	}
	if cc.StaleWhileRevalidate.Set {
		w.WhileRevalidate = cc.StaleWhileRevalidate.D
	}
	if cc.StaleIfError.Set {
		w.IfError = cc.StaleIfError.D
	}
	return w
}
