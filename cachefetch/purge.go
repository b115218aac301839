package cachefetch

import (
	"context"
	"hash/maphash"
)

// A Mode says what a purge does to the values it names.
type Mode uint8

const (
	// Hard removes them.
	Hard Mode = iota
	// Soft makes them stale: their stale windows begin with the purge, so
	// that they can still be returned while new ones are loaded. Where there
	// are no stale windows, it does what Hard does.
	Soft
)

// Delete removes the value of key. Once it has returned, nothing is returned
// that was loaded or set before, nor what a load brings that was begun before:
// that goes to those who wait for it now and is not stored. Its only error is
// [ErrClosed].
func (c *Cache[V]) Delete(ctx context.Context, key string) error {
	return c.remove(ctx, key, func(hash uint64) { c.store.Delete(hash, key) })
}

// Expire is the soft form of Delete: it makes the value of key stale here, as
// [Soft] says. From Options.Backend and in other processes it is removed.
func (c *Cache[V]) Expire(ctx context.Context, key string) error {
	return c.remove(ctx, key, func(hash uint64) { c.store.Soften(hash, key) })
}

func (c *Cache[V]) remove(ctx context.Context, key string, do func(hash uint64)) error {
	if c.closed.Load() {
		return ErrClosed
	}
	hash := maphash.String(c.seed, key)
	var behind <-chan struct{}
	if c.l2 != nil { // first: who looks there from now on must not find it
		behind = c.l2.remove(key, c.clock.next(), claim{}, true)
	}
	c.flights.Doom(hash, key) // before: what it has published is still there
	do(hash)
	c.flights.Doom(hash, key) // begun meanwhile, it would outlive this call
	if c.l2 != nil {
		c.l2.wait(ctx, behind)
	}
	return nil
}

// PurgeTag purges all values with the tag. It promises what Delete does for
// each of them, those that are being loaded included, and takes the same short
// time however many there are. What a load brings that was begun before a soft
// purge is stored as stale. Its only error is [ErrClosed].
//
// With Options.Backend, other processes are told, and what is there is purged
// as well. PurgeTag waits for that no longer than Options.BackendTimeout or
// until ctx ends.
func (c *Cache[V]) PurgeTag(ctx context.Context, tag string, mode Mode) error {
	return c.purge(ctx, purgeTag, tag, mode)
}

// PurgePrefix is PurgeTag for all values whose keys begin with prefix.
func (c *Cache[V]) PurgePrefix(ctx context.Context, prefix string, mode Mode) error {
	return c.purge(ctx, purgePrefix, prefix, mode)
}

// Flush is PurgeTag for all values. Their bytes are given back little by
// little, as others are stored.
func (c *Cache[V]) Flush(ctx context.Context, mode Mode) error {
	return c.purge(ctx, purgeFlush, "", mode)
}

func (c *Cache[V]) purge(ctx context.Context, kind purgeKind, name string, mode Mode) error {
	if c.closed.Load() {
		return ErrClosed
	}
	c.stats.purges.Add(1)
	p := purge{kind: kind, name: name, soft: mode == Soft}
	c.applyPurge(p, stamp{})
	if c.l2 != nil {
		p.stamp = c.clock.next()
		c.l2.wait(ctx, c.l2.purge(p)...)
	}
	return nil
}
