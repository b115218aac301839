package rfc9111

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Invalidates reports whether a response with this status to a request with
// this method invalidates what is stored for its URL (4.4): an unsafe method
// that did not fail.
//
// Methods of unknown safety count as unsafe, so the list is of the safe ones
// (RFC 9110 9.2.1). Invalidating before the response is known, or after an
// error, would let anyone empty a cache.
func Invalidates(method string, status int) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return 200 <= status && status <= 399
}

// InvalidationTargets returns the URLs in the Location and Content-Location
// fields of a response that are invalidated along with target, the absolute
// URL of the request (4.4). They are resolved, without fragment and user, each
// once, and never target itself.
//
// URLs of another origin are left out, or one site could invalidate another's.
func InvalidationTargets(target *url.URL, h http.Header) []string {
	if target == nil || target.Scheme == "" || target.Host == "" {
		return nil
	}
	self := targetURI(target)
	var targets []string
	for _, name := range [...]string{"Location", "Content-Location"} {
		for _, line := range h[name] {
			reference, err := url.Parse(trimOWS(line))
			if err != nil {
				continue
			}
			u := target.ResolveReference(reference)
			if !sameOrigin(u, target) {
				continue
			}
			// The spelling of the target, so that keys come out equal.
			u.Scheme, u.Host = target.Scheme, target.Host
			if s := targetURI(u); s != self && !slices.Contains(targets, s) {
				targets = append(targets, s)
			}
		}
	}
	return targets
}

// LocatesSelf reports whether a response says that its content is what a GET of
// target, the absolute URL of the request, would bring: by a Content-Location
// that is the same URL (RFC 9110 8.7). That is what lets a response to POST
// answer GET (RFC 9110 9.3.3).
func LocatesSelf(target *url.URL, h http.Header) bool {
	lines := h["Content-Location"]
	if len(lines) != 1 {
		return false
	}
	reference, err := url.Parse(trimOWS(lines[0]))
	if err != nil {
		return false
	}
	u := target.ResolveReference(reference)
	if !sameOrigin(u, target) {
		return false
	}
	u.Scheme, u.Host = target.Scheme, target.Host
	return targetURI(u) == targetURI(target)
}

// targetURI returns u without a fragment (RFC 9110 7.1) and without user
// information, which is no part of an origin. An empty path is "/" (4.2.3).
func targetURI(u *url.URL) string {
	c := *u
	c.Fragment, c.RawFragment, c.User = "", "", nil
	if c.Path == "" {
		c.Path = "/"
	}
	return c.String()
}

// sameOrigin compares scheme, host and port (RFC 9110 4.3.1).
func sameOrigin(a, b *url.URL) bool {
	return a.Opaque == "" && strings.EqualFold(a.Scheme, b.Scheme) &&
		strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}
