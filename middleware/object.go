package middleware

import (
	"cmp"
	"net/http"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/key"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// A lookup is what a request asks the store for: the object of a key, or of
// one variant of it.
type lookup struct {
	key     key.Key
	variant string // "" for the object of the key itself
}

// An object is what is stored: under a key a response, or the rule by which its
// responses vary, or why they are not shared; under a variant a response, or
// why that is not shared. It is immutable but for what is said otherwise.
type object struct {
	key      key.Key
	variant  string
	response *stored.Response
	rule     *rule
	private  string // why responses are not shared, if that is what is known
	apart    bool   // and that is said of requests that are not plain

	sharing

	metrics *routeMetrics
	used    atomic.Uint32 // of a variant: see usedNow; 0 if it was never asked for again
}

type entry = engine.Entry[object]

// sharing says which requests a response answers beyond what its key says.
type sharing struct {
	// byPolicy says that the response's freshness comes from the policy
	// alone, so that it does not answer requests that say who they are from.
	byPolicy bool

	// lifetimes are those of the policy, as route.lifetimes.
	lifetimes uint64

	// anonymous says that nothing in the response lets it answer requests
	// with Authorization (RFC 9111 3.5).
	anonymous bool

	// noStale says that no request can have it stale.
	noStale bool
}

// match reports whether o is what q asks for.
func match(q lookup, o *object) bool { return q.variant == o.variant && q.key == o.key }

// hasPrefix reports whether an object's URL begins with what PurgePrefix made
// of a prefix.
func hasPrefix(o *object, prefix string) bool {
	for _, name := range o.key.Names() {
		if name.HasPrefix(prefix) {
			return true
		}
	}
	return false
}

// A record is the entry of a response in one piece of memory: a hit of what is
// not in the processor's caches waits for each place it reads.
type record struct {
	entry    entry
	response stored.Response
}

// cost is what e takes of the budget.
func (c *Cache) cost(e *entry) int64 {
	o := &e.Value
	n := c.store.Overhead() + o.key.Size() + int64(len(o.variant))
	if o.response != nil {
		n += int64(unsafe.Sizeof(record{})-unsafe.Sizeof(entry{})) + o.response.Size()
	}
	if o.rule != nil {
		n += o.rule.size()
	}
	if e.Share != nil {
		n += 16 // its place there
	}
	for _, tag := range e.Tags {
		n += int64(len(tag)) + 16
	}
	return n
}

// usedNow is a time of use, in units of 17 ms: hits write it, and need not do so
// each time.
func usedNow(now engine.Instant) uint32 { return uint32(now >> 24) }

// A rule is how the responses of a key vary. Each response is stored under its
// variant, as an entry like others, and is reached through the rule alone: what
// removes the rule removes all of them.
type rule struct {
	vary  *key.Vary
	limit int // variants kept

	// born is the generation of the oldest run whose response may be reached:
	// those that are older began before the key was removed.
	born atomic.Uint64

	mu   sync.Mutex
	kept []uint64 // guarded by mu; hashes of the variants that were stored, live or not: what is evicted is not held by them
}

func (r *rule) size() int64 {
	return int64(unsafe.Sizeof(rule{})) + r.vary.Size() + int64(8*r.limit)
}

// admit lets the response of a run of this generation be reached. The run has
// not been doomed, so nothing of the key has been removed since it began, and
// what is younger has not been either.
func (r *rule) admit(gen uint64) {
	for {
		born := r.born.Load()
		if born <= gen || r.born.CompareAndSwap(born, gen) {
			return
		}
	}
}

// keep takes down a variant that was stored. If there are more than the limit it
// returns the one that is to go: the one whose last use is longest ago, but not
// that of requests that say nothing of what the responses vary by. Whoever
// sends odd values takes places from others who do.
func (r *rule) keep(e *entry, at func(hash uint64) *entry) (victim *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := r.kept[:0]
	var first *entry
	for _, hash := range r.kept {
		k := at(hash)
		if k == nil || hash == e.Hash() {
			continue
		}
		live = append(live, hash)
		if !r.vary.PlainValues(k.Value.variant) && (victim == nil || k.Value.used.Load() < victim.Value.used.Load()) {
			victim = k
		}
		first = cmp.Or(first, k)
	}
	r.kept = append(live, e.Hash())
	if len(r.kept) <= r.limit {
		return nil
	}
	return cmp.Or(victim, first)
}

// tags returns the tags of all variants.
func (r *rule) tags(at func(hash uint64) *entry) (tags []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, hash := range r.kept {
		if e := at(hash); e != nil {
			tags = append(tags, e.Tags...)
		}
	}
	return tags
}

// variantAt returns what is stored under a hash if it is a variant of k.
func (c *Cache) variantAt(k *key.Key) func(hash uint64) *entry {
	return func(hash uint64) *entry {
		if e := c.store.At(hash); e != nil && e.Value.key == *k && e.Value.variant != "" {
			return e
		}
		return nil
	}
}

// find returns the entry that answers a request with this key and header, and
// the variant that it asks for. Where that cannot be told, since the values are
// too long, it returns why.
func (c *Cache) find(hash uint64, k *key.Key, h http.Header, now engine.Instant) (e *entry, v key.Variant, why string) {
	e = c.store.Get(hash, lookup{key: *k})
	if e == nil || e.Value.rule == nil {
		return e, v, ""
	}
	r := e.Value.rule
	v, known := r.vary.Of(h)
	if v.IsZero() {
		return nil, v, reasonVariants
	}
	e = c.store.Get(v.Mix(hash), lookup{*k, v.String()})
	if e == nil || e.Gen < r.born.Load() {
		return nil, v, ""
	}
	if !known {
		r.vary.Learn(h, v)
	}
	if now := usedNow(now); e.Value.used.Load() != now {
		e.Value.used.Store(now)
	}
	return e, v, ""
}
