package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch/fanout"
)

// The context of a load may be kept for longer: what it belonged to is over.
func TestAContextThatOutlivesItsLoadIsNotNested(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var single, batch context.Context
		wantFetch(t, c, "key", func(ctx context.Context) (string, error) {
			single = context.WithoutCancel(ctx)
			return "v", nil
		}, "v", nil)
		wantMany(t, c, "a", func(ctx context.Context, keys []string) (map[string]string, error) {
			batch = context.WithoutCancel(ctx)
			return map[string]string{"a": "v"}, nil
		}, "v:loaded")
		for key, ctx := range map[string]context.Context{"key": single, "a": batch} {
			if err := c.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			var l loader
			if v, err := c.Fetch(ctx, key, l.returns("new", nil, 0)); v != "new" || err != nil {
				t.Errorf("%s: %q, %v", key, v, err)
			}
		}
	})
}

// A refresh that a load has caused is waited for by nobody, so it may wait for
// that load.
func TestARefreshInsideALoadIsNotNested(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Second, StaleWhileRevalidate: time.Hour}, func(t *testing.T, c *Cache[string]) {
		set(t, c, "menu", "old")
		set(t, c, "many", "old")
		time.Sleep(2 * time.Second)
		wantFetch(t, c, "user", func(ctx context.Context) (string, error) {
			_, _ = c.Fetch(ctx, "menu", func(ctx context.Context) (string, error) {
				return c.Fetch(ctx, "user", nil)
			})
			_, _ = c.FetchMany(ctx, []string{"many"}, func(ctx context.Context, _ []string) (map[string]string, error) {
				v, err := c.Fetch(ctx, "user", nil)
				return map[string]string{"many": v}, err
			})
			time.Sleep(100 * time.Millisecond)
			return "user", nil
		}, "user", nil)
		synctest.Wait()
		wantGet(t, c, "menu", "user")
		wantGet(t, c, "many", "user")
	})
}

// Loads that wait for each other in a circle would all wait until LoadTimeout.
// One of them is told at once, and the others get its error.
func TestLoadsThatWaitForEachOtherFailAtOnce(t *testing.T) {
	type fetch func(ctx context.Context, c *Cache[string], key string, load func(context.Context) (string, error)) error
	forms := map[string]fetch{
		"Fetch": func(ctx context.Context, c *Cache[string], key string, load func(context.Context) (string, error)) error {
			return fetchError(c, ctx, key, load)
		},
		"FetchMany": func(ctx context.Context, c *Cache[string], key string, load func(context.Context) (string, error)) error {
			_, err := c.FetchMany(ctx, []string{key, key + "'"}, func(ctx context.Context, keys []string) (map[string]string, error) {
				v, err := load(ctx)
				return map[string]string{key: v}, err
			})
			return err
		},
	}
	for name, fetch := range forms {
		for n := 2; n <= 4; n++ {
			t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caches := []*Cache[string]{newTest(t, Options[string]{}), newTest(t, Options[string]{})}
					var load func(i int) func(context.Context) (string, error)
					load = func(i int) func(context.Context) (string, error) {
						return func(ctx context.Context) (string, error) {
							time.Sleep(time.Second) // until all have begun
							next := (i + 1) % n
							return "v", fetch(ctx, caches[next%2], fmt.Sprint(next), load(next))
						}
					}
					begin := time.Now()
					together(n, func(i int) {
						if err := fetch(t.Context(), caches[i%2], fmt.Sprint(i), load(i)); !errors.Is(err, ErrNested) {
							t.Errorf("load %d: %v", i, err)
						}
					})()
					if took := time.Since(begin); took > 2*time.Second {
						t.Errorf("took %v", took)
					}
					var l loader // and it is nobody else's error
					wantFetch(t, caches[0], "0", l.returns("v", nil, 0), "v", nil)
				})
			})
		}
	}
}

// Waiting for a load that waits for nothing of one's own is no circle.
func TestLoadsMayWaitForTheSame(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var l loader
		together(3, func(i int) {
			wantFetch(t, c, fmt.Sprint(i), func(ctx context.Context) (string, error) {
				return twice(ctx, c, &l)
			}, "shared shared", nil)
		})()
		l.want(t, 1)
	})
}

// twice fetches one key twice, side by side.
func twice(ctx context.Context, c *Cache[string], l *loader) (string, error) {
	load := l.returns("shared", nil, time.Second)
	one := func(ctx context.Context) (string, error) { return c.Fetch(ctx, "shared", load) }
	a, b, err := fanout.Join2(ctx, one, one)
	return a + " " + b, err
}

// A load that removes its own key and fetches it again would begin itself
// without end.
func TestALoadThatRemovesItsKeyIsNestedAllTheSame(t *testing.T) {
	bubble(t, Options[string]{}, func(t *testing.T, c *Cache[string]) {
		var load func(context.Context) (string, error)
		load = func(ctx context.Context) (string, error) {
			if err := c.Delete(ctx, "key"); err != nil {
				return "", err
			}
			return c.Fetch(ctx, "key", load)
		}
		wantFetch(t, c, "key", load, "", ErrNested)
	})
}
