package cachefetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
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

func ExampleNewTransport() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Alice")
	}))
	defer upstream.Close()
	transport, err := cachefetch.NewTransport(cachefetch.TransportOptions{
		Name:              "users",
		RequestsPerSecond: 500,
		Latency:           300 * time.Millisecond,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get(upstream.URL)
		if errors.Is(err, cachefetch.ErrRefused) {
			fmt.Println("503") // a handler passes it on, with Retry-After
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		io.Copy(os.Stdout, resp.Body)
		resp.Body.Close()
	}
	s := transport.Stats()
	fmt.Println("", s.Requests, "requests,", s.Dials, "connection")
	// Output: AliceAliceAlice 3 requests, 1 connection
}

// A page asked for 5,000 times a second needs an upstream of 300 ms, without a
// cache and with nine hits in ten.
func ExampleConnsFor() {
	fmt.Println(cachefetch.ConnsFor(5000, 300*time.Millisecond), cachefetch.ConnsFor(500, 300*time.Millisecond))
	// Output: 1617 187
}
