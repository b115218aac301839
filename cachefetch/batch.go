package cachefetch

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/freshet-go/freshet/internal/guard"
)

// A batch is one call of a [BatchFunc] on behalf of several flights. Each of
// them asks for its key when it is its turn to load, or finds that it need not.
// When all have done either, the first to have asked makes the call.
type batch[V any] struct {
	load BatchFunc[V]
	work *work // the call; its keys and outer are set before it is made

	mu      sync.Mutex
	keys    []string // guarded by mu; in the order in which they are expected
	asked   []bool   // guarded by mu; for each key, whether its flight has asked
	asks    int      // guarded by mu; how many have
	pending int      // guarded by mu; flights that may still ask, and 1 until sealed

	ready chan struct{} // closed when pending is 0
	done  chan struct{} // closed when the call is over, or will not be made

	// Written before done is closed.
	values map[string]V
	err    error
	ended  bool // the context of the one that made it had ended
	crash  *guard.Crash
}

// newBatch returns a batch that waits for keys until it is sealed.
func newBatch[V any](c *Cache[V], load BatchFunc[V]) *batch[V] {
	return &batch[V]{
		load: load, work: &work{cache: c}, pending: 1,
		ready: make(chan struct{}), done: make(chan struct{}),
	}
}

// expect implements loadOf.
func (b *batch[V]) expect(key string) (load LoadFunc[V], done func()) {
	b.mu.Lock()
	at := len(b.keys)
	b.keys, b.asked = append(b.keys, key), append(b.asked, false)
	b.pending++
	b.mu.Unlock()
	asked := false
	load = func(ctx context.Context, _ *Item[V]) (Item[V], error) {
		asked = true
		v, err := b.ask(ctx, at, key)
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
	if b.pending--; b.pending > 0 {
		return
	}
	close(b.ready)
	if b.asks == 0 {
		close(b.done)
	}
}

// ask returns the value of the key that is expected at some place from the one
// call, which it makes if it is the first to ask.
func (b *batch[V]) ask(ctx context.Context, at int, key string) (v V, err error) {
	own, _ := workOf(ctx, nil, "")
	own.await(b.work)
	defer own.leave(b.work)
	b.mu.Lock()
	b.asked[at] = true
	b.asks++
	first := b.asks == 1
	b.lessLocked()
	b.mu.Unlock()
	if first {
		b.call(ctx, own)
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
	if b.ended { // and so does ctx in a moment: all of one call fail for the same reason
		<-ctx.Done()
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

// call makes the one call, on behalf of a load that has asked.
func (b *batch[V]) call(ctx context.Context, own *work) {
	guard.Catch(func() {
		select {
		case <-b.ready:
			keys := b.wanted()
			b.work.keys, b.work.outer = slices.Clone(keys), own // keys are the load's to do with as it likes
			b.values, b.err = b.load(b.work.context(ctx), keys)
		case <-ctx.Done(): // the others never came to ask
			b.err = ctx.Err()
		}
	}, func(crash *guard.Crash) {
		b.ended, b.crash = ctx.Err() != nil, crash
		b.work.end()
		close(b.done)
	})
}

// wanted returns the keys that were asked for.
func (b *batch[V]) wanted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make([]string, 0, b.asks)
	for i, key := range b.keys {
		if b.asked[i] {
			keys = append(keys, key)
		}
	}
	return keys
}
