package engine

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// An Instant is a point on a cache's own clock, in nanoseconds since the cache
// was made. The clock is monotonic: a step of the wall clock neither expires
// entries nor keeps them alive, and reading it costs half of time.Now.
type Instant int64

// Add returns the instant d after i, or the last one there is: a lifetime of
// math.MaxInt64 means for ever.
func (i Instant) Add(d time.Duration) Instant {
	if d > 0 && i > math.MaxInt64-Instant(d) {
		return math.MaxInt64
	}
	return i + Instant(d)
}

// Sub returns the duration from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// A State is what may be done with an entry at some instant.
type State uint8

// The states in the order in which an entry passes through them. Windows that
// are zero are passed over.
const (
	// Fresh: may be served without asking anyone.
	Fresh State = iota
	// StaleWhileRevalidate: may be served at once while one refresh runs
	// behind (RFC 5861 3).
	StaleWhileRevalidate
	// StaleIfError: may be served only if asking for a new one failed
	// (RFC 5861 4).
	StaleIfError
	// Gone: must not be served.
	Gone
)

// String returns the name of s in the words of RFC 5861.
func (s State) String() string {
	switch s {
	case Fresh:
		return "fresh"
	case StaleWhileRevalidate:
		return "stale-while-revalidate"
	case StaleIfError:
		return "stale-if-error"
	}
	return "gone"
}

// Times are the instants at which an entry changes its state. FreshUntil is
// the first instant at which it is not fresh any more: RFC 9111 4.2 calls a
// response fresh only while its lifetime is greater than its age.
type Times struct {
	Stored          Instant
	FreshUntil      Instant
	RevalidateUntil Instant // end of stale-while-revalidate, no earlier than FreshUntil
	ErrorUntil      Instant // end of stale-if-error, no earlier than FreshUntil
	KeepUntil       Instant // until then it is worth keeping, if only to be validated
}

// ForEver is the longest lifetime, and the longest window. It is short enough
// that the sum of all that one entry has, on this clock or in nanoseconds since
// 1970, cannot overflow: no two of its instants fall together because both are
// the last one there is.
const ForEver = 50 * 365 * 24 * time.Hour

// NewTimes returns the times of an entry stored at now, with the given
// lifetime and stale windows. Both windows begin when the lifetime ends. None
// is negative or longer than ForEver.
func NewTimes(now Instant, fresh, whileRevalidate, ifError time.Duration) Times {
	until := now.Add(bounded(fresh))
	return Times{
		Stored:          now,
		FreshUntil:      until,
		RevalidateUntil: until.Add(bounded(whileRevalidate)),
		ErrorUntil:      until.Add(bounded(ifError)),
	}
}

func bounded(d time.Duration) time.Duration { return min(max(d, 0), ForEver) }

// State returns the state at now of an entry with these times.
func (t Times) State(now Instant) State {
	switch {
	case now < t.FreshUntil:
		return Fresh
	case now < t.RevalidateUntil:
		return StaleWhileRevalidate
	case now < t.ErrorUntil:
		return StaleIfError
	}
	return Gone
}

// Usable reports whether the entry may be served after an error at now: it is
// in any state but Gone, and now is inside its stale-if-error window.
func (t Times) Usable(now Instant) bool { return now < t.FreshUntil || now < t.ErrorUntil }

// Horizon is the instant from which the entry is of no use to anyone.
func (t Times) Horizon() Instant {
	return max(t.FreshUntil, t.RevalidateUntil, t.ErrorUntil, t.KeepUntil)
}

// Keep returns t for an entry that is worth keeping for d after it must not be
// served any more, since it can be validated.
func (t Times) Keep(d time.Duration) Times {
	t.KeepUntil = t.Horizon().Add(d)
	return t
}

// Soften returns t for an entry that a soft purge at some instant has made
// stale: its windows begin there, unless they have begun before.
func (t Times) Soften(at Instant) Times {
	if at >= t.FreshUntil {
		return t
	}
	t.RevalidateUntil = at.Add(max(t.RevalidateUntil.Sub(t.FreshUntil), 0))
	t.ErrorUntil = at.Add(max(t.ErrorUntil.Sub(t.FreshUntil), 0))
	t.FreshUntil = at
	return t
}

// EndBy returns t for an entry that is of no use to anyone from end on.
func (t Times) EndBy(end Instant) Times {
	for _, at := range []*Instant{&t.FreshUntil, &t.RevalidateUntil, &t.ErrorUntil, &t.KeepUntil} {
		*at = min(*at, end)
	}
	return t
}

// Jitter shortens d by a random part of up to fraction of it, so that entries
// stored together do not expire together. It never lengthens d, since a
// lifetime is a promise about how old a value may get.
func Jitter(d time.Duration, fraction float64) time.Duration {
	if fraction <= 0 || d <= 0 {
		return d
	}
	return d - time.Duration(rand.Float64()*fraction*float64(d))
}

// place says where in the engine an entry is. It belongs to whoever holds
// admission.mu.
type place uint8

const (
	nowhere  place = iota // not yet admitted, or no longer held
	resident              // in the store, its cost counted there
	rejected              // refused by the store's policy, kept in the window
)

// An Entry is one stored value. Everything exported is immutable once the
// entry was put: readers hold it without locks for as long as they like.
type Entry[V any] struct {
	Value V
	Times Times    // without soft purges: see Now
	Tags  []string // surrogate keys
	Gen   uint64   // drawn when the load began; the newer of two entries has the larger one

	Share *Share[V] // bounds the bytes of this entry and others; nil if nothing but the cache does

	checked  atomic.Uint64 // no purge up to this generation applies that is not noted in softened
	softened atomic.Int64  // Instant of the first soft purge that was noticed; 0 = none

	hash uint64
	cost int64

	dead  atomic.Bool // replaced, deleted or evicted; set once
	place place       // guarded by admission.mu

	touched    atomic.Uint32 // see store.hit
	refreshing atomic.Bool   // a refresh of this entry is under way
	failures   atomic.Uint32 // refreshes failed in a row
	retryAt    atomic.Int64  // Instant before which no refresh is tried

	older, newer *Entry[V] // guarded by Share.mu; in Share
}

// used reports whether e was hit since it was last asked.
func (e *Entry[V]) used() bool {
	touched := e.touched.Load()
	if touched&enoughTouches == 0 {
		return false
	}
	e.touched.Store(touched &^ enoughTouches)
	return true
}

// die marks e as not live any more. It may be called more than once.
func (e *Entry[V]) die() {
	if !e.dead.Swap(true) {
		e.Share.remove(e)
	}
}

// Hash returns the hash that e was put under.
func (e *Entry[V]) Hash() uint64 { return e.hash }

// Now returns the times of e with what soft purges have made of them.
func (e *Entry[V]) Now() Times {
	if at := e.softened.Load(); at != 0 {
		return e.Times.Soften(Instant(at))
	}
	return e.Times
}

// FreshUntil is that of Now, which costs a hit more to copy.
func (e *Entry[V]) FreshUntil() Instant {
	if at := e.softened.Load(); at != 0 {
		return min(e.Times.FreshUntil, Instant(at))
	}
	return e.Times.FreshUntil
}

// State returns the state of e at now.
func (e *Entry[V]) State(now Instant) State {
	if now < e.Times.FreshUntil && e.softened.Load() == 0 {
		return Fresh
	}
	return e.stale(now)
}

// stale is the rest of State, outlined so that the fast path is inlined.
func (e *Entry[V]) stale(now Instant) State {
	t := e.Times
	if at := Instant(e.softened.Load()); at != 0 {
		// A caller may have read the clock before it looked at e, and before the
		// purge that it has now noticed: e is not fresh to that one either.
		t = t.Soften(min(at, now))
	}
	return t.State(now)
}

// Usable is [Times.Usable] of e.
func (e *Entry[V]) Usable(now Instant) bool {
	t := e.Now()
	return t.Usable(now)
}

// soften notes a soft purge.
func (e *Entry[V]) soften(at Instant) {
	for {
		old := e.softened.Load()
		if old != 0 && old <= int64(at) || e.softened.CompareAndSwap(old, int64(at)) {
			return
		}
	}
}

// BeginRefresh reports whether the caller shall refresh e now: nobody else is
// doing so and no recent failure asks for patience. The caller must call
// EndRefresh afterwards, however the refresh ends.
func (e *Entry[V]) BeginRefresh(now Instant) bool {
	return !e.refreshing.Load() && !e.Backoff(now) && e.refreshing.CompareAndSwap(false, true)
}

// EndRefresh ends what BeginRefresh began.
func (e *Entry[V]) EndRefresh() { e.refreshing.Store(false) }

// Backoff reports whether the last refresh of e failed so recently that it
// should not be tried again at now.
func (e *Entry[V]) Backoff(now Instant) bool { return now < Instant(e.retryAt.Load()) }

// Failed notes that refreshing e failed at now: the next attempt waits for
// base, doubled with each failure in a row up to limit, less a random half.
// Without it every stale hit during an outage would ask again.
func (e *Entry[V]) Failed(now Instant, base, limit time.Duration) {
	limit = bounded(limit)
	d := min(base, limit)
	for n := e.failures.Add(1); n > 1 && 0 < d && d < limit; n-- {
		d *= 2
	}
	e.retryAt.Store(int64(now.Add(Jitter(min(d, limit), 0.5))))
}
