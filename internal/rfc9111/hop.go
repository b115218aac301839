package rfc9111

import (
	"net/http"
	"strings"
)

// IsHopByHop reports whether the field, named canonically, belongs to one
// connection or one proxy, and is neither stored nor passed on (3.1, RFC 9110
// 7.6.1).
//
// Trailer is not among them, though often taken for one: it is about the
// message (RFC 9110 6.6.2). Responses that have it are not stored.
func IsHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization":
		return true
	}
	return false
}

// ConnectionHides reports whether a request's Connection lists fields that an
// intermediary would otherwise pass on (RFC 9110 7.6.1): it takes them away, so
// what comes back was made without them.
func ConnectionHides(h http.Header) bool {
	for _, line := range h["Connection"] {
		for line != "" {
			var option string
			option, line, _ = strings.Cut(line, ",")
			switch option = trimOWS(option); {
			case option == "", equalFold(option, "close"), equalFold(option, "http2-settings"):
			case !IsHopByHop(http.CanonicalHeaderKey(option)):
				return true
			}
		}
	}
	return false
}

// StripConnection removes from h, in place, the fields of [IsHopByHop] and
// those that its Connection field lists.
//
// What a response permits has to be read before: a "Connection: cache-control"
// is never appropriate, and would remove the "private" beside it.
func StripConnection(h http.Header) {
	for _, line := range h["Connection"] {
		for line != "" {
			var option string
			option, line, _ = strings.Cut(line, ",")
			delete(h, http.CanonicalHeaderKey(trimOWS(option)))
		}
	}
	for name := range h {
		if IsHopByHop(name) {
			delete(h, name)
		}
	}
}
