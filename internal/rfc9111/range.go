package rfc9111

import (
	"net/http"
	"strings"
	"time"
)

// A Selection is what a Range field selects of a stored response.
type Selection uint8

// What a Range field can select.
const (
	SelectWhole Selection = iota // all of it: the field is to be ignored
	SelectPart                   // the bytes from start on, length of them
	SelectNone                   // no byte: the answer is 416
)

// SelectRange applies a Range field to a stored body of size bytes (RFC 9110
// 14.1.2, 14.2). A field that is malformed, has an unknown unit, or asks for
// several ranges selects the whole, which every client has to expect.
func SelectRange(lines []string, size int64) (start, length int64, s Selection) {
	if len(lines) != 1 || size == 0 {
		return 0, size, SelectWhole // no byte of an empty body can be named
	}
	unit, spec, ok := strings.Cut(lines[0], "=")
	first, last, dash := strings.Cut(trimOWS(spec), "-")
	if !ok || !equalFold(trimOWS(unit), "bytes") || !dash || first == "" && last == "" {
		return 0, size, SelectWhole
	}
	from, fromOK := parsePosition(first)
	to, toOK := parsePosition(last)
	switch {
	case first != "" && !fromOK, last != "" && !toOK, first != "" && last != "" && to < from:
		return 0, size, SelectWhole
	case first == "" && to == 0, first != "" && from >= size:
		return 0, 0, SelectNone
	case first == "": // the last bytes, at most all
		length = min(to, size)
		return size - length, length, SelectPart
	case last == "":
		return from, size - from, SelectPart
	}
	return from, min(to, size-1) - from + 1, SelectPart
}

// parsePosition reads a number of bytes. One that is too large is as good as
// any beyond the end.
func parsePosition(s string) (int64, bool) {
	const limit = int64(1) << 59 // so that ten times as much is still a number
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), limit)
	}
	return n, s != ""
}

// IfRange reports whether a Range field counts, as far as If-Range decides
// that: there is none, or its validator is that of the stored response (RFC
// 9110 13.1.5). A weak validator proves too little for parts to be combined,
// and a date is a strong one only if it was a second old when the response was
// made (8.8.2.2).
func IfRange(request http.Header, stored *Validators) bool {
	lines := request["If-Range"]
	if len(lines) == 0 {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	if modified, ok := ParseDate(trimOWS(lines[0]), time.Time{}); ok {
		kept, has := dateOf(stored.LastModified, modified)
		date, dated := dateOf(stored.Date, modified)
		return has && dated && kept.Equal(modified) && date.Sub(kept) >= time.Second
	}
	tag, rest, ok := cutTag(trimOWS(lines[0]))
	kept, has := storedTag(stored.Etag)
	return ok && has && rest == "" && !tag.weak && tag == kept
}
