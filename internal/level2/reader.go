package level2

import (
	"context"
	"slices"
	"sync"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// A reader reads from the backend, several keys in one call if it can do that.
type reader struct {
	of    backend.Backend
	many  backend.Many // nil if the backend reads one by one
	calls *caller
	ctx   context.Context // of calls for several

	mu      sync.Mutex
	calling int        // guarded by mu; calls under way
	waiting []*reading // guarded by mu; to be read by the next one
}

// readsAlone is how many calls are made side by side before what else is to be
// read is gathered for the next one.
const readsAlone = 4

// A reading is what one waits for.
type reading struct {
	key  string
	done chan struct{} // closed when the rest is written
	data []byte
	err  error
}

// get returns what is stored under key. Its errors are those of the backend and
// of a caller.
func (r *reader) get(ctx context.Context, key string) ([]byte, error) {
	if r.many == nil {
		return r.one(ctx, key)
	}
	r.mu.Lock()
	if r.calling < readsAlone {
		r.calling++
		r.mu.Unlock()
		defer r.next()
		return r.one(ctx, key)
	}
	w := &reading{key: key, done: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.done: // calls end in time, and so does the one before
		return w.data, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reader) one(ctx context.Context, key string) ([]byte, error) {
	var data []byte
	err := r.calls.read(ctx, func(ctx context.Context) (err error) {
		data, err = r.of.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, err // data may still be written to
	}
	return data, nil
}

// next ends a call, and begins the one for what is waiting.
func (r *reader) next() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), backend.MaxKeys)
	if n == 0 {
		r.calling--
		return
	}
	some := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	go func() {
		defer r.next()
		r.together(some)
	}()
}

// together reads for all of some in one call.
func (r *reader) together(some []*reading) {
	keys := make([]string, 0, len(some))
	for _, w := range some {
		keys = append(keys, w.key)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var found map[string][]byte
	err := r.calls.read(r.ctx, func(ctx context.Context) (err error) {
		found, err = r.many.GetMany(ctx, keys)
		return err
	})
	for _, w := range some {
		if w.err = err; err == nil { // else found may still be written to
			var ok bool
			if w.data, ok = found[w.key]; !ok {
				w.err = backend.ErrMiss
			}
		}
		close(w.done)
	}
}
