package cachefetch

import (
	"context"
	"slices"
	"sync"
)

// A work is a load, or a call of a [BatchFunc], while it is under way. What is
// fetched with its context belongs to it: that must not wait for the work
// itself, nor for another one that waits for it in turn, in whatever cache.
type work struct {
	cache any
	keys  []string // that it loads
	outer *work    // that waits for it and whose context it has, or nil

	awaits map[*work]int // guarded by waiting; what fetches that belong to it wait for
	over   bool          // guarded by waiting
}

// waiting guards who waits for whom, in all caches. Only fetches inside of
// loads and batches take it.
var waiting sync.Mutex

type workKey struct{}

func (w *work) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, workKey{}, w)
}

// workOf returns the innermost work under way that ctx belongs to, or nil, and
// whether one of those that it belongs to loads key of cache.
func workOf(ctx context.Context, cache any, key string) (inner *work, itself bool) {
	w, _ := ctx.Value(workKey{}).(*work)
	if w == nil {
		return nil, false
	}
	waiting.Lock()
	defer waiting.Unlock()
	for ; w != nil; w = w.outer {
		if w.over {
			continue // its context was kept
		}
		if inner == nil {
			inner = w
		}
		if w.cache == cache && slices.Contains(w.keys, key) {
			return inner, true
		}
	}
	return inner, false
}

// await notes that something that belongs to w waits for another work. It
// refuses, and returns false, if that one waits for w. A nil w is what belongs
// to no work.
func (w *work) await(other *work) bool {
	if w == nil {
		return true
	}
	waiting.Lock()
	defer waiting.Unlock()
	if w.over {
		return true // nothing waits for it
	}
	if other.reaches(w, make(map[*work]bool)) {
		return false
	}
	if w.awaits == nil {
		w.awaits = make(map[*work]int)
	}
	w.awaits[other]++
	return true
}

// reaches reports whether w is target or waits for it, directly or not. The
// caller holds waiting.
func (w *work) reaches(target *work, seen map[*work]bool) bool {
	if w == target {
		return true
	}
	seen[w] = true
	for next := range w.awaits {
		if !seen[next] && next.reaches(target, seen) {
			return true
		}
	}
	return false
}

// leave ends what await noted.
func (w *work) leave(other *work) {
	if w == nil {
		return
	}
	waiting.Lock()
	defer waiting.Unlock()
	if n := w.awaits[other]; n > 1 {
		w.awaits[other] = n - 1
	} else {
		delete(w.awaits, other)
	}
}

// end says that w is not under way any more.
func (w *work) end() {
	waiting.Lock()
	defer waiting.Unlock()
	w.over, w.awaits = true, nil
}
