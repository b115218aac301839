package rfc9111

import (
	"net/http"
	"slices"
	"strings"
)

// VaryFields returns the request fields that a response's Vary names, over all
// lines and members: canonical, sorted, each once (RFC 9110 12.5.5). When star
// is true the response matches no other request (4.1).
//
// That is also the answer to a member that is no field name. No request can
// have such a field, so by the letter the response would match all of them.
func VaryFields(h http.Header) (fields []string, star bool) {
	for _, line := range h["Vary"] {
		for line != "" {
			var name string
			name, line, _ = strings.Cut(line, ",")
			name = trimOWS(name)
			switch {
			case name == "":
			case name == "*" || !isToken(name):
				return nil, true
			default:
				fields = append(fields, http.CanonicalHeaderKey(name))
			}
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields), false
}

// emptyValue stands for a field that is present and has no value. It cannot be
// the empty string: that is the absence of the field, which is different (4.1).
// To Accept-Encoding, absent means anything goes and empty means identity.
const emptyValue = ","

// AppendNormalised appends the normalised value of a request field to dst. For
// an absent field it appends nothing. In a key, a length has to go with it.
// The name is canonical.
//
// Lines are combined (RFC 9110 5.2), and then it depends on the field:
//
//   - Accept-Encoding is reduced to the set of codings it accepts.
//   - Accept-Language and Accept-Charset lose case, the whitespace around
//     their delimiters, empty members and order. Order has no meaning there:
//     weights have (RFC 9110 12.5.2, 12.5.4).
//   - Accept keeps its order. RFC 9110 12.5.1 gives it no meaning either, but
//     common negotiators take the first of equals, and would then answer one
//     client with the choice of another.
//   - Fields that are no lists, credentials among them, are compared as sent.
//   - Others only lose the whitespace around the commas of a list. Empty
//     members stay: a field of an unknown syntax may count them.
//
// The result normalises to itself.
func AppendNormalised(dst []byte, name string, lines []string) []byte {
	if len(lines) == 0 {
		return dst
	}
	start := len(dst)
	switch name {
	case "Accept-Encoding":
		dst = appendEncodings(dst, lines)
	case "Accept-Language", "Accept-Charset":
		dst = appendSorted(dst, join(lines, ", "))
	case "Accept":
		dst = appendPreferences(dst, join(lines, ", "))
	case "Cookie":
		// RFC 9113 8.2.3: HTTP/2 may split it, and "; " puts it together.
		dst = append(dst, trimOWS(join(lines, "; "))...)
	case "Authorization", "Proxy-Authorization", "Host", "Origin", "Referer", "User-Agent":
		dst = append(dst, trimOWS(join(lines, ", "))...)
	default:
		dst = appendList(dst, join(lines, ", "))
	}
	if len(dst) == start {
		dst = append(dst, emptyValue...)
	}
	return dst
}

// join is strings.Join that costs nothing for one line.
func join(lines []string, sep string) string {
	if len(lines) == 1 {
		return lines[0]
	}
	return strings.Join(lines, sep)
}

// appendList appends the members of s, each trimmed, joined with ", ". If all
// of them are empty it appends nothing.
func appendList(dst []byte, s string) []byte {
	start, empty := len(dst), true
	for {
		end, _ := memberEnd(s)
		member := trimOWS(s[:end])
		empty = empty && member == ""
		dst = append(dst, member...)
		if end == len(s) {
			break
		}
		dst = append(dst, ", "...)
		s = s[end+1:]
	}
	if empty {
		return dst[:start]
	}
	return dst
}

// appendPreferences appends the members of a list of weighted preferences.
func appendPreferences(dst []byte, s string) []byte {
	start := len(dst)
	for s != "" {
		var member string
		member, s = cutMember(s)
		if member == "" {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ", "...)
		}
		dst = appendPreference(dst, member, false)
	}
	return dst
}

// appendSorted is appendPreferences for fields in which everything is
// case-insensitive and order has no meaning.
func appendSorted(dst []byte, s string) []byte {
	if strings.IndexByte(s, '"') >= 0 {
		return appendList(dst, s) // these fields have no quoted strings
	}
	var members []string
	for s != "" {
		var member string
		member, s = cutMember(s)
		if member != "" {
			members = append(members, string(appendPreference(nil, member, true)))
		}
	}
	slices.Sort(members)
	for i, member := range members {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, member...)
	}
	return dst
}

// appendPreference appends one preference: a range, parameters, a weight (RFC
// 9110 12.4.2). The range and the names of parameters are case-insensitive,
// values of parameters only if foldValues is set: a profile in Accept is not.
func appendPreference(dst []byte, member string, foldValues bool) []byte {
	if strings.IndexByte(member, '"') >= 0 {
		// Rare, and comparing it as sent is always right.
		return append(dst, member...)
	}
	part, rest, more := strings.Cut(member, ";")
	dst = appendLower(dst, trimOWS(part))
	for more {
		part, rest, more = strings.Cut(rest, ";")
		name, value, hasValue := strings.Cut(part, "=")
		name, value = trimOWS(name), trimOWS(value)
		dst = append(dst, ';')
		dst = appendLower(dst, name)
		if !hasValue {
			continue
		}
		dst = append(dst, '=')
		if _, ok := parseWeight(value); ok && equalFold(name, "q") {
			// Trailing zeros have no meaning. The dot goes with them.
			value = strings.TrimRight(value, "0")
			value = strings.TrimSuffix(value, ".")
			if value == "" {
				value = "0"
			}
		}
		if foldValues {
			dst = appendLower(dst, value)
		} else {
			dst = append(dst, value...)
		}
	}
	return dst
}

// parseWeight reads a qvalue in thousandths (RFC 9110 12.4.2).
func parseWeight(s string) (thousandths int, ok bool) {
	if s == "" || len(s) > len("0.000") || s[0] != '0' && s[0] != '1' {
		return 0, false
	}
	if len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	unit := 1000
	thousandths = int(s[0]-'0') * unit
	for i := 2; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		unit /= 10
		thousandths += int(s[i]-'0') * unit
	}
	return thousandths, thousandths <= 1000
}
