package middleware

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A lookup is what a request asks the store for: the object of a key, or of
// one variant of it.
type lookup struct {
	key     key
	variant *variant // nil for the object of the key itself
}

// An object is what is stored: under a key, a response, or the knowledge which
// fields its responses vary by, or that they cannot be shared; under a
// variant, a response or that it cannot be shared; under the key of a path, by
// which rule to look for the normal form of a query.
// It is immutable but for its response's own status.
type object struct {
	key      key
	variant  *variant
	response *response
	variants *variants
	private  string // why responses are not shared, if that is what is known

	sharing
	search searchID // of a path: the rule its responses came with, if that is what is known

	metrics *routeMetrics
}

// sharing says which requests a response answers beyond what its key says.
type sharing struct {
	// byPolicy says that the response's freshness comes from the policy
	// alone, so that it does not answer requests with a Cookie.
	byPolicy bool

	// anonymous says that nothing in the response lets it answer requests
	// with Authorization (RFC 9111 3.5).
	anonymous bool

	// noStale says that no request can have it stale.
	noStale bool
}

// match reports whether o is what q asks for.
func match(q lookup, o *object) bool {
	return q.variant == o.variant && (q.variant != nil || q.key == o.key)
}

// A field is one header field of a stored response. Values are shared by all
// who get the response, clipped so that appending to them copies.
type field struct {
	name   string
	values []string // nil: what is set outside the cache is removed
	add    bool     // to the values that are set outside the cache, instead of replacing them
}

// A response is complete and immutable. What is sent with it beside the fields
// changes once a second: see linesAt.
type response struct {
	status  int
	fields  []field // those that describe the content first
	content int     // how many these are
	body    []byte

	validators rfc9111.Validators // of fields

	initialAge time.Duration // corrected_initial_age (RFC 9111 4.2.3) when stored
	date       time.Time
	upstream   []string // Cache-Status members of caches before this one

	own atomic.Pointer[ownStatus] // used where upstream is not empty
}

// linesAt returns the values of Age and Cache-Status for a hit at now.
func linesAt(e *engine.Entry[object], now engine.Instant) (age, status []string) {
	second, ttl := seconds(e, now)
	if s := e.Value.response; s.upstream != nil {
		return ages.at(second), s.ownStatus(ttl)
	}
	return ages.at(second), statuses.at(ttl)
}

// seconds returns the age of a response at now, and for how long it is still
// fresh.
func seconds(e *engine.Entry[object], now engine.Instant) (age, ttl int64) {
	initial, stored := e.Value.response.initialAge, e.Times.Stored
	age = int64((now.Sub(stored) + initial) / time.Second)
	return age, int64((e.FreshUntil().Sub(stored)+initial)/time.Second) - age
}

// An ownStatus is the Cache-Status of a response with members of caches before
// this one, made once for all hits within a second.
type ownStatus struct {
	ttl  int64
	line []string
}

func (s *response) ownStatus(ttl int64) []string {
	if o := s.own.Load(); o != nil && o.ttl == ttl {
		return o.line
	}
	line := slices.Clip(append(slices.Clone(s.upstream), statuses.at(ttl)...))
	s.own.Store(&ownStatus{ttl, line})
	return line
}

// sortFields puts the fields that a 304 does not have before the others.
func (s *response) sortFields() {
	slices.SortStableFunc(s.fields, func(a, b field) int {
		return rank(a.name) - rank(b.name)
	})
	for s.content < len(s.fields) && describesContent(s.fields[s.content].name) {
		s.content++
	}
}

func rank(name string) int {
	if describesContent(name) {
		return 0
	}
	return 1
}

func setFields(h http.Header, fields []field) {
	for i := range fields {
		switch f := &fields[i]; {
		case f.values == nil:
			delete(h, f.name)
		case f.add && h[f.name] != nil:
			addValues(h, f)
		default:
			h[f.name] = f.values
		}
	}
}

// addValues adds the values of f to those that h has. A Vary need not say
// anything twice.
func addValues(h http.Header, f *field) {
	before := h[f.name]
	all := slices.Clip(before)
	for _, v := range f.values {
		if f.name != "Vary" || !slices.Contains(before, v) {
			all = append(all, v)
		}
	}
	h[f.name] = all
}

// perValue is what a string costs beside its bytes.
const perValue = 16

// size is what the response costs: its body, its fields and their slices.
func (s *response) size() int64 {
	const (
		self     = int64(unsafe.Sizeof(record{}) - unsafe.Sizeof(engine.Entry[object]{}))
		perField = int64(unsafe.Sizeof(field{}))
	)
	n := self + int64(cap(s.body))
	if n > 32<<10 { // large objects take whole pages
		n = (n + 8<<10 - 1) &^ (8<<10 - 1)
	}
	for _, f := range s.fields {
		n += perField + int64(len(f.name))
		for _, v := range f.values {
			n += perValue + int64(len(v))
		}
	}
	if s.upstream != nil { // and once more in own
		n += perValue + int64(unsafe.Sizeof(ownStatus{}))
		for _, v := range s.upstream {
			n += perValue*2 + int64(len(v))
		}
	}
	return n
}

// A record is the entry of a response in one piece of memory, for the reason
// that pack gives.
type record struct {
	entry    engine.Entry[object]
	response response
	fields   [6]field // of the response, if they fit
}

// pack replaces the values of fields by copies that lie side by side: a hit of
// what is not in the processor's caches waits for each place it reads.
func pack(fields []field) {
	lines, size := 0, 0
	for _, f := range fields {
		lines += len(f.values)
		for _, v := range f.values {
			size += len(v)
		}
	}
	var text strings.Builder
	text.Grow(size)
	for _, f := range fields {
		for _, v := range f.values {
			text.WriteString(v)
		}
	}
	values, rest := make([]string, 0, lines), text.String()
	for i := range fields {
		start := len(values)
		for _, v := range fields[i].values {
			values = append(values, rest[:len(v)])
			rest = rest[len(v):]
		}
		if fields[i].values != nil {
			fields[i].values = slices.Clip(values[start:])
		}
	}
}

// validatorsOf returns the validators among fields.
func validatorsOf(fields []field) (v rfc9111.Validators) {
	for _, f := range fields {
		switch f.name {
		case "Etag":
			v.Etag = f.values
		case "Last-Modified":
			v.LastModified = f.values
		case "Date":
			v.Date = f.values
		}
	}
	return v
}

func headerOf(fields []field) http.Header {
	h := make(http.Header, len(fields))
	for _, f := range fields {
		if f.values != nil {
			h[f.name] = f.values
		}
	}
	return h
}
