package cachefetch

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-go/freshet/internal/guard"
)

// An Observer is a set of functions to call as a cache works, for traces and
// logs. Any of them may be nil; those cost nothing. They are called
// concurrently, and the fetches and loads that they are told of wait for them.
// Fetched and RefreshSkipped panic in the call that they are told of. LoadBegins
// and LoadEnds are part of the load: if they panic, it does.
type Observer struct {
	// Fetched is called for each key that a fetch has answered, with the
	// context of the call. It makes a hit allocate. FetchMany calls it for one
	// key after the other, when it has all of them, on another goroutine than
	// its caller's: there runtime.Goexit ends only that.
	Fetched func(ctx context.Context, info FetchInfo)

	// LoadBegins is called before a load, and LoadEnds after it, with the
	// context of the load: it has the values of that of the call that began
	// it. A load that panics ends with a [*PanicError].
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

// fetched calls Fetched for several keys, for all of them whatever it does, and
// panics if it has.
func (o *Observer) fetched(ctx context.Context, infos []FetchInfo) {
	if o.Fetched == nil {
		return
	}
	var panicked *guard.Crash
	for told := 0; told < len(infos); {
		crash := guard.Run(func() {
			for told < len(infos) {
				told++
				o.Fetched(ctx, infos[told-1])
			}
		})
		if crash != nil && crash.Value != nil {
			panicked = crash
		}
	}
	if panicked != nil {
		panic(raised{fmt.Errorf("cachefetch: Observer.Fetched: %w", panicked), panicked.Stack})
	}
}

func (o *Observer) refreshSkipped(ctx context.Context, key string) {
	if o.RefreshSkipped != nil {
		o.RefreshSkipped(ctx, key)
	}
}
