package key

import (
	"net/url"
	"slices"
	"strings"
)

// Query says which parameters of the query string are part of a key. When any
// of its fields is set, parameters are compared in sorted order, values of one
// name in the order sent.
//
// A handler on a route that sets Allow or Ignore sees only the parameters that
// are part of the key: one that is not, cannot change a stored response.
type Query struct {
	// Allow lists the parameters that count. All others are dropped.
	Allow []string

	// Ignore lists parameters that do not count, such as "utm_source".
	// A trailing "*" matches any ending. It cannot be combined with Allow.
	Ignore []string

	// Sort makes a=1&b=2 and b=2&a=1 the same key.
	Sort bool
}

// IsZero reports whether the query is part of the key as it was sent.
func (q *Query) IsZero() bool { return len(q.Allow) == 0 && len(q.Ignore) == 0 && !q.Sort }

// Equal reports whether two rules are the same.
func (q *Query) Equal(other *Query) bool {
	return slices.Equal(q.Allow, other.Allow) && slices.Equal(q.Ignore, other.Ignore) && q.Sort == other.Sort
}

// Normalise returns the part of a raw query that counts. Parameters are split
// at "&" only: a ";" is part of a value, as in package net/url, so a cloaked
// parameter is not seen by one of key and handler alone.
func (q *Query) Normalise(raw string) string {
	if q.IsZero() || raw == "" {
		return raw
	}
	type param struct{ name, pair string }
	var params []param
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		} else {
			name = spell(name, querySpecial) // so that its place does not depend on how it is spelled
		}
		if q.counts(name) {
			params = append(params, param{name, pair})
		}
	}
	// Stable: the order of the values of one name has a meaning.
	slices.SortStableFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	pairs := make([]string, len(params))
	for i, p := range params {
		pairs[i] = p.pair
	}
	return strings.Join(pairs, "&")
}

func (q *Query) counts(name string) bool {
	if len(q.Allow) > 0 {
		return slices.Contains(q.Allow, name)
	}
	return !slices.ContainsFunc(q.Ignore, func(pattern string) bool {
		prefix, any := strings.CutSuffix(pattern, "*")
		return name == pattern || any && strings.HasPrefix(name, prefix)
	})
}
