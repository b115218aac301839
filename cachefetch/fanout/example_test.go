package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/fanout"
)

func loadUser(ctx context.Context) (string, error)     { return "Alice", nil }
func loadOrders(ctx context.Context) ([]string, error) { return []string{"tea", "milk"}, nil }
func loadAds(ctx context.Context) ([]string, error)    { return nil, errors.New("ad server is down") }

func newCache[V any]() *cachefetch.Cache[V] {
	c, err := cachefetch.New(cachefetch.Options[V]{MaxBytes: 1 << 20})
	if err != nil {
		panic(err)
	}
	return c
}

// Two values, each out of a cache or loaded, side by side.
func ExampleJoin2() {
	users, orders := newCache[string](), newCache[[]string]()
	defer users.Close()
	defer orders.Close()
	user, list, err := fanout.Join2(context.Background(),
		func(ctx context.Context) (string, error) { return users.Fetch(ctx, "7", loadUser) },
		func(ctx context.Context) ([]string, error) { return orders.Fetch(ctx, "7", loadOrders) })
	fmt.Println(user, list, err)
	// Output: Alice [tea milk] <nil>
}

func ExampleJoin3() {
	users := newCache[string]()
	defer users.Close()
	user, total, ok, err := fanout.Join3(context.Background(),
		func(ctx context.Context) (string, error) { return users.Fetch(ctx, "7", loadUser) },
		func(ctx context.Context) (int, error) { return 42, nil },
		func(ctx context.Context) (bool, error) { return true, nil })
	fmt.Println(user, total, ok, err)
	// Output: Alice 42 true <nil>
}

func ExampleJoin4() {
	a, b, c, d, err := fanout.Join4(context.Background(),
		func(ctx context.Context) (int, error) { return 1, nil },
		func(ctx context.Context) (int, error) { return 2, nil },
		func(ctx context.Context) (int, error) { panic("boom") },
		func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }) // cancelled
	fmt.Println(c, d, err)
	_, _ = a, b
	// Output: 0 0 fanout: call panicked: boom
}

// Many keys, at most eight loads at once.
func ExampleMap() {
	names := newCache[string]()
	defer names.Close()
	load := func(ctx context.Context) (string, error) { return "a name", nil }
	got, err := fanout.Map(context.Background(), 8, []string{"1", "2", "3"},
		func(ctx context.Context, id string) (string, error) { return names.Fetch(ctx, id, load) })
	fmt.Printf("%q %v\n", got, err)
	// Output: ["a name" "a name" "a name"] <nil>
}

// A page that needs the user, and can do without advertisements.
func ExampleGather() {
	users, ads := newCache[string](), newCache[[]string]()
	defer users.Close()
	defer ads.Close()
	g := fanout.NewGather(context.Background(), fanout.GatherOptions{Budget: 500 * time.Millisecond})
	user := fanout.Require(g, "user", func(ctx context.Context) (string, error) { return users.Fetch(ctx, "7", loadUser) })
	list := fanout.Allow(g, "ads", func(ctx context.Context) ([]string, error) { return ads.Fetch(ctx, "7", loadAds) })
	if err := g.Wait(); err != nil {
		fmt.Println("no page:", err)
		return
	}
	fmt.Println(user.Value(), list.Value(), g.Missing(), list.Err())
	// Output: Alice [] [ads] ad server is down
}
