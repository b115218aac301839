package middleware

import (
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A key is everything of a request that decides which stored response may
// answer it, before the response's own Vary. GET and HEAD share their keys,
// other methods have none.
//
// All parts are compared as the client sent them: no case folding and no
// cleaning of paths, since the handler may tell apart what such rules would
// merge.
type key struct {
	// outbound separates what a Transport fetched from what a Handler served:
	// whoever can send a Host field must not reach the former, nor put
	// something in its place.
	outbound bool

	tls bool

	// search is the number of the rule by which query is a normal form, or
	// ofPath. No key that is made from a request has one.
	search searchID

	// bare says that the URL ends in a "?" without a query after it, which is
	// another URL than the one without (RFC 3986 6.2.3).
	bare bool

	host  string // the authority, with its port if the client sent one
	path  string // URL.Path, decoded, as the handler sees it
	query string // URL.RawQuery, or what Policy.Query makes of it
	rest  string // what few requests have: see rest; "" where there is none of it
}

// key returns the key of r.
func (h *handler) key(r *http.Request) key {
	var k key
	k.set(r, &h.policy, h.outbound)
	return k
}

// set makes k, which is zero, the key of r under the policy p. Outbound says
// that it is for a Transport.
func (k *key) set(r *http.Request, p *Policy, outbound bool) {
	k.outbound, k.tls = outbound, r.TLS != nil
	k.host, k.path, k.query = r.Host, r.URL.Path, r.URL.RawQuery
	// Middleware between the server and the cache may have changed URL.Path,
	// as http.StripPrefix does. Then two handlers under different prefixes
	// see the same path, and only the request line tells them apart.
	target := ""
	if t, ok := strings.CutPrefix(r.RequestURI, k.path); !ok || t != "" && t[0] != '?' {
		target, _, _ = strings.Cut(r.RequestURI, "?")
	}
	if p.Query.isZero() {
		k.bare = r.URL.ForceQuery && k.query == ""
	} else {
		k.query = p.Query.normalise(k.query)
	}
	if target != "" || r.URL.RawPath != "" || len(p.Headers) > 0 {
		k.rest = rest(r.URL.RawPath, target, headerKey(p.Headers, r.Header))
	}
}

// rest encodes the parts of a key that are mostly empty: URL.RawPath, since
// /a%2Fb and /a/b have the same Path; the path of the request line where it is
// not Path as it stands; and the values of Policy.Headers.
func rest(rawPath, target, headers string) string {
	b := make([]byte, 0, len(rawPath)+len(target)+len(headers)+8)
	return string(appendPart(appendPart(appendPart(b, rawPath), target), headers))
}

// restParts returns what rest has encoded, without the header fields.
func (k *key) restParts() (rawPath, target string) {
	rawPath, after := cutPart(k.rest)
	target, _ = cutPart(after)
	return rawPath, target
}

// cutPart undoes appendPart.
func cutPart(s string) (part, after string) {
	n, size := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if size <= 0 || n > uint64(len(s)-size) {
		return "", ""
	}
	return s[size:][:n], s[size:][n:]
}

// hash mixes the parts into 64 bits. Every part is hashed with the seed, so
// collisions cannot be made to order.
func (k *key) hash(seed maphash.Seed) uint64 {
	h := mix(maphash.String(seed, k.path), maphash.String(seed, k.host))
	if k.query != "" {
		h = mix(h, maphash.String(seed, k.query)+1)
	}
	if k.rest != "" {
		h = mix(h, maphash.String(seed, k.rest)+2)
	}
	if k.tls {
		h = mix(h, 3)
	}
	if k.outbound {
		h = mix(h, 4)
	}
	if k.bare {
		h = mix(h, 260)
	}
	if k.search != noSearch {
		h = mix(h, 5+uint64(k.search))
	}
	return h
}

// mix combines two hashes so that their order matters. The multiplier is the
// fractional part of the golden ratio, as in Fibonacci hashing.
func mix(h, x uint64) uint64 {
	h = (h ^ x) * 0x9E3779B97F4A7C15
	return h ^ h>>32
}

// string encodes k injectively: each part with its length.
func (k *key) string() string {
	b := make([]byte, 0, 16+k.size())
	if k.outbound {
		b = append(b, 'o')
	}
	if k.tls {
		b = append(b, 's')
	} else {
		b = append(b, 'p')
	}
	if k.bare {
		b = append(b, '?')
	}
	b = append(b, byte(k.search))
	for _, part := range []string{k.host, k.path, k.query, k.rest} {
		b = appendPart(b, part)
	}
	return string(b)
}

// ofPath returns the key of what is known of k's path, whatever the query.
func (k *key) ofPath() key {
	p := *k
	p.query, p.bare, p.search = "", false, ofPath
	return p
}

// clone returns a copy of k that does not keep the request's memory alive. Its
// parts lie side by side: to compare a key that is not in the processor's
// caches is a good part of what such a hit costs.
func (k *key) clone() key {
	all := k.host + k.path + k.query + k.rest
	part := func(s string) string {
		p := all[:len(s)]
		all = all[len(s):]
		return p
	}
	return key{k.outbound, k.tls, k.search, k.bare, part(k.host), part(k.path), part(k.query), part(k.rest)}
}

func (k *key) size() int64 { return int64(len(k.host) + len(k.path) + len(k.query) + len(k.rest)) }

func appendPart(b []byte, part string) []byte {
	b = binary.AppendUvarint(b, uint64(len(part)))
	return append(b, part...)
}

// headerKey encodes the values of the named fields, absent ones too.
func headerKey(names []string, h http.Header) string {
	var b []byte
	for _, name := range names {
		values := h[name]
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendPart(b, v)
		}
	}
	return string(b)
}

// normalise returns the part of a raw query that counts. Parameters are split
// at "&" only: a ";" is part of a value, as in package net/url, so a cloaked
// parameter is not seen by one of key and handler alone.
func (q *Query) normalise(raw string) string {
	if q.isZero() || raw == "" {
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
