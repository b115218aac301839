package middleware

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// A Mode says what becomes of what is purged: package cachefetch has the same.
type Mode = engine.Mode

const (
	// Hard removes it.
	Hard = engine.Hard

	// Soft makes it stale: its stale windows begin with the purge, so that it
	// can still be served while a new response is fetched, and it can be
	// validated. Without windows and validator it is of no more use.
	Soft = engine.Soft
)

// PurgeURL purges what is stored under a URL, by either face of the cache,
// with all variants and for all methods. It is an absolute http or https URL
// with the query that clients send, whatever routers cut off its path before
// the cache, and whether or not TLS ends in front of the service. How it is
// spelled does not matter: percent-encoding, the case of the host, default ports.
// Under Policy.Query, one with parameters that do not count names the same
// responses as one without. [Cache.PurgeNames] tells how it is read.
//
// Once it has returned, nothing is served as it was that was generated before,
// nor what a run brings that was begun before: that goes to those who wait for
// it now. After a soft purge it is stored as stale. No purge waits for anything
// yet, so their contexts are not looked at. A mode that is neither Hard nor Soft
// is an error.
func (c *Cache) PurgeURL(_ context.Context, rawURL string, mode Mode) error {
	if err := checkMode("PurgeURL", mode); err != nil {
		return err
	}
	names, err := c.names("PurgeURL", rawURL)
	for _, name := range names {
		c.store.PurgeTag(name.Tag(c.seed), mode)
	}
	return err
}

// PurgeNames returns the names that PurgeURL purges for a URL: its host in small
// letters without a default port, its path decoded, and the query as it is part
// of keys: as it is sent first, then by the rules of each route there has been
// that make another one of it.
func (c *Cache) PurgeNames(rawURL string) ([]string, error) {
	names, err := c.names("PurgeNames", rawURL)
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = name.String()
	}
	return all, err
}

func (c *Cache) names(method, rawURL string) ([]key.Name, error) {
	u, err := c.purgeable(method, rawURL)
	if err != nil {
		return nil, err
	}
	var names []key.Name
	for _, q := range c.mountedQueries() {
		if name := key.NameOf(u).Under(&q); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// PurgePrefix is PurgeURL for all URLs of one host whose path begins with that
// of prefix, compared as text without its encoding: that of http://host/a also
// covers /a/b and /about. Their queries do not matter.
func (c *Cache) PurgePrefix(_ context.Context, prefix string, mode Mode) error {
	if err := checkMode("PurgePrefix", mode); err != nil {
		return err
	}
	u, err := c.purgeable("PurgePrefix", prefix)
	if err != nil {
		return err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return fmt.Errorf("middleware: PurgePrefix: %q: a prefix has no query", prefix)
	}
	c.store.PurgePrefix(key.Prefix(u), mode)
	return nil
}

// PurgeTag purges all responses with the tag: those that named it in their
// fields Surrogate-Key (tags separated by spaces) or Cache-Tag (by commas), and
// those that Policy.Tags gave it to. It promises what PurgeURL does, and takes
// the same short time however many they are.
func (c *Cache) PurgeTag(_ context.Context, tag string, mode Mode) error {
	if err := checkMode("PurgeTag", mode); err != nil {
		return err
	}
	if c.closed.Load() {
		return ErrClosed
	}
	if tag == "" || tag[0] == key.ReservedTag {
		return fmt.Errorf("middleware: PurgeTag: %q: not a tag", tag)
	}
	c.store.PurgeTag(tag, mode)
	return nil
}

// Flush purges everything. The bytes are given back little by little, as
// other responses are stored.
func (c *Cache) Flush(_ context.Context, mode Mode) error {
	if err := checkMode("Flush", mode); err != nil {
		return err
	}
	if c.closed.Load() {
		return ErrClosed
	}
	c.store.Flush(mode)
	return nil
}

func checkMode(method string, mode Mode) error {
	if !mode.Valid() {
		return fmt.Errorf("middleware: %s: mode %d: must be Hard or Soft", method, mode)
	}
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
	if u.User != nil {
		return nil, fmt.Errorf("middleware: %s: %q: a URL with user information is not a key", method, u.Redacted())
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
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
	if !q.IsZero() && !slices.ContainsFunc(c.queries, func(other Query) bool { return other.Equal(&q) }) {
		c.queries = append(c.queries, q)
	}
}

// groupTag is the tag of a group, which belongs to an origin (RFC 9875 2.1). The
// faces do not share groups: a Handler's clients choose their Host.
func groupTag(k *key.Key, group string) string {
	face := "h"
	if k.Outbound {
		face = "t"
	}
	return string(key.ReservedTag) + face + k.Origin() + string(key.ReservedTag) + group
}

// isGroupTag reports whether groupTag made a tag: the tag of a name is shorter
// than that of any group, and has no such letter after the first byte.
func isGroupTag(tag string) bool {
	return len(tag) > 9 && tag[0] == key.ReservedTag && (tag[1] == 'h' || tag[1] == 't')
}
