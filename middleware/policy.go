package middleware

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/freshet-go/freshet/internal/option"
	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// A Policy says how the responses of one route are cached. It is plain data:
// it can be read from a configuration file, and the [Cache] copies what it needs
// when the route is mounted.
//
// The zero Policy is right for most routes. It obeys the response's own
// Cache-Control and Expires fields and stores nothing that did not ask for it.
type Policy struct {
	// Name labels the route in metrics. When empty, the route pattern of the
	// chi or net/http router is used, or "other" when there is none.
	Name string

	// TTL is how long a response without explicit freshness of its own is
	// fresh. Zero means such a response is not stored.
	//
	// A TTL never overrides no-store, private, no-cache, Vary: *, Set-Cookie
	// or Authorization, it applies only to status codes that RFC 9110 15.1
	// calls heuristically cacheable (200, 203, 204, 300, 301, 308, 404, 405,
	// 410, 414, 501), and never to a request that carries a Cookie, a client
	// certificate or one of Credentials, since nothing then says that the
	// response is meant for anyone else.
	TTL time.Duration

	// StatusTTL replaces TTL for single status codes, for example
	// {404: 5 * time.Second}. A zero value means: not stored by policy.
	StatusTTL map[int]time.Duration

	// HeuristicLimit is the longest lifetime that is assumed for a response
	// without explicit freshness that says when it was last modified: a tenth
	// of the time since then (RFC 9111 4.2.2). Zero means none is assumed.
	// TTL comes first; its exceptions hold here too.
	HeuristicLimit time.Duration

	// TargetedFields names the response fields that replace Cache-Control and
	// Expires for this cache, the first that is valid (RFC 9213). Nil means
	// CDN-Cache-Control; an empty list that is not nil means none.
	TargetedFields []string

	// SetCookie says what becomes of responses that set cookies. Empty means
	// [RefuseSetCookie].
	SetCookie SetCookie

	// StaleWhileRevalidate is how long after it stopped being fresh a
	// response may still be served at once while one refresh runs behind
	// (RFC 5861 3). The response's own directive wins. Zero means never,
	// unless the response says so. It does not apply where the response
	// forbids stale use (must-revalidate, proxy-revalidate, s-maxage).
	StaleWhileRevalidate time.Duration

	// StaleIfError is how long after it stopped being fresh a response may be
	// served when the handler fails: it answers 500, 502, 503 or 504, panics,
	// or exceeds FillTimeout (RFC 5861 4). The response's own directive wins.
	// The same exceptions hold.
	StaleIfError time.Duration

	// SoftTimeout is how long a request waits for the handler's response
	// header where a stale response may be used if the handler fails. After
	// that it is answered with the stale one, while the run goes on and its
	// result is stored. Zero means it waits for the handler.
	SoftTimeout time.Duration

	// FillTimeout bounds how long a run of the handler takes to its response
	// header; its context ends then. A body that takes longer goes on for those
	// who read it, and is not stored. Zero means 60 seconds. A response that
	// turns out not to be storable is not bound by it: it lives as long as its
	// own client.
	FillTimeout time.Duration

	// WaitTimeout bounds how long a request waits for the response header of
	// another request's run. After that it is answered with a stale response
	// if there is one that may be used, else with 503 and Retry-After. Zero
	// means it waits until that run ends, at most FillTimeout.
	WaitTimeout time.Duration

	// MaxWaiting bounds the requests of the route that wait for the response
	// header of another request's run at one time. One that comes on top is
	// answered at once, as after WaitTimeout. Zero means 20,000: those of
	// four seconds at 5,000 a second.
	MaxWaiting int

	// MaxOrphans is how many runs of the route do not go on any more when all
	// their clients have left: fewer do, since what they bring will be stored.
	// The others end with their clients, as without a cache. Zero means 100.
	MaxOrphans int

	// MaxBodyBytes is the largest body stored. A larger one streams through
	// to its client, whole, and is not stored. Zero means 8 MiB, or an eighth
	// of Options.MaxBytes if that is less, which is also the upper bound.
	MaxBodyBytes int64

	// MaxBytes bounds the bytes of the route's stored responses, with their keys
	// and bookkeeping: one route whose URLs anyone can make up then pushes out
	// its own responses and no others. The coldest make room. Routes with the same
	// Name share it, by the number of the one mounted last. Zero means that
	// only Options.MaxBytes bounds them; at least 64 KiB otherwise.
	MaxBytes int64

	// MaxVariants bounds how many responses are kept for one URL that differ
	// by their Vary fields. Beyond it, the one whose last use is longest ago
	// makes room. Zero means 32.
	MaxVariants int

	// Query says which query parameters are part of the key. The zero value
	// keys on the query string exactly as it was sent.
	Query Query

	// Credentials names request fields that say who a client is. A lifetime
	// that only the policy gives (TTL, StatusTTL, HeuristicLimit) applies to no
	// request with one of them, as to none with a Cookie or a client
	// certificate, unless it is among Headers. Authorization counts in any case.
	// Nil means [DefaultCredentials]; an empty list that is not nil means none.
	// A response that says itself how long it is fresh is for those requests too.
	Credentials []string

	// Headers names request fields whose values are part of the key, beside
	// those that the response names in Vary. With Authorization or Cookie
	// among them each of their values has responses of its own, and the rules
	// that keep requests with them from what is stored do not apply.
	Headers []string

	// RequestDirectives says whether the Cache-Control of requests counts
	// (RFC 9111 5.2.1). Empty means what is right where the Policy is used:
	// [IgnoreDirectives] for [Cache.Handler], whose clients are strangers.
	RequestDirectives RequestDirectives

	// Tags returns the tags of a response by which [Cache.PurgeTag] finds it,
	// beside those that the response names itself. It is called once for each
	// response that is stored, must not keep or change what it is given, and
	// must be safe for concurrent use. The URL is the one that clients ask
	// for. Nil means none.
	Tags func(u *url.URL, response http.Header) []string

	// HideStatus leaves the Cache-Status field out of responses. The same
	// facts remain in the metrics.
	HideStatus bool
}

// RequestDirectives says whether the Cache-Control of requests counts.
type RequestDirectives string

// What [Policy.RequestDirectives] can be.
const (
	// IgnoreDirectives answers from the store whatever the request says: a
	// stranger cannot make the origin work.
	IgnoreDirectives RequestDirectives = "ignore"

	// HonourDirectives obeys no-cache, no-store, max-age, max-stale,
	// min-fresh and only-if-cached (answered 504 if nothing is stored).
	HonourDirectives RequestDirectives = "honour"
)

// SetCookie says what becomes of responses that set cookies. An origin that
// names the field itself, as in private="Set-Cookie", is obeyed in any case.
type SetCookie string

// What [Policy.SetCookie] can be.
const (
	// RefuseSetCookie shares no response that sets a cookie.
	RefuseSetCookie SetCookie = "refuse"

	// StripSetCookie gives the cookie to the client that asked the handler,
	// and the response without it to all others.
	StripSetCookie SetCookie = "strip"

	// StoreSetCookie stores the cookie and gives it to everyone, as RFC 9111
	// 7.3 permits: for cookies that say nothing of a client.
	StoreSetCookie SetCookie = "store"
)

// Query says which parameters of the query string are part of a key. The zero
// value takes the query as it was sent.
type Query = key.Query

const (
	defaultFillTimeout  = 60 * time.Second
	defaultMaxBodyBytes = 8 << 20
	defaultMaxVariants  = 32
	defaultMaxWaiting   = 20_000
	defaultMaxOrphans   = 100
)

// DefaultCredentials are the request fields that Policy.Credentials stands for
// when it is nil: Api-Key, Private-Token, Proxy-Authorization, X-Access-Token,
// X-Amz-Security-Token, X-Api-Key, X-Auth-Token, X-Forwarded-User,
// X-Session-Token and X-Vault-Token.
func DefaultCredentials() []string {
	return []string{
		"Api-Key", "Private-Token", "Proxy-Authorization", "X-Access-Token", "X-Amz-Security-Token",
		"X-Api-Key", "X-Auth-Token", "X-Forwarded-User", "X-Session-Token", "X-Vault-Token",
	}
}

// Validate reports every field of p that no [Cache] would accept, each with
// its name and value. [Cache.Handler] panics with the same error.
func (p Policy) Validate() error {
	bad := option.Of("middleware: Policy")
	p.checkTimes(bad)
	p.checkWords(bad)
	option.NotNegative(bad, "MaxBodyBytes", p.MaxBodyBytes)
	option.NotNegative(bad, "MaxBytes", p.MaxBytes)
	if 0 < p.MaxBytes && p.MaxBytes < minBytes {
		bad.Add("MaxBytes", p.MaxBytes, fmt.Sprintf("must be at least %d bytes, or 0 for no bound", minBytes))
	}
	if 0 < p.MaxBytes && p.MaxBytes < p.MaxBodyBytes {
		bad.Add("MaxBodyBytes", p.MaxBodyBytes, fmt.Sprintf("more than {MaxBytes}, %d", p.MaxBytes), "MaxBytes")
	}
	option.NotNegative(bad, "MaxWaiting", p.MaxWaiting)
	option.NotNegative(bad, "MaxOrphans", p.MaxOrphans)
	option.NotNegative(bad, "MaxVariants", p.MaxVariants)
	p.checkNames(bad)
	return bad.Err()
}

func (p *Policy) checkTimes(bad *option.Errors) {
	option.NotNegative(bad, "TTL", p.TTL)
	option.NotNegative(bad, "HeuristicLimit", p.HeuristicLimit)
	option.NotNegative(bad, "StaleWhileRevalidate", p.StaleWhileRevalidate)
	option.NotNegative(bad, "StaleIfError", p.StaleIfError)
	option.NotNegative(bad, "SoftTimeout", p.SoftTimeout)
	option.NotNegative(bad, "FillTimeout", p.FillTimeout)
	option.NotNegative(bad, "WaitTimeout", p.WaitTimeout)
	for _, status := range sortedKeys(p.StatusTTL) {
		ttl := p.StatusTTL[status]
		field := fmt.Sprintf("StatusTTL[%d]", status)
		if status < 200 || status > 599 || status == http.StatusPartialContent || status == http.StatusNotModified {
			bad.Add(field, ttl, "not a status code whose response can be stored")
		} else if ttl < 0 {
			bad.Add(field, ttl, "must not be negative")
		}
	}
}

func (p *Policy) checkWords(bad *option.Errors) {
	switch p.SetCookie {
	case "", RefuseSetCookie, StripSetCookie, StoreSetCookie:
	default:
		bad.Add("SetCookie", string(p.SetCookie), `must be "refuse", "strip" or "store"`)
	}
	switch p.RequestDirectives {
	case "", IgnoreDirectives, HonourDirectives:
	default:
		bad.Add("RequestDirectives", string(p.RequestDirectives), `must be "ignore" or "honour"`)
	}
}

func (p *Policy) checkNames(bad *option.Errors) {
	if len(p.Query.Allow) > 0 && len(p.Query.Ignore) > 0 {
		bad.Add("Query.Ignore", p.Query.Ignore, "cannot be combined with {Query.Allow}", "Query.Allow")
	}
	for _, name := range append(slices.Clone(p.Query.Allow), p.Query.Ignore...) {
		if name == "" {
			bad.Add("Query", "", "empty parameter name")
		}
	}
	for _, list := range []struct {
		field string
		names []string
	}{
		{"TargetedFields", p.TargetedFields},
		{"Credentials", p.Credentials},
		{"Headers", p.Headers},
	} {
		for _, name := range list.names {
			if !validFieldName(name) {
				bad.Add(list.field, name, "not a header field name")
			}
		}
	}
}

// withDefaults returns p with its zero values replaced, for a cache whose
// largest storable body is maxBody bytes.
func (p Policy) withDefaults(maxBody int64) (Policy, error) {
	if err := p.Validate(); err != nil {
		return p, err
	}
	if p.FillTimeout == 0 {
		p.FillTimeout = defaultFillTimeout
	}
	if p.MaxBodyBytes > maxBody {
		bad := option.Of("middleware: Policy")
		bad.Add("MaxBodyBytes", p.MaxBodyBytes, fmt.Sprintf("more than an eighth of {Options.MaxBytes}, %d", maxBody), "Options.MaxBytes")
		return p, bad.Err()
	}
	if p.MaxBytes > 0 {
		maxBody = min(maxBody, p.MaxBytes)
	}
	if p.MaxBodyBytes == 0 {
		p.MaxBodyBytes = min(defaultMaxBodyBytes, maxBody)
	}
	if p.MaxWaiting == 0 {
		p.MaxWaiting = defaultMaxWaiting
	}
	if p.MaxVariants == 0 {
		p.MaxVariants = defaultMaxVariants
	}
	if p.MaxOrphans == 0 {
		p.MaxOrphans = defaultMaxOrphans
	}
	if p.Credentials == nil {
		p.Credentials = DefaultCredentials()
	}
	p.Credentials = canonical(p.Credentials)
	p.Headers = canonical(p.Headers)
	slices.Sort(p.Headers)
	p.Headers = slices.Compact(p.Headers)
	if p.TargetedFields == nil {
		p.TargetedFields = []string{"CDN-Cache-Control"}
	}
	p.TargetedFields = canonical(p.TargetedFields)
	return p, nil
}

// canonical returns the names of fields as they are in an http.Header.
func canonical(names []string) []string {
	c := make([]string, 0, len(names))
	for _, name := range names {
		c = append(c, textproto.CanonicalMIMEHeaderKey(name))
	}
	return c
}

// ttl returns the lifetime that the policy gives to a response of this status
// that has none of its own, zero if none.
func (p *Policy) ttl(status int) (time.Duration, bool) {
	ttl, ok := p.StatusTTL[status]
	if ok {
		return ttl, ttl > 0
	}
	return p.TTL, p.TTL > 0
}

// gives returns how long the policy lets a response of this status be fresh that
// says nothing of it; ok is false if only a heuristic could tell.
func (p *Policy) gives(status int) (ttl time.Duration, ok bool) {
	if _, named := p.StatusTTL[status]; named || rfc9111.HeuristicStatus(status) {
		ttl, ok = p.ttl(status)
		return ttl, ok || named
	}
	return 0, false
}

// lifetimes returns a number that policies which give the same lifetimes share.
func (p *Policy) lifetimes(seed maphash.Seed) uint64 {
	return maphash.String(seed, fmt.Sprint(p.TTL, p.StatusTTL, p.HeuristicLimit)) // maps are printed in order
}

// sharing returns all that the policy, with its defaults, says of whose a response
// is, as a text that no other such saying has.
func (p *Policy) sharing() string {
	return fmt.Sprintf("%q %q %q %q", p.Headers, p.Credentials, p.TargetedFields, p.SetCookie)
}

func sortedKeys(m map[int]time.Duration) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// validFieldName reports whether name is a token (RFC 9110 5.6.2).
func validFieldName(name string) bool {
	const extra = "!#$%&'*+-.^_`|~"
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(extra, r))
	}) < 0
}
