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
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace,
		"PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH": // registered as safe (RFC 9110 16.1.1)
		return false
	}
	return 200 <= status && status <= 399
}

// InvalidationTargets returns the URLs that are invalidated along with target,
// the absolute URL of the request (4.4): those in the Location and
// Content-Location fields of its response, and for MOVE and COPY the Destination
// of the request (RFC 4918 9.8, 9.9). They are resolved, without fragment and
// user, each once, and never target itself.
//
// URLs of another origin are left out, or one site could invalidate another's.
func InvalidationTargets(target *url.URL, method, destination string, h http.Header) []string {
	if target == nil || target.Scheme == "" || target.Host == "" {
		return nil
	}
	self := targetURI(target)
	var targets []string
	lines := slices.Concat(h["Location"], h["Content-Location"])
	if method == "MOVE" || method == "COPY" {
		lines = append(lines, destination)
	}
	for _, line := range lines {
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
	return targets
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

// sameOrigin compares scheme, host and port (RFC 9110 4.3.1). With their default
// ports http and https are one: TLS mostly ends in front of a service, which
// then sees http where its own links say https.
func sameOrigin(a, b *url.URL) bool {
	return a.Opaque == "" && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b) && port(a) != ""
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case u.Scheme == "http" && p == "80", u.Scheme == "https" && p == "443":
		return "default"
	case p != "":
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return "default"
	}
	return ""
}
