package server

import (
	"net/http"
	"net/url"
	"strings"
)

// originForm returns r as a request for a path on this host, nil if it is for
// anything else. The path begins with a slash, or is "*" for OPTIONS. What
// is equivalent has one form (RFC 3986 6.2.2.2), so that a route and its policy
// cannot be got around by writing a path in another way.
//
// The absolute form is legal (RFC 9112 3.2.2); net/http has taken the host from
// it already. Most requests are as they should be and are returned as they came.
func originForm(r *http.Request) *http.Request {
	in := r.URL
	absolute := in.Scheme != "" || in.Host != ""
	switch {
	case in.Opaque != "" || in.User != nil,
		absolute && (in.Scheme != "http" && in.Scheme != "https" || in.Host == ""),
		!validHost(r.Host), !isMethod(r.Method):
		return nil
	}
	out := url.URL{Path: in.Path, RawPath: in.RawPath, ForceQuery: in.ForceQuery, RawQuery: escapeQuery(in.RawQuery)}
	switch {
	case r.Method == http.MethodOptions && (out.Path == "*" || absolute && out.Path == "" && out.RawQuery == ""):
		out.Path = "*"
	case absolute && out.Path == "":
		out.Path = "/"
	case !strings.HasPrefix(out.Path, "/") || hasDotSegment(out.Path):
		return nil
	}
	if out.RawPath != "" {
		out.RawPath = unescapePlain(out.EscapedPath())
		if out.RawPath == (&url.URL{Path: out.Path}).EscapedPath() {
			out.RawPath = ""
		}
	}
	if out == *in {
		return r
	}
	u, q := out, *r // out itself would be allocated for each request
	q.URL = &u
	q.RequestURI = u.RequestURI()
	return &q
}

// hasDotSegment reports whether an upstream might take the (decoded) path for
// another one than it was routed by: /public/../private would be matched by
// /public/* and answered by /private. Clients remove such segments themselves
// (RFC 3986 5.2.4). Some servers take a backslash for a slash, and what follows
// a semicolon for no part of the segment.
func hasDotSegment(path string) bool {
	if !strings.Contains(path, "/.") && !strings.Contains(path, `\.`) {
		return false
	}
	separator := func(c rune) bool { return c == '/' || c == '\\' }
	for segment := range strings.FieldsFuncSeq(path, separator) {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

// unescapePlain decodes what need not be encoded in a path: letters, digits and
// -._~ (RFC 3986 2.3).
func unescapePlain(path string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 || i+2 >= len(path) {
			b.WriteString(path)
			return b.String()
		}
		b.WriteString(path[:i])
		code := path[i : i+3]
		if plain, err := url.PathUnescape(code); err == nil && isPlain(plain[0]) {
			code = plain
		}
		b.WriteString(code)
		path = path[i+3:]
	}
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// escapeQuery encodes what cannot be sent in the first line of HTTP/1. HTTP/2
// brings a query with spaces in it: an upstream would see another query than
// the one in the cache's key, and another protocol version.
func escapeQuery(query string) string {
	bad := func(c byte) bool { return c <= ' ' || c == '#' || c >= 0x7f }
	for i := range len(query) {
		if !bad(query[i]) {
			continue
		}
		const hex = "0123456789ABCDEF"
		b := []byte(query[:i])
		for _, c := range []byte(query[i:]) {
			if bad(c) {
				b = append(b, '%', hex[c>>4], hex[c&15])
			} else {
				b = append(b, c)
			}
		}
		return string(b)
	}
	return query
}

// validHost reports whether a host can stand in a URL and in a Host field
// (RFC 3986 3.2.2). net/http looks at that of HTTP/1 only.
func validHost(host string) bool {
	for _, c := range []byte(host) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#/<>?@\\^`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// isMethod reports whether name is a token (RFC 9110 5.6.2), which net/http
// asks of HTTP/1 only.
func isMethod(name string) bool {
	for _, c := range []byte(name) {
		if !isPlain(c) && strings.IndexByte("!#$%&'*+^`|", c) < 0 {
			return false
		}
	}
	return name != ""
}
