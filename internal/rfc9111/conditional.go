package rfc9111

import (
	"net/http"
	"time"
)

// ConditionalHeaders are the request fields that make a response depend on
// what the client has already, or on the part it wants (RFC 9110 13.1, 14.2).
// A cache that wants a whole response to store sends a request without them,
// and answers the client's conditions itself. It must not be modified.
var ConditionalHeaders = []string{
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
}

// StripConditional removes [ConditionalHeaders] from a request header, in
// place.
func StripConditional(h http.Header) {
	for _, name := range ConditionalHeaders {
		delete(h, name)
	}
}

// Validators are the lines of the fields of a stored response that the
// conditions of a client are about. Who stores many responses keeps these, not
// a map for each.
type Validators struct {
	Etag, LastModified, Date []string
}

// NotModified reports whether a GET or HEAD request is to be answered with 304
// from a stored 200 response (4.3.2, RFC 9110 13.2.2). If-None-Match decides
// alone when it is present, even one that cannot be read; If-Modified-Since
// comes second. If-Match and If-Unmodified-Since are for the origin only.
//
// The parameter storedAt is when the response was received. It stands in for a
// Last-Modified field when there is no Date field either.
func NotModified(request http.Header, stored *Validators, storedAt time.Time) bool {
	if lines := request["If-None-Match"]; len(lines) > 0 {
		return noneMatchFails(lines, stored.Etag)
	}
	since, ok := DateField(request, "If-Modified-Since", storedAt)
	if !ok {
		// Several lines or an invalid date: ignored (RFC 9110 13.1.3).
		return false
	}
	modified := storedAt
	switch {
	case len(stored.LastModified) > 0:
		modified, ok = dateOf(stored.LastModified, storedAt)
	case len(stored.Date) > 0:
		modified, ok = dateOf(stored.Date, storedAt)
	}
	return ok && !modified.After(since)
}

// noneMatchFails reports whether an If-None-Match condition is false, which
// means 304 (RFC 9110 13.1.2).
func noneMatchFails(lines, stored []string) bool {
	if len(lines) == 1 && trimOWS(lines[0]) == "*" {
		return true // there is a representation, and that is all it asks
	}
	tag, ok := storedTag(stored)
	if !ok {
		return false
	}
	for _, line := range lines {
		for line != "" {
			var candidate entityTag
			candidate, line, ok = cutTag(line)
			if ok && candidate.opaque == tag.opaque {
				// Weak comparison: weakness does not count (8.8.3.2).
				return true
			}
		}
	}
	return false
}

// An entityTag is a parsed entity tag (RFC 9110 8.8.3). The opaque part is
// without its quotes.
type entityTag struct {
	opaque string
	weak   bool
}

// storedTag returns the entity tag in the ETag lines of a stored response, if
// there is exactly one.
func storedTag(lines []string) (entityTag, bool) {
	if len(lines) != 1 {
		return entityTag{}, false
	}
	tag, rest, ok := cutTag(trimOWS(lines[0]))
	return tag, ok && rest == ""
}

// cutTag takes the first entity tag off a list and returns what follows its
// comma. A tag that is followed by anything but a comma, or never closed, is
// no tag; the list goes on after the next comma.
//
// The list is not made of quoted strings: a backslash in a tag is a character
// like others, and one before the closing quote does not escape it (8.8.3).
//
// Tags without quotes, which the grammar does not allow and enough servers
// send, are taken as if they had them, in lists and in stored responses. Only
// equal bytes ever match, so the worst that can come of it is the 304 that the
// quotes would have brought. A misspelt weakness flag is part of such a tag.
func cutTag(s string) (tag entityTag, rest string, ok bool) {
	for s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == ',') {
		s = s[1:]
	}
	if len(s) >= 3 && lower(s[0]) == 'w' && s[1] == '/' && s[2] == '"' {
		tag.weak = true
		s = s[2:]
	}
	if s == "" || s[0] != '"' {
		tag.opaque, rest = cutPlain(s)
		return tag, rest, validOpaque(tag.opaque) && tag.opaque != "" && tag.opaque != "*"
	}
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			tag.opaque = s[1:i]
			junk, rest := cutPlain(s[i+1:])
			return tag, rest, junk == "" && validOpaque(tag.opaque)
		}
	}
	return tag, "", false
}

// cutPlain cuts s at its first comma, whatever the quotes.
func cutPlain(s string) (before, after string) {
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			return trimOWS(s[:i]), s[i+1:]
		}
	}
	return trimOWS(s), ""
}

// validOpaque reports whether s has only characters that a tag can have, or a
// quote: what a misspelt weakness flag leaves behind.
func validOpaque(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
