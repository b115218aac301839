package middleware

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A Mode says what becomes of what is purged.
type Mode uint8

const (
	// Hard removes it.
	Hard Mode = iota

	// Soft makes it stale: its stale windows begin with the purge, so that it
	// can still be served while a new response is fetched, and it can be
	// validated. Without windows and validator it is of no more use.
	Soft
)

func (m Mode) engine() engine.Mode {
	if m == Soft {
		return engine.Soft
	}
	return engine.Hard
}

// PurgeURL purges what is stored under a URL, by either face of the cache,
// with all variants and for all methods. It is an absolute http or https URL
// with the query that clients send, whatever routers cut off its path before
// the cache. Under Policy.Query, one with parameters that do not count names
// the same responses as one without, and so does an equivalent one where
// responses have come with No-Vary-Search.
//
// Once it has returned, nothing is served as it was that was generated before,
// nor what a run brings that was begun before: that goes to those who wait for
// it now. After a soft purge it is stored as stale.
func (c *Cache) PurgeURL(rawURL string, mode Mode) error {
	u, err := c.purgeable("PurgeURL", rawURL)
	if err != nil {
		return err
	}
	c.removing()
	base := site(u.Scheme, u.Host) + u.EscapedPath()
	purged := make(map[string]bool)
	for _, q := range c.mountedQueries() {
		for _, k := range c.equivalents(key{query: q.normalise(u.RawQuery)}) {
			if tag := k.urlTag(base); !purged[tag] {
				purged[tag] = true
				c.store.PurgeTag(tag, mode.engine())
			}
		}
	}
	return nil
}

// PurgePrefix is PurgeURL for all URLs of one scheme and host whose path
// begins with that of prefix, compared as text without its encoding: that of
// http://host/a also covers /a/b and /about. Their queries do not matter.
func (c *Cache) PurgePrefix(prefix string, mode Mode) error {
	u, err := c.purgeable("PurgePrefix", prefix)
	if err != nil {
		return err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return fmt.Errorf("middleware: PurgePrefix: %q: a prefix has no query", prefix)
	}
	c.store.PurgePrefix(site(u.Scheme, u.Host)+u.Path, mode.engine())
	return nil
}

// PurgeTag purges all responses with the tag: those that named it in their
// fields Surrogate-Key (tags separated by spaces) or Cache-Tag (by commas), and
// those that Policy.Tags gave it to. It promises what PurgeURL does, and takes
// the same short time however many they are.
func (c *Cache) PurgeTag(tag string, mode Mode) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if tag == "" || tag[0] == reservedTag {
		return fmt.Errorf("middleware: PurgeTag: %q: not a tag", tag)
	}
	c.store.PurgeTag(tag, mode.engine())
	return nil
}

// Flush purges everything. The bytes are given back little by little, as
// other responses are stored.
func (c *Cache) Flush(mode Mode) error {
	if c.closed.Load() {
		return ErrClosed
	}
	c.store.Flush(mode.engine())
	return nil
}

// purgeable parses the URL that a purge is given.
func (c *Cache) purgeable(method, raw string) (*url.URL, error) {
	if c.closed.Load() {
		return nil, ErrClosed
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("middleware: %s: %w", method, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("middleware: %s: %q: not an absolute http or https URL", method, raw)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// mountedQueries returns the rules for queries of all routes there have been,
// and the one that changes nothing.
func (c *Cache) mountedQueries() []Query {
	c.queriesMu.Lock()
	defer c.queriesMu.Unlock()
	return append([]Query{{}}, c.queries...)
}

// noteQuery makes PurgeURL find what is stored under q.
func (c *Cache) noteQuery(q Query) {
	c.queriesMu.Lock()
	defer c.queriesMu.Unlock()
	same := func(other Query) bool {
		return slices.Equal(q.Allow, other.Allow) && slices.Equal(q.Ignore, other.Ignore) && q.Sort == other.Sort
	}
	if !q.isZero() && !slices.ContainsFunc(c.queries, same) {
		c.queries = append(c.queries, q)
	}
}

// reservedTag begins the tags that are the cache's own: the URL of what is
// stored, and the groups of RFC 9875. No field can have it.
const reservedTag = '\x00'

// urlTag is the tag of all that is stored under a URL, given without its query
// and in the form of site and url.URL.EscapedPath.
func urlTag(base, query string) string {
	if query != "" {
		query = "?" + query
	}
	return string(reservedTag) + base + query
}

// groupTag is the tag of a group, which belongs to an origin (RFC 9875 2.1). The
// faces do not share groups: a Handler's clients choose their Host.
func (k *key) groupTag(group string) string {
	face := "h"
	if k.outbound {
		face = "t"
	}
	return string(reservedTag) + face + site(k.scheme(), k.host) + string(reservedTag) + group
}

// isGroupTag reports whether groupTag made a tag. A URL has no such byte.
func isGroupTag(tag string) bool {
	return tag[0] == reservedTag && strings.IndexByte(tag[1:], reservedTag) >= 0
}

// site writes scheme and host as tags and prefixes have them. Hosts are
// compared without case here, unlike in keys: what a purge reaches too much is
// fetched again.
func site(scheme, host string) string { return scheme + "://" + strings.ToLower(host) }

func (k *key) scheme() string {
	if k.tls {
		return "https"
	}
	return "http"
}

// places returns where clients found what is stored under k: scheme and host,
// and the path as it was sent. There are two where a request was sent to one
// host in the name of another.
func (k *key) places() (bases []string) {
	rawPath, target := k.restParts()
	base := site(k.scheme(), k.host)
	switch {
	case target == "":
		u := url.URL{Path: k.path, RawPath: rawPath}
		return []string{base + u.EscapedPath()}
	case target[0] == '/':
		if u, err := url.ParseRequestURI(target); err == nil {
			target = u.EscapedPath()
		}
		return []string{base + target}
	}
	u, err := url.Parse(target) // the whole URL, which some clients send (RFC 9112 3.2.2)
	if err != nil || u.Host == "" {
		return []string{base + target}
	}
	if u.Path == "" {
		u.Path = "/"
	}
	bases = []string{site(u.Scheme, u.Host) + u.EscapedPath()}
	if named := base + u.EscapedPath(); named != bases[0] {
		bases = append(bases, named)
	}
	return bases
}

// urlTags are the tags by which PurgeURL finds what is stored under k.
func (k *key) urlTags() []string {
	tags := k.places()
	for i, base := range tags {
		tags[i] = k.urlTag(base)
	}
	return tags
}

func (k *key) urlTag(base string) string {
	if k.search != noSearch {
		return searchTag(base, k.query, k.search)
	}
	return urlTag(base, k.query)
}

// hasPrefix reports whether an object's URL begins with what PurgePrefix made
// of a prefix.
func hasPrefix(o *object, prefix string) bool {
	if o.key.rest == "" { // nearly always, and quickly
		scheme, rest, _ := strings.Cut(prefix, "://")
		n := len(o.key.host)
		return scheme == o.key.scheme() && len(rest) > n && strings.EqualFold(rest[:n], o.key.host) &&
			strings.HasPrefix(o.key.path, rest[n:])
	}
	for _, base := range o.key.places() {
		if decoded, err := url.PathUnescape(base); err == nil {
			base = decoded
		}
		if strings.HasPrefix(base, prefix) {
			return true
		}
	}
	return false
}

// tags returns the tags of a response to be stored under x's key, without
// those of its URL.
func (x *exchange) tags(v *verdict) []string {
	tags := rfc9111.SurrogateKeys(v.header)
	for _, group := range rfc9111.Groups(v.header["Cache-Groups"]) {
		tags = append(tags, x.q.key.groupTag(group))
	}
	if x.policy.Tags != nil {
		k := x.own()
		own := x.policy.Tags(k.url(), v.header.Clone())
		tags = append(tags, slices.DeleteFunc(slices.Clone(own), func(tag string) bool {
			return tag == "" || tag[0] == reservedTag
		})...)
	}
	return tags
}

// url returns the URL that k was made from, as far as it is known.
func (k *key) url() *url.URL {
	u := &url.URL{Path: k.path}
	if parsed, err := url.Parse(k.places()[0]); err == nil {
		u = parsed
	}
	u.RawQuery = k.query
	return u
}

// tagged returns tags with those of the URL of k, which is a clone.
func (k *key) tagged(tags []string) []string { return slices.Clip(append(k.urlTags(), tags...)) }
