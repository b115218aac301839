package rfc9111

import (
	"net/http"
	"strings"
)

// HasPrecondition reports whether a request is to be answered only if the
// client has the current representation (RFC 9110 13.1.1, 13.1.4).
func HasPrecondition(request http.Header) bool {
	return request["If-Match"] != nil || request["If-Unmodified-Since"] != nil
}

// Holds reports whether the preconditions of a request are known to hold for a
// stored response: its entity tag is strong and among those of If-Match. Of all
// others the origin knows more.
func Holds(request http.Header, stored *Validators) bool {
	if request["If-Match"] == nil || request["If-Unmodified-Since"] != nil {
		return false
	}
	kept, ok := storedTag(stored.Etag)
	if !ok || kept.weak {
		return false
	}
	for _, line := range request["If-Match"] {
		for rest := trimOWS(line); rest != ""; {
			var tag entityTag
			if tag, rest, ok = cutTag(rest); ok && tag == kept {
				return true
			}
		}
	}
	return false
}

// Upgrades reports whether a request asks for another protocol (RFC 9110 7.8):
// by an Upgrade that its Connection names. An offer of h2c does not, since RFC
// 9113 3.1 has done away with it, and clients that make it go on without.
func Upgrades(request http.Header) bool {
	if request["Upgrade"] == nil || !lists(request["Connection"], "upgrade") {
		return false
	}
	for _, line := range request["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			if protocol = trimOWS(protocol); protocol != "" && !equalFold(protocol, "h2c") {
				return true
			}
		}
	}
	return false
}

// lists reports whether the members of lines have one that is name.
func lists(lines []string, name string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if equalFold(trimOWS(member), name) {
				return true
			}
		}
	}
	return false
}

// AcceptsCoding reports whether a request accepts a content coding other than
// identity (RFC 9110 12.5.3).
func AcceptsCoding(request http.Header) bool {
	var set codingSet
	for _, line := range request["Accept-Encoding"] {
		for member := range strings.SplitSeq(line, ",") {
			if member = trimOWS(member); member != "" {
				set.add(member)
			}
		}
	}
	return set.accepted&^codingIdentity != 0 || len(set.otherAccepted) > 0
}
