package rfc9111

import (
	"net/http"
	"time"
)

// validators returns the entity tag and the modification date of a stored
// response, as they were sent. One that nobody could compare with, because
// there are several or it is malformed, counts as absent.
func validators(h http.Header) (tag, modified string) {
	if _, ok := storedTag(h["Etag"]); ok {
		tag = trimOWS(h["Etag"][0])
	}
	if _, ok := DateField(h, "Last-Modified", time.Time{}); ok {
		modified = trimOWS(h["Last-Modified"][0])
	}
	return tag, modified
}

// HasValidator reports whether the response can be validated later: it has an
// entity tag or a modification date (4.3.1).
func HasValidator(h http.Header) bool {
	tag, modified := validators(h)
	return tag != "" || modified != ""
}

// SetValidators makes a request ask whether a stored response is still good,
// and reports whether that response has anything to ask by (4.3.1). Both
// validators are sent: an origin that knows tags ignores the date (RFC 9110
// 13.1.3), and others know nothing else.
func SetValidators(request, stored http.Header) bool {
	tag, modified := validators(stored)
	if tag != "" {
		request["If-None-Match"] = []string{tag}
	}
	if modified != "" {
		request["If-Modified-Since"] = []string{modified}
	}
	return tag != "" || modified != ""
}

// Freshens reports whether a 304 response to a request made by [SetValidators]
// is about the stored response (4.3.4). If it is not, it says nothing about
// any, and the whole has to be asked for.
//
// A 304 without a validator is taken to be about the one response that was
// asked about. By the letter of 4.3.4 it is not, but enough origins leave the
// ETag out that RFC 9110 15.4.5 demands.
func Freshens(stored, notModified http.Header) bool {
	if len(notModified["Etag"]) > 0 {
		got, ok := storedTag(notModified["Etag"])
		kept, has := storedTag(stored["Etag"])
		if !got.weak {
			return ok && has && got == kept
		}
		return ok && has && got.opaque == kept.opaque
	}
	if len(notModified["Last-Modified"]) > 0 {
		kept, has := DateField(stored, "Last-Modified", time.Time{})
		got, ok := DateField(notModified, "Last-Modified", kept)
		// The date is weak (RFC 9110 8.8.2.2), so a tag that was sent and
		// confirmed outweighs it.
		return ok && has && got.Equal(kept) || len(stored["Etag"]) > 0
	}
	return true
}

// Updates reports whether a field of a 304, or of a response to HEAD, replaces
// that of the stored response (3.2). What describes the bytes that are stored
// stays with them: a Content-Length of other bytes makes a broken message, a
// Content-Encoding an unreadable one, and a digest a wrong one.
func Updates(name string) bool {
	switch name {
	case "Content-Length", "Content-Encoding", "Content-Range",
		"Content-Md5", "Content-Digest", "Digest", "Repr-Digest":
		return false
	}
	return !IsHopByHop(name)
}
