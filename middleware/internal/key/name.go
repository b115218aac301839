package key

import (
	"hash/maphash"
	"net/url"
	"strings"
)

// A Name is a URL as purges know it: however a client, a router or an operator
// spells it (RFC 9110 4.2.3, RFC 3986 6.2.2). Keys that spell a URL differently
// are different keys and have one name.
//
// The scheme is not part of it: TLS mostly ends in front of a service, which
// then sees http where its clients see https.
type Name struct {
	host  string // in small letters, without a default port
	path  string // without encoding, but for what has a meaning encoded
	query string // the same
}

// NameOf returns the name of an absolute URL.
func NameOf(u *url.URL) Name {
	return Name{spellHost(u.Host), spellPath(escapedPath(u)), spell(u.RawQuery, querySpecial)}
}

// Under returns the name that responses have which are stored by these rules
// for queries.
func (n Name) Under(q *Query) Name {
	n.query = q.Normalise(n.query)
	return n
}

// Names returns the names of what is stored under k: that by which a client
// asked, and where a request was sent to one host in the name of another, both.
func (k *Key) Names() []Name {
	rawPath, target, _ := k.restParts()
	query := spell(k.Query, querySpecial)
	own := func(path string) Name { return Name{spellHost(k.Host), spellPath(path), query} }
	switch {
	case target == "":
		return []Name{own(escapedPath(&url.URL{Path: k.Path, RawPath: rawPath}))}
	case target[0] == '/':
		return []Name{own(target)}
	}
	u, err := url.Parse(target) // the whole URL, which some clients send (RFC 9112 3.2.2)
	if err != nil || u.Host == "" {
		return []Name{own(target)}
	}
	there := Name{spellHost(u.Host), spellPath(escapedPath(u)), query}
	if named := own(escapedPath(u)); named != there {
		return []Name{there, named}
	}
	return []Name{there}
}

// Ordinary reports whether k spells its URL as its name does and says nothing
// beside it: then it is one of the keys that Ordinary returns for the name.
func (k *Key) Ordinary() bool {
	if k.rest != "" || k.Outbound || k.Bare {
		return false
	}
	names := k.Names()
	return names[0] == Name{k.Host, k.Path, k.Query}
}

// Ordinary returns the keys by which most clients of a Handler ask for n, of class
// 0.
func (n Name) Ordinary() [2]Key {
	return [2]Key{
		{Host: n.host, Path: n.path, Query: n.query},
		{Host: n.host, Path: n.path, Query: n.query, TLS: true},
	}
}

// Origin returns scheme and host of k.
func (k *Key) Origin() string { return k.scheme() + "://" + strings.ToLower(k.Host) }

func (k *Key) scheme() string {
	if k.TLS {
		return "https"
	}
	return "http"
}

// URL returns the URL that k was made from, as far as it is known.
func (k *Key) URL() *url.URL {
	rawPath, target, _ := k.restParts()
	u := &url.URL{Scheme: k.scheme(), Host: k.Host, Path: k.Path, RawPath: rawPath, RawQuery: k.Query}
	if target == "" {
		return u
	}
	sent, err := url.Parse(target)
	if err != nil {
		return u
	}
	u.Path, u.RawPath = sent.Path, sent.RawPath
	if sent.Host != "" {
		u.Scheme, u.Host = sent.Scheme, sent.Host
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u
}

// Tag returns the tag of what has this name: it is short, whatever the URL. That
// two names may have one tag lets a purge reach too much, and nothing else.
func (n Name) Tag(seed maphash.Seed) string {
	h := mix(mix(maphash.String(seed, n.host), maphash.String(seed, n.path)), maphash.String(seed, n.query))
	b := make([]byte, 0, 9)
	b = append(b, ReservedTag)
	for range 8 {
		b = append(b, byte(h))
		h >>= 8
	}
	return string(b)
}

// ReservedTag begins the tags that are the cache's own. No field can have it.
const ReservedTag = '\x00'

// String returns host, path and query.
func (n Name) String() string {
	s := n.host + n.path
	if n.query != "" {
		s += "?" + n.query
	}
	return s
}

// Prefix returns what the names below u, which has no query, begin with. It is
// compared without any encoding: rather too much is reached than too little.
func Prefix(u *url.URL) string {
	path := u.Path
	if path == "" {
		path = "/"
	}
	return spellHost(u.Host) + path
}

// HasPrefix reports whether the name begins with what Prefix returned.
func (n Name) HasPrefix(prefix string) bool {
	rest, ok := strings.CutPrefix(prefix, n.host)
	return ok && strings.HasPrefix(spell(n.path, ""), rest)
}

// escapedPath returns the path of u as it was spelled. It is tempting to use
// u.EscapedPath: where net/url would encode a character that was sent as it is,
// that spells the decoded path anew, and an encoded slash becomes a slash.
func escapedPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// spellHost returns an authority in small letters and without the ports that
// http and https have by default.
func spellHost(host string) string {
	host = strings.ToLower(host)
	for _, port := range [...]string{":80", ":443", ":"} {
		if bare, ok := strings.CutSuffix(host, port); ok && !strings.HasSuffix(bare, ":") {
			return bare
		}
	}
	return host
}

// What has another meaning when it is encoded.
const (
	pathSpecial  = "/%?"
	querySpecial = "&=+%#;"
)

func spellPath(path string) string {
	if path == "" {
		return "/"
	}
	return spell(path, pathSpecial)
}

// spell decodes what means the same without its encoding, and writes the rest in
// capitals.
func spell(s, special string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			b = append(b, s[i])
			continue
		}
		c := unhex(s[i+1])<<4 | unhex(s[i+2])
		if strings.IndexByte(special, c) >= 0 {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
		i += 2
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
