package cachefetch

import (
	"context"
	"net/http"
	"time"
)

// An Item is a value with what its loader knows of it. Only Value need be set.
type Item[V any] struct {
	Value V

	// ETag and LastModified are the validators that an upstream gave the
	// value, as they were sent: by one of them, a later load can ask whether
	// it has changed. Items that have one are kept for a while after they
	// may not be returned any more, for the next load to validate.
	ETag         string
	LastModified string

	// TTL is how long the value is fresh. Zero means Options.TTL. If
	// negative, it is stale at once: whether it is returned is then up to the
	// stale windows. Options.Jitter applies.
	TTL time.Duration

	// StaleWhileRevalidate and StaleIfError replace the options of these
	// names. Zero means what the option says; if negative, there is no such
	// window.
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration

	// Tags are names under which PurgeTag finds the value.
	Tags []string

	// NotModified says that the old value is good for another TTL, as a 304
	// does. Value is ignored, and what else is not given here is as it was.
	// Without an old value it is an error.
	NotModified bool

	// NoStore says that the value is for those who wait for this load and
	// must not be stored. What is stored of the key is removed.
	NoStore bool
}

// SetValidators takes ETag and LastModified from the header of a response.
func (it *Item[V]) SetValidators(h http.Header) {
	it.ETag, it.LastModified = h.Get("ETag"), h.Get("Last-Modified")
}

// SetConditions makes the header of a request ask only for what is newer than
// it (RFC 9110 13.1.2 and 13.1.3). It does nothing if it is nil or has no
// validator, so it can be called on what a [LoadFunc] is given as it is.
func (it *Item[V]) SetConditions(h http.Header) {
	if it == nil {
		return
	}
	if it.ETag != "" {
		h.Set("If-None-Match", it.ETag)
	}
	if it.LastModified != "" {
		h.Set("If-Modified-Since", it.LastModified)
	}
}

// A LoadFunc loads the value of one key. It is given the old value if there
// is one, however stale, or nil. Its own copy of the item, that is: the value
// in it is shared and must not be modified.
//
// Of an item that is returned with an error that is or wraps [ErrNotFound],
// TTL and Tags count, the TTL in place of Options.NegativeTTL. With any other
// error it is ignored.
type LoadFunc[V any] func(ctx context.Context, old *Item[V]) (Item[V], error)

// A Source says where a value comes from.
type Source uint8

const (
	// None: there is no value.
	None Source = iota
	// Fresh: it was stored and fresh.
	Fresh
	// Stale: it was stored and not fresh any more. A refresh runs behind, or
	// a new value could not be had, or not in time.
	Stale
	// Loaded: it was loaded by this call.
	Loaded
	// Coalesced: it was loaded by another call, which this one joined.
	Coalesced
)

// String returns the name of s, in lower case.
func (s Source) String() string {
	switch s {
	case None:
		return "none"
	case Fresh:
		return "fresh"
	case Stale:
		return "stale"
	case Loaded:
		return "loaded"
	case Coalesced:
		return "coalesced"
	}
	return "unknown"
}

// A Result is what a fetch has brought, and how.
type Result[V any] struct {
	Value  V
	Source Source

	// Age is how long ago the value was loaded, or last found not to be
	// modified.
	Age time.Duration

	// Err is why there is no value, or beside a stale one why there is no
	// newer one: nil if that is being loaded behind.
	Err error
}
