// Package middleware is an in-process HTTP response cache for chi and net/http
// routers. Import it as cachemw, since chi has a package middleware too:
//
//	import cachemw "github.com/freshet-go/freshet/middleware"
//
//	cache, err := cachemw.New(cachemw.Options{MaxBytes: 256 << 20})
//	...
//	r.With(cache.Handler(cachemw.Policy{TTL: time.Minute})).Get("/products/{id}", product)
//
// A fresh stored response is written at once. For a missing one the handler
// runs once, however many clients ask, on a goroutine and a context of its
// own; all of them read its response as it grows. A stale one is written at
// once where that is allowed, and the handler runs behind it.
//
// [Cache.Transport] is the other face of the same cache, for the requests that
// the program itself makes.
//
// # What is shared
//
// The cache follows the rules of RFC 9111 for shared caches: what they forbid
// to store for everyone is neither stored nor given to those who wait for the
// same run. When in doubt a response goes to the client that asked for it and
// to nobody else. Requests that cannot be answered from a cache (methods other
// than GET and HEAD, Upgrade, a body) run the handler directly.
//
// # What a response tells
//
// Each response has a Cache-Status field (RFC 9211) with one member of this
// cache, unless Policy.HideStatus: "hit" if it came from the store without the
// handler, or else "fwd" with why it did not (uri-miss, vary-miss, stale,
// request, method, bypass), "fwd-status" where the handler's status was another
// than the client's, "stored" or "collapsed", and "ttl", the seconds for which
// the response is fresh. A "stored" is a promise: a response that is still being
// written may yet break off or be purged. Where something was not stored or not
// reused, "detail" is one of these reasons, which are also labels of metrics:
//
//	authorization     the request has credentials, and the response does not allow sharing
//	body              the request has a body
//	closed            the cache is closed
//	connection        the request's Connection lists a field that is not of the connection
//	cookie            the request has a Cookie, and only the policy says that the response is fresh
//	credentials       the request says who its client is, and only the policy says that the response is fresh
//	crowded           Policy.MaxWaiting requests wait for others already
//	empty             the handler wrote nothing
//	error             the handler answered with an error that an old response stands in for, or none did
//	event_stream      the response is an event stream
//	expired           the response will never be fresh, nor usable stale
//	flush, hijack     the handler took the connection before it wrote a header
//	incomplete        the response broke off
//	method            the method's response says nothing about GET
//	must_understand   the response asks for a status code to be understood that is not
//	no_cache          the response has to be validated, and has nothing to do so by
//	no_freshness      nothing says for how long the response is fresh
//	no_store          the response forbids it, or its Cache-Control is malformed
//	only_if_cached    the request wants a stored response, and there is none
//	panic             the handler panicked
//	partial           the response is a part (206)
//	precondition      the request has one that the cache cannot tell (If-Match, If-Unmodified-Since)
//	private           the response is for one user
//	purged            it was purged while it was made
//	request_no_store  the request forbids it, and counts
//	set_cookie        the response sets a cookie
//	status            responses with this status code are never stored
//	timeout           the handler took too long
//	no_room           other responses that are under way have all the bytes that there are for such
//	too_large         the body is larger than Policy.MaxBodyBytes, or the cache has no room
//	trailer           the response has trailers
//	unheard           middleware outside did not write the header of the first client in time, or panicked
//	upgrade           the request asks for another protocol
//	variants          the URL has more variants than Policy.MaxVariants
//	vary_star         no other request can match the response's Vary
//
// # What is said outside
//
// The header that net/http would have sent decides whose a response is. What
// middleware outside of the cache has set counts like the handler's own words,
// unless the handler sets or removes that field: its no-store, its private, its
// Vary, its cookie. It goes out with its client's answer, and is never stored.
//
// # What a handler may rely on
//
// It gets a clone of the first client's request without conditional fields, or,
// where a stale response has an ETag or Last-Modified, with those that ask about
// that one: a 304 then makes it fresh again, and goes to no client that did not
// ask for it. The request's context keeps all values (chi's route context is
// cloned). It ends after Policy.FillTimeout if there is no header by then, and
// else with the last client that reads the response: it tells no deadline. If the
// response turns out to belong to one client only, the context ends when that
// client leaves. A panic reaches the goroutine of the client that began the run,
// with its original value; its stack is logged.
//
// A handler that returns once its context has ended, without having written what
// it declared, has not answered: clients are told 504, or cut off.
package middleware

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/option"
)

// Options configures a [Cache]. The zero value works.
type Options struct {
	// MaxBytes bounds the bytes of everything held: stored responses with
	// their keys and bookkeeping, and bodies being filled. Zero means 64 MiB;
	// else at least 64 KiB.
	// One response may take up to an eighth of it. The garbage collector's
	// own overhead comes on top: see LimitMemory.
	MaxBytes int64

	// LimitMemory has the memory limit of the Go runtime, which is one for the
	// process, follow MaxBytes until Close: to a quarter more, and room for
	// what else is live. The garbage collector would let the heap grow to
	// twice what is held otherwise. A limit that GOMEMLIMIT or
	// debug.SetMemoryLimit has set stays as it is.
	LimitMemory bool

	// Name is the label "cache" of the metrics. When it is set, they are also
	// part of what the program writes with github.com/VictoriaMetrics/metrics,
	// until Close, and a name that another cache has is an error. Empty means
	// "default", and that only Cache.WriteMetrics writes them.
	Name string

	// RefreshWorkers is how many refreshes may run behind stale responses at
	// once. When all are busy, the stale response is served and its refresh
	// is left to a later request. Zero means 16.
	RefreshWorkers int

	// Logger gets what no client can be told, such as a panic in a refresh.
	// Nil means slog.Default().
	Logger *slog.Logger
}

// minBytes leaves room for a response of 8 KiB in the window.
const minBytes = 64 << 10

// ErrClosed is returned by purges of a closed cache.
var ErrClosed = errors.New("middleware: cache is closed")

// A Cache holds responses of any number of routes. It is made by [New] and
// must be closed after use. All methods may be called concurrently.
type Cache struct {
	opts    Options
	seed    maphash.Seed
	store   *engine.Cache[lookup, object]
	flights engine.Flights[any] // of runs, which know the cache; it need not know them
	pool    *engine.Pool
	metrics *cacheMetrics

	refreshes, refreshSkips, panics atomic.Uint64

	odd    odd
	pinned pinned
	shares shares

	classes classes

	queriesMu sync.Mutex
	queries   []Query // guarded by queriesMu; of the routes there have been

	closing sync.Once
	closed  atomic.Bool
	closeOK error // written in closing
}

const (
	defaultMaxBytes       = 64 << 20
	defaultRefreshWorkers = 16
)

// An OptionError says what is wrong with one field of some options, or of a
// policy. Constructors and Validate return all of them joined; errors.As finds
// the first.
type OptionError = option.Error

// Validate returns the error that [New] would return, nil if there is none but
// that the Name is taken.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns o with its zero values replaced, or an error that names
// each bad field.
func (o Options) withDefaults() (Options, error) {
	bad := option.Of("middleware: Options")
	if o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes); o.MaxBytes < minBytes {
		bad.Add("MaxBytes", o.MaxBytes, fmt.Sprintf("must be at least %d bytes", minBytes))
	}
	option.Default(bad, "RefreshWorkers", &o.RefreshWorkers, defaultRefreshWorkers)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o, bad.Err()
}

// New returns an empty cache, or an error that names each bad option.
func New(o Options) (*Cache, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	store, err := engine.New(engine.Config[lookup, object]{MaxBytes: o.MaxBytes, FillBytes: o.MaxBytes / 8, Match: match, HasPrefix: hasPrefix, LimitMemory: o.LimitMemory})
	if err != nil {
		return nil, fmt.Errorf("middleware: Options.%w", err)
	}
	c := &Cache{
		opts:  o,
		seed:  maphash.MakeSeed(),
		store: store,
		pool:  engine.NewPool(o.RefreshWorkers),
	}
	zero, _ := Policy{}.withDefaults(o.MaxBytes / 8)
	c.classes.of(zero.sharing()) // 0: most keys need say nothing of it
	c.pinned.limit, c.pinned.held, c.pinned.every = o.MaxBytes/8, store.Holds, pinnedEvery
	c.metrics = newCacheMetrics(cmp.Or(o.Name, "default"), c)
	if o.Name != "" && !c.metrics.group.Register() {
		store.Close()
		return nil, &OptionError{Of: "middleware: Options", Field: "Name", Value: o.Name, Reason: "another cache has this name"}
	}
	return c, nil
}

// CheckPolicy returns the error that [Cache.Handler] would panic with.
func (c *Cache) CheckPolicy(p Policy) error {
	_, err := p.withDefaults(c.opts.MaxBytes / 8)
	return err
}

// Handler returns a middleware that caches the responses of the handlers it
// wraps, as p says. It panics if p is not valid; [Cache.CheckPolicy] tells
// before.
//
// Mount it per route, inside of anything that depends on the single client
// (authentication, sessions, rate limits) and outside of what is to be saved.
// docs/mounting.md has a line on each middleware.
func (c *Cache) Handler(p Policy) func(http.Handler) http.Handler {
	p = c.accepted(p)
	return func(next http.Handler) http.Handler { return c.mount(p, IgnoreDirectives, false, next) }
}

// accepted returns p with its defaults, or panics.
func (c *Cache) accepted(p Policy) Policy {
	p, err := p.withDefaults(c.opts.MaxBytes / 8)
	if err != nil {
		panic(err)
	}
	return p
}

// mount returns the exchange engine under a policy that was accepted, in front
// of whatever origin it is given as a handler.
func (c *Cache) mount(p Policy, directives RequestDirectives, outbound bool, next http.Handler) *route {
	c.noteQuery(p.Query)
	return newRoute(c, p, directives, outbound, next)
}

// Stats are counts since the cache was made, and its size now.
type Stats struct {
	Hits        uint64 // answered from the store, fresh
	Stale       uint64 // answered from the store, stale
	Coalesced   uint64 // answered from the handler's run for another request
	Misses      uint64 // answered from a run of the handler begun for the request
	Bypassed    uint64 // passed to the handler without looking for anything to share
	Refused     uint64 // answered by the cache itself with 503: no place, or too long a wait
	Errors      uint64 // answered by the cache itself with 502 or 504
	OriginCalls uint64 // runs of handlers, refreshes included

	Refreshes    uint64 // runs begun behind a stale response
	RefreshSkips uint64 // refreshes left out because all workers were busy
	Panics       uint64 // panics of handlers that no client's goroutine could take
	Evictions    uint64 // entries that made room for others
	Refusals     uint64 // verdicts of the store's policy against a new entry

	Entries     int64 // entries held, also expired ones not yet swept
	Bytes       int64 // their cost and that of bodies being filled, at most MaxBytes
	WindowBytes int64 // of these, being filled or in the admission window
	MaxBytes    int64
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	u := c.store.Usage()
	answered, origins := c.metrics.answered()
	return Stats{
		Hits:         answered[outcomeHit],
		Stale:        answered[outcomeStale],
		Coalesced:    answered[outcomeCoalesced],
		Misses:       answered[outcomeMiss],
		Bypassed:     answered[outcomePass],
		Refused:      answered[outcomeRefused],
		Errors:       answered[outcomeError],
		OriginCalls:  origins,
		Refreshes:    c.refreshes.Load(),
		RefreshSkips: c.refreshSkips.Load(),
		Panics:       c.panics.Load(),
		Evictions:    u.Evictions,
		Refusals:     u.Refusals,
		Entries:      u.Entries,
		Bytes:        u.Bytes,
		WindowBytes:  u.WindowBytes,
		MaxBytes:     u.MaxBytes,
	}
}

// Close ends all runs of handlers, waits up to five seconds for refreshes to
// return, and frees what is stored. Its error says that some did not. From
// then on handlers run uncached. Close may be called more than once.
func (c *Cache) Close() error {
	c.closing.Do(func() {
		c.closed.Store(true)
		c.metrics.group.Unregister()
		c.flights.Close()
		if err := c.pool.Close(); err != nil {
			c.closeOK = fmt.Errorf("middleware: %w", err)
		}
		c.store.Close()
	})
	return c.closeOK
}
