package cachefetch

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/level2"
)

// A Mode says what becomes of what is purged: package middleware has the same.
type Mode = engine.Mode

const (
	// Hard removes it.
	Hard = engine.Hard

	// Soft makes it stale: its stale windows begin with the purge, so that it
	// can still be returned while a new value is loaded. Without stale windows,
	// it does what Hard does.
	Soft = engine.Soft
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
	c.flights.DoomThen(hash, key, func() {
		if c.l2 != nil {
			behind = c.l2.Remove(key, c.clock.Next(), level2.Claim{}, true)
		}
		do(hash)
		c.failures.forget(key)
	})
	if c.l2 != nil {
		c.l2.Wait(ctx, behind)
	}
	return nil
}

// PurgeTag purges all values with the tag. It promises what Delete does for
// each of them, those that are being loaded included, and takes the same short
// time however many there are. What a load brings that was begun before a soft
// purge is stored as stale. Its errors are [ErrClosed], and one for a mode that is neither
// Hard nor Soft.
//
// With Options.Backend, other processes are told, and what is there is purged
// as well. PurgeTag waits for that no longer than Options.BackendTimeout or
// until ctx ends.
func (c *Cache[V]) PurgeTag(ctx context.Context, tag string, mode Mode) error {
	return c.purge(ctx, level2.PurgeTag, tag, mode)
}

// PurgePrefix is PurgeTag for all values whose keys begin with prefix.
func (c *Cache[V]) PurgePrefix(ctx context.Context, prefix string, mode Mode) error {
	return c.purge(ctx, level2.PurgePrefix, prefix, mode)
}

// Flush is PurgeTag for all values. Their bytes are given back little by
// little, as others are stored.
func (c *Cache[V]) Flush(ctx context.Context, mode Mode) error {
	return c.purge(ctx, level2.PurgeFlush, "", mode)
}

func (c *Cache[V]) purge(ctx context.Context, kind level2.Kind, name string, mode Mode) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if !mode.Valid() {
		return fmt.Errorf("cachefetch: mode %d of a purge: must be Hard or Soft", mode)
	}
	c.stats.purges.Add(1)
	p := level2.Purge{Kind: kind, Name: name, Soft: mode == Soft}
	c.applyPurge(p, level2.Stamp{})
	if c.l2 != nil {
		p.Stamp = c.clock.Next()
		c.l2.Wait(ctx, c.l2.Purge(p)...)
	}
	return nil
}
