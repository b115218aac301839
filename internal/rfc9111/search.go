package rfc9111

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dunglas/httpsfv"
)

// A Search is what a No-Vary-Search field says of the queries of a path: the
// URL variation config of draft-ietf-httpbis-no-vary-search.
type Search struct {
	names    []string // decoded, sorted, each once
	except   bool     // only parameters with these names count; else all others do
	anyOrder bool     // of parameters with different names
}

// ParseSearch parses all lines of a No-Vary-Search field. It is read strictly:
// ok is false for a field that is absent or not valid, and for one that makes
// no two queries equivalent (section 4).
//
// The algorithm of the draft's current text drops key-order where it stands
// alone; its introduction and its examples have it that way, and they are
// followed.
func ParseSearch(lines []string) (s Search, ok bool) {
	if len(lines) == 0 {
		return Search{}, false
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return Search{}, false
	}
	if member, found := d.Get("key-order"); found {
		item, _ := member.(httpsfv.Item)
		if s.anyOrder, ok = item.Value.(bool); !ok {
			return Search{}, false
		}
	}
	params, hasParams := d.Get("params")
	except, hasExcept := d.Get("except")
	switch {
	case hasParams && hasExcept:
		return Search{}, false
	case hasParams:
		s.names, ok = searchNames(params)
	case hasExcept:
		s.except = true
		s.names, ok = searchNames(except)
	default:
		ok = true
	}
	if !ok || !s.except && !s.anyOrder && len(s.names) == 0 {
		return Search{}, false
	}
	return s, true
}

// searchNames returns the names in an inner list of strings.
func searchNames(member httpsfv.Member) ([]string, bool) {
	list, ok := member.(httpsfv.InnerList)
	if !ok {
		return nil, false
	}
	names := make([]string, 0, len(list.Items))
	for _, item := range list.Items {
		name, ok := item.Value.(string)
		if !ok {
			return nil, false
		}
		names = append(names, decodeForm(name))
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// Equal reports whether s and t say the same.
func (s Search) Equal(t Search) bool {
	return s.except == t.except && s.anyOrder == t.anyOrder && slices.Equal(s.names, t.names)
}

// Normal returns the normal form of a raw query: two queries are equivalent
// under s iff theirs are the same text (section 5). It is a query itself, its
// own normal form, and ASCII.
func (s Search) Normal(raw string) string {
	type param struct{ name, value string }
	var params []param
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = decodeForm(name)
		if _, named := slices.BinarySearch(s.names, name); named == s.except {
			params = append(params, param{name, decodeForm(value)})
		}
	}
	if s.anyOrder { // stable: the order of the values of one name has a meaning
		slices.SortStableFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	}
	var b strings.Builder
	for i, p := range params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.value))
	}
	return b.String()
}

// Unambiguous reports whether all parsers read a raw query alike. They do not
// agree on a ";", on a "%" that begins no escape, and on what is not UTF-8:
// some split, some drop the parameter, some keep it as it is.
func Unambiguous(raw string) bool {
	if strings.IndexByte(raw, ';') >= 0 {
		return false
	}
	decoded, err := url.QueryUnescape(raw)
	return err == nil && utf8.ValidString(decoded)
}

// decodeForm decodes a name or a value as the parser of
// application/x-www-form-urlencoded does (URL Standard 5.1): what is no escape
// stays, what is not UTF-8 becomes U+FFFD.
func decodeForm(s string) string {
	if strings.ContainsAny(s, "+%") {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '+':
				b = append(b, ' ')
			case c == '%' && i+2 < len(s) && unhex(s[i+1]) < 16 && unhex(s[i+2]) < 16:
				b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
				i += 2
			default:
				b = append(b, c)
			}
		}
		s = string(b)
	}
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			n = brokenLen(s)
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// brokenLen returns how many bytes at the beginning of s, which does not begin
// with a character, become one U+FFFD: as many as could begin one, at least 1
// (Encoding Standard 8.1.1). Package strings would replace whole runs.
func brokenLen(s string) int {
	n := 1
	for n < len(s) && !utf8.FullRuneInString(s[:n+1]) {
		n++
	}
	return n
}

// unhex returns the value of a hexadecimal digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
