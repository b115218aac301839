// Package backend says what a second level behind a cache of package cachefetch
// has to do, and what more it can. Package backendtest, below this one, proves
// implementations, and has one in memory.
package backend

import (
	"context"
	"errors"
	"time"
)

// ErrMiss is what [Backend.Get] returns, alone or wrapped, for a key that
// nothing is stored under.
var ErrMiss = errors.New("backend: nothing is stored under the key")

// A Backend is a second level behind a cachefetch.Cache, in general one that several
// processes share: Redis, memcached, a table. It holds bytes under keys. What
// the bytes mean, whether they are whole, current and wanted, the cache
// decides; it also bounds the time, the number and the failures of its calls.
// A backend that is slow, down, or returns garbage costs time and hits,
// nothing else.
//
// The clocks of processes that share a backend must not be more than a second
// apart: they read nothing of each other's latest values then.
//
// A Backend may also implement [Many], [Versions], [Invalidations] and [Lease]; a
// wrapper that adds none of their methods hides them. Package backendtest
// proves an implementation.
//
// # Obligations
//
// All methods are called concurrently, also for one key.
//
// They return soon after ctx has ended, with an error that wraps ctx.Err() or
// any other. Deadlines are short, some tens of milliseconds; to retry inside a
// method is of no use. What a failed Set or Delete leaves behind may be the
// state before or after it, never a part of a value.
//
// A key is any string, also an empty one, one of several kilobytes, or one that
// is not UTF-8. Different keys never share a value: a store that restricts keys
// must encode them injectively.
//
// A value is any sequence of bytes, also an empty one. What a Get returns is
// what one Set was given, bit by bit.
//
// Slices are not shared: Set must neither modify value nor use it after it has
// returned, and what Get returned belongs to the caller, who may modify it.
//
// Once a Set or Delete has returned nil, later calls of Get by the same process
// see it. Other processes see it at most a second later.
type Backend interface {
	// Get returns the value of key. If there is none, or its time has passed,
	// the error is or wraps [ErrMiss]. Any other error means that the backend
	// could not tell; many of them in a row and it is left alone for a while.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set stores value under key for ttl, in place of what was there. The ttl
	// is positive. It may be rounded, but only up, to at most a second more:
	// the cache does not depend on the end of it, since the value says itself
	// how long it may be used. The backend may forget a value any time before.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete removes key. That there was nothing to remove is no error.
	Delete(ctx context.Context, key string) error
}

// MaxKeys bounds the keys of one call of [Many].
const MaxKeys = 256

// Many is an optional capability of a [Backend]: several keys are read in one
// call. A cache uses it for what is asked for while other reads are under way,
// as by FetchMany.
//
// Redis does it by MGET, or by a pipeline of GET.
type Many interface {
	// GetMany returns the values of keys, by key. A key that has no value is
	// not in the map. The keys are different, and at most 256. An error means
	// that the backend could not tell of any of them.
	GetMany(ctx context.Context, keys []string) (map[string][]byte, error)
}

// Versions is an optional capability of a [Backend]: writes that arrive late
// do not undo newer ones, whichever process they come from. A cache uses these
// methods in place of Set and Delete if they are there. Without them, the last
// write to arrive is the one that other processes read, for a while.
//
// Redis does each in one script: compare the version stored before the value,
// then SET with PX. (Versions are beyond 2^53, so Lua must compare them as
// strings of one length, not as numbers.)
type Versions interface {
	// SetVersion is Set, but does nothing, and returns nil, if a SetVersion
	// or DeleteVersion of key with a greater version came before. Versions
	// are positive; in fact they are nanoseconds since 1970.
	SetVersion(ctx context.Context, key string, value []byte, ttl time.Duration, version int64) error

	// DeleteVersion is Delete: whatever version the value has, it is removed.
	// The greatest version that came so far, this one included, is
	// remembered for at least a minute, also if there was nothing to remove:
	// a write of an older value may still be on its way.
	DeleteVersion(ctx context.Context, key string, version int64) error
}

// Invalidations is an optional capability of a [Backend]: messages between the
// processes that share it, by which deletes and purges reach what the others
// hold in memory. The backend carries bytes and looks at none of them; the
// cache ignores its own messages, old formats, and what it cannot read. Messages
// are short, less than a kilobyte beside the key or tag they name.
//
// Redis does it by PUBLISH and SUBSCRIBE, or, losing less, by a stream.
type Invalidations interface {
	// Publish sends message to all who subscribe now, the sender included or
	// not. It must not use message after it has returned.
	Publish(ctx context.Context, message []byte) error

	// Subscribe calls receive for each message, one call at a time, in
	// roughly the order they were sent, and returns when ctx has ended. The
	// slice given to receive belongs to it.
	//
	// It calls connected each time from which on no message is lost: at the
	// beginning, and after each connection that was lost and made again. The
	// cache then makes up for what it may have missed. If Subscribe returns
	// for any other reason than ctx, it is called again after a while.
	Subscribe(ctx context.Context, receive func(message []byte), connected func()) error
}

// Lease is an optional capability of a [Backend]: a mark by which one of
// several processes shows that it is loading a key, so that the others wait a
// little for its value and do not load it too. It saves work, and nothing
// relies on it: a lease that cannot be had, is lost, or is had by two costs one
// more load. FetchMany takes none: its other keys would wait too, or two
// processes for each other.
//
// Redis does it by SET NX PX, and a script that deletes the key if it holds
// the token.
type Lease interface {
	// Acquire takes the lease of key for ttl and returns a token to give it
	// back with, or "" if another holds it. Leases and values are kept
	// apart: they never meet under one key.
	Acquire(ctx context.Context, key string, ttl time.Duration) (token string, err error)

	// Release gives the lease of key back if it is still held under token.
	// Else it does nothing and returns nil.
	Release(ctx context.Context, key, token string) error
}
