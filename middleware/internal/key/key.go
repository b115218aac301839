// Package key says which stored response may answer a request: the key of a
// request, the values by which a response with Vary tells requests apart, and
// the name of a URL in whatever way it is spelled.
package key

import (
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"strings"
)

// A Key is everything of a request that decides which stored response may
// answer it, before the response's own Vary. GET and HEAD share their keys,
// other methods have none.
//
// All parts are compared as the client sent them: no case folding and no
// cleaning of paths, since the handler may tell apart what such rules would
// merge.
type Key struct {
	// Outbound separates what a Transport fetched from what a Handler served:
	// whoever can send a Host field must not reach the former, nor put
	// something in its place.
	Outbound bool

	TLS bool

	// Class is Rules.Class.
	Class uint32

	// Bare says that the URL ends in a "?" without a query after it, which is
	// another URL than the one without (RFC 3986 6.2.3).
	Bare bool

	Host  string // the authority, with its port if the client sent one
	Path  string // URL.Path, decoded, as the handler sees it
	Query string // URL.RawQuery, or what the rules make of it
	rest  string // what few requests have: see rest; "" where there is none of it
}

// Rules say what of a request is part of its key.
type Rules struct {
	Query    Query
	Headers  []string // canonical names of request fields, sorted
	Outbound bool     // for a Transport

	// Class keeps apart what different rules have stored under one URL. Rules
	// that have the same must agree in Headers.
	Class uint32
}

// Of returns the key of r.
func (u *Rules) Of(r *http.Request) Key {
	var k Key
	k.Set(r, u)
	return k
}

// Set makes k, which is zero, the key of r by the rules u.
func (k *Key) Set(r *http.Request, u *Rules) {
	k.Outbound, k.TLS, k.Class = u.Outbound, r.TLS != nil, u.Class
	k.Host, k.Path, k.Query = r.Host, r.URL.Path, r.URL.RawQuery
	// Middleware between the server and the cache may have changed URL.Path,
	// as http.StripPrefix does. Then two handlers under different prefixes
	// see the same path, and only the request line tells them apart.
	target := ""
	if t, ok := strings.CutPrefix(r.RequestURI, k.Path); !ok || t != "" && t[0] != '?' {
		target, _, _ = strings.Cut(r.RequestURI, "?")
	}
	if u.Query.IsZero() {
		k.Bare = r.URL.ForceQuery && k.Query == ""
	} else {
		k.Query = u.Query.Normalise(k.Query)
	}
	if target != "" || r.URL.RawPath != "" || len(u.Headers) > 0 {
		k.rest = rest(r.URL.RawPath, target, headerKey(u.Headers, r.Header))
	}
}

// rest encodes the parts of a key that are mostly empty: URL.RawPath, since
// /a%2Fb and /a/b have the same Path; the path of the request line where it is
// not Path as it stands; and the values of Rules.Headers.
func rest(rawPath, target, headers string) string {
	b := make([]byte, 0, len(rawPath)+len(target)+len(headers)+8)
	return string(appendPart(appendPart(appendPart(b, rawPath), target), headers))
}

// restParts returns what rest has encoded.
func (k *Key) restParts() (rawPath, target, headers string) {
	rawPath, after := cutPart(k.rest)
	target, after = cutPart(after)
	headers, _ = cutPart(after)
	return rawPath, target, headers
}

// cutPart undoes appendPart.
func cutPart(s string) (part, after string) {
	n, size := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if size <= 0 || n > uint64(len(s)-size) {
		return "", ""
	}
	return s[size:][:n], s[size:][n:]
}

func appendPart(b []byte, part string) []byte {
	b = binary.AppendUvarint(b, uint64(len(part)))
	return append(b, part...)
}

// Hash mixes the parts into 64 bits. Every part is hashed with the seed, so
// collisions cannot be made to order.
func (k *Key) Hash(seed maphash.Seed) uint64 {
	h := mix(maphash.String(seed, k.Path), maphash.String(seed, k.Host))
	if k.Query != "" {
		h = mix(h, maphash.String(seed, k.Query)+1)
	}
	if k.rest != "" {
		h = mix(h, maphash.String(seed, k.rest)+2)
	}
	if k.TLS {
		h = mix(h, 3)
	}
	if k.Outbound {
		h = mix(h, 4)
	}
	if k.Bare {
		h = mix(h, 5)
	}
	if k.Class != 0 {
		h = mix(h, 6+uint64(k.Class))
	}
	return h
}

// mix combines two hashes so that their order matters. The multiplier is the
// fractional part of the golden ratio, as in Fibonacci hashing.
func mix(h, x uint64) uint64 {
	h = (h ^ x) * 0x9E3779B97F4A7C15
	return h ^ h>>32
}

// String encodes k injectively, each part with its length: no such string is
// the beginning of another key's.
func (k *Key) String() string {
	b := make([]byte, 0, 16+k.Size())
	var flags byte
	for i, set := range [...]bool{k.Outbound, k.TLS, k.Bare} {
		if set {
			flags |= 1 << i
		}
	}
	b = binary.AppendUvarint(append(b, flags), uint64(k.Class))
	for _, part := range []string{k.Host, k.Path, k.Query, k.rest} {
		b = appendPart(b, part)
	}
	return string(b)
}

// Clone returns a copy of k that does not keep the request's memory alive. Its
// parts lie side by side: to compare a key that is not in the processor's
// caches is a good part of what such a hit costs.
func (k *Key) Clone() Key {
	all := k.Host + k.Path + k.Query + k.rest
	part := func(s string) string {
		p := all[:len(s)]
		all = all[len(s):]
		return p
	}
	c := *k
	c.Host, c.Path, c.Query, c.rest = part(k.Host), part(k.Path), part(k.Query), part(k.rest)
	return c
}

// Size is how many bytes a clone of k refers to.
func (k *Key) Size() int64 { return int64(len(k.Host) + len(k.Path) + len(k.Query) + len(k.rest)) }

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
