package cachefetch

import (
	"context"
	"slices"
)

// loading is found in the context of a load. It makes a chain of the loads
// that a load is nested in.
type loading struct {
	cache  any
	keys   []string
	parent *loading
}

type loadingKey struct{}

func withLoading(ctx context.Context, cache any, keys ...string) context.Context {
	parent, _ := ctx.Value(loadingKey{}).(*loading)
	return context.WithValue(ctx, loadingKey{}, &loading{cache: cache, keys: keys, parent: parent})
}

// withoutLoading returns ctx for a load that is nested in none.
func withoutLoading(ctx context.Context) context.Context {
	if ctx.Value(loadingKey{}) == nil {
		return ctx
	}
	return context.WithValue(ctx, loadingKey{}, (*loading)(nil))
}

func isLoading(ctx context.Context, cache any, key string) bool {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	for ; l != nil; l = l.parent {
		if l.cache == cache && slices.Contains(l.keys, key) {
			return true
		}
	}
	return false
}
