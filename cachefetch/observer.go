package cachefetch

import (
	"context"
	"time"
)

// An Observer is a set of functions to call as a cache works, for traces and
// logs. Any of them may be nil; those cost nothing. They are called
// concurrently, on the goroutines that do the work, which wait for them. If one
// panics, that is the panic of the caller, or of the load, that it is called
// for; FetchMany calls Fetched on a goroutine of its own, for all keys at the end.
type Observer struct {
	// Fetched is called for each key that a fetch has answered, with the
	// context of the call. It makes a hit allocate.
	Fetched func(ctx context.Context, info FetchInfo)

	// LoadBegins is called before a load, and LoadEnds after it, with the
	// context of the load: it has the values of that of the call that began
	// it. A load that panics ends with a nil error.
	LoadBegins func(ctx context.Context, key string)
	LoadEnds   func(ctx context.Context, key string, took time.Duration, err error)

	// RefreshSkipped is called when a value is due to be refreshed and all
	// of Options.RefreshWorkers are busy.
	RefreshSkipped func(ctx context.Context, key string)
}

// A FetchInfo describes how one key was answered.
type FetchInfo struct {
	Key    string
	Source Source
	Age    time.Duration // of the value
	Wait   time.Duration // that the call took
	Err    error         // as in Result
}

func (o *Observer) loadBegins(ctx context.Context, key string) {
	if o.LoadBegins != nil {
		o.LoadBegins(ctx, key)
	}
}

func (o *Observer) loadEnds(ctx context.Context, key string, took time.Duration, err error) {
	if o.LoadEnds != nil {
		o.LoadEnds(ctx, key, took, err)
	}
}

func (o *Observer) refreshSkipped(ctx context.Context, key string) {
	if o.RefreshSkipped != nil {
		o.RefreshSkipped(ctx, key)
	}
}
