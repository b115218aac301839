package cachefetch_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// slowGet is a backend whose answers take a while.
type slowGet struct{ backendtest.Memory }

func (b *slowGet) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := b.Memory.Get(ctx, key)
	time.Sleep(20 * time.Millisecond)
	return value, err
}

// A load that a Set has overtaken, while it still looked in the backend, takes nothing of it away from other processes,
// whatever it brings.
func TestOvertakenLoadLeavesTheBackendAlone(t *testing.T) {
	results := map[string]func() (cachefetch.Item[string], error){
		"value":     func() (cachefetch.Item[string], error) { return cachefetch.Item[string]{Value: "late"}, nil },
		"no store":  func() (cachefetch.Item[string], error) { return cachefetch.Item[string]{NoStore: true}, nil },
		"not found": func() (cachefetch.Item[string], error) { return cachefetch.Item[string]{}, cachefetch.ErrNotFound },
		"error":     func() (cachefetch.Item[string], error) { return cachefetch.Item[string]{}, errUpstream },
	}
	for name, result := range results {
		for _, negative := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprint(name, " ", negative), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := struct{ backend.Backend }{new(slowGet)} // no lease: it looks once
					if err := node(t, b).Set(t.Context(), "a", "old"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(3 * time.Second)
					first := node(t, b, func(o *cachefetch.Options[string]) { o.NegativeTTL = negative })
					go func() {
						_, _ = first.FetchItem(t.Context(), "a", func(context.Context, *cachefetch.Item[string]) (cachefetch.Item[string], error) {
							time.Sleep(time.Second)
							return result()
						})
					}()
					synctest.Wait()
					if err := first.Set(t.Context(), "a", "set"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(3 * time.Second)
					wantLoad(t, node(t, b), "a", "Bob", nil, "set", false)
				})
			})
		}
	}
}

// An error that is remembered of a key is forgotten when another process has set
// or removed the key.
func TestChangeElsewhereEndsARememberedError(t *testing.T) {
	for name, change := range map[string]func(ctx context.Context, c *cachefetch.Cache[string]) error{
		"Set":    func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Set(ctx, "a", "Alice") },
		"Delete": func(ctx context.Context, c *cachefetch.Cache[string]) error { return c.Delete(ctx, "a") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(backendtest.Memory)
				first := node(t, b)
				second := node(t, b, func(o *cachefetch.Options[string]) { o.FailureTTL = time.Hour })
				time.Sleep(2 * time.Second) // messages come, and what is read is settled
				wantLoad(t, second, "a", "", errUpstream, "", true)
				wantLoad(t, second, "a", "", errUpstream, "", false)
				if err := change(t.Context(), first); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				wantLoad(t, second, "a", "Alice", nil, "Alice", name == "Delete")
			})
		})
	}
}
