package rfc9111

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// MaxDelta is what a number of seconds too large to represent is taken for
// (1.2.2). It is some 68 years, and the sum of several still fits a Duration.
const MaxDelta = (1 << 31) * time.Second

// Unlimited is the value of a max-stale directive without an argument: any
// staleness will do (5.2.1.2).
const Unlimited = time.Duration(math.MaxInt64)

// parseSeconds reads delta-seconds (1.2.2): one or more digits and nothing
// else. strconv is not used because it takes a sign, which the grammar does
// not, and reports overflow, which is not an error here.
func parseSeconds(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	const limit = int64(MaxDelta / time.Second)
	var n int64
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		// n stays at or below limit, so the product cannot overflow.
		n = min(n*10+int64(c-'0'), limit)
	}
	return time.Duration(n) * time.Second, true
}

// memberEnd returns the index of the comma that ends the first member of the
// list s, or len(s). A comma inside a quoted string does not count (RFC 9110
// 5.6.1, 5.6.4). When a quoted string is never closed, closed is false and
// the member is all of s.
func memberEnd(s string) (end int, closed bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ',':
			return i, true
		case '"':
			n := quotedLen(s[i:])
			if n == 0 {
				return len(s), false
			}
			i += n - 1
		}
	}
	return len(s), true
}

// cutMember returns the first member of the list s without the whitespace
// around it, and what follows its comma.
func cutMember(s string) (member, rest string) {
	end, _ := memberEnd(s)
	if end == len(s) {
		return trimOWS(s), ""
	}
	return trimOWS(s[:end]), s[end+1:]
}

// quotedLen returns the length of the quoted string that s begins with, both
// quotes included, or 0 when it is not closed (RFC 9110 5.6.4).
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return 0
}

// unquote removes the backslashes of quoted pairs (RFC 9110 5.6.4).
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// trimOWS removes optional whitespace (RFC 9110 5.6.3): space and tab only.
// strings.TrimSpace would also remove line ends and Unicode spaces.
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isToken reports whether s is a token (RFC 9110 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// equalFold compares without regard to ASCII case; b is lower case.
// strings.EqualFold folds Unicode: to it "ſ-maxage" is "s-maxage".
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != b[i] {
			return false
		}
	}
	return true
}

func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		dst = append(dst, lower(s[i]))
	}
	return dst
}

// Canonicalise returns h with the spelling of every name that net/http uses: h
// itself where that is so already, else a copy. Lines of one field that were
// stored under several spellings come together, those under the canonical
// spelling first.
//
// Field names are case-insensitive (RFC 9110 5.1), but a handler can write
// w.Header()["set-cookie"], and net/http sends that. Looking only under
// "Set-Cookie" then shares the cookie. Call this on a header that is going to be
// judged or stored, before anything is read from it.
func Canonicalise(h http.Header) http.Header {
	var odd []string
	for name := range h {
		if http.CanonicalHeaderKey(name) != name {
			odd = append(odd, name)
		}
	}
	if odd == nil {
		return h
	}
	h = h.Clone()
	slices.Sort(odd)
	for _, name := range odd {
		canonical := http.CanonicalHeaderKey(name)
		// Clipped, since the lines may share an array with another header.
		h[canonical] = append(slices.Clip(h[canonical]), h[name]...)
		delete(h, name)
	}
	return h
}
