package cachefetch

import (
	"context"
	"errors"
	"sync"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/guard"
)

// A batch is one call of a [BatchFunc] on behalf of several flights. Each of
// them asks for its key when it is its turn to load, or finds that it need not.
// When all have done either, the first to have asked makes the call.
type batch[V any] struct {
	cache *Cache[V]
	load  BatchFunc[V]

	mu      sync.Mutex
	keys    []string // guarded by mu until ready is closed; those asked for
	pending int      // guarded by mu; flights that may still ask, and 1 until sealed

	ready chan struct{} // closed when pending is 0
	done  chan struct{} // closed when the call is over

	// Written before done is closed.
	values map[string]V
	err    error
	crash  *engine.Crash
}

// newBatch returns a batch that waits for keys until it is sealed.
func newBatch[V any](c *Cache[V], load BatchFunc[V]) *batch[V] {
	return &batch[V]{cache: c, load: load, pending: 1, ready: make(chan struct{}), done: make(chan struct{})}
}

// expect implements loadOf.
func (b *batch[V]) expect(key string) (load LoadFunc[V], done func()) {
	b.mu.Lock()
	b.pending++
	b.mu.Unlock()
	asked := false
	load = func(ctx context.Context, _ *Item[V]) (Item[V], error) {
		asked = true
		v, err := b.ask(ctx, key)
		return Item[V]{Value: v}, err
	}
	return load, func() {
		if !asked {
			b.seal()
		}
	}
}

// seal says that one of those who may ask, or who may bring more that do, will
// not.
func (b *batch[V]) seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lessLocked()
}

func (b *batch[V]) lessLocked() {
	if b.pending--; b.pending == 0 {
		close(b.ready)
	}
}

// ask returns the value of key from the one call, which it makes if it is the
// first to ask.
func (b *batch[V]) ask(ctx context.Context, key string) (v V, err error) {
	b.mu.Lock()
	b.keys = append(b.keys, key)
	first := len(b.keys) == 1
	b.lessLocked()
	b.mu.Unlock()
	if first {
		b.call(ctx)
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return v, ctx.Err()
	}
	if b.crash != nil {
		panic(b.crash)
	}
	v, ok := b.values[key]
	if ok {
		return v, nil
	}
	return v, b.missing(key)
}

// missing returns why there is no value of key.
func (b *batch[V]) missing(key string) error {
	var each KeyErrors
	if errors.As(b.err, &each) {
		if err := each[key]; err != nil {
			return err
		}
		return ErrNotFound
	}
	if b.err != nil {
		return b.err
	}
	return ErrNotFound
}

func (b *batch[V]) call(ctx context.Context) {
	guard.Catch(func() {
		select {
		case <-b.ready:
			b.values, b.err = b.load(withLoading(ctx, b.cache, b.keys...), b.keys)
		case <-ctx.Done(): // the others never came to ask
			b.err = ctx.Err()
		}
	}, func(crash *engine.Crash) {
		b.crash = crash
		close(b.done)
	})
}
