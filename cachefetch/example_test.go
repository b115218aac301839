package cachefetch_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

func Example() {
	users, err := cachefetch.New(cachefetch.Options[string]{
		MaxBytes:             64 << 20,
		TTL:                  time.Minute,
		StaleWhileRevalidate: 10 * time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	for range 2 {
		user, err := users.Fetch(context.Background(), "7", func(ctx context.Context) (string, error) {
			fmt.Println("loading") // once
			return "Alice", nil
		})
		fmt.Println(user, err)
	}
	// Output:
	// loading
	// Alice <nil>
	// Alice <nil>
}

func ExampleCache_Set() {
	ctx := context.Background()
	c, err := cachefetch.New(cachefetch.Options[int]{MaxBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println(c.Set(ctx, "answer", 42))
	fmt.Println(c.Get("answer"))
	fmt.Println(c.Delete(ctx, "answer"))
	fmt.Println(c.Get("answer"))
	// Output:
	// <nil>
	// 42 true
	// <nil>
	// 0 false
}

func ExampleCache_Fetch_notFound() {
	c, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 1 << 20, NegativeTTL: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for range 2 {
		_, err := c.Fetch(context.Background(), "8", func(context.Context) (string, error) {
			fmt.Println("asking upstream") // once
			return "", fmt.Errorf("user 8: %w", cachefetch.ErrNotFound)
		})
		fmt.Println(errors.Is(err, cachefetch.ErrNotFound))
	}
	// Output:
	// asking upstream
	// true
	// true
}
