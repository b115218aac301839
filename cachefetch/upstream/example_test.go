package upstream_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/freshet-go/freshet/cachefetch/upstream"
)

func ExampleNew() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Alice")
	}))
	defer server.Close()
	transport, err := upstream.New(upstream.Options{
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
		resp, err := client.Get(server.URL)
		if errors.Is(err, upstream.ErrRefused) {
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
	fmt.Println(upstream.ConnsFor(5000, 300*time.Millisecond), upstream.ConnsFor(500, 300*time.Millisecond))
	// Output: 1617 187
}
