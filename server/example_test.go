package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/freshet-go/freshet/server"
)

// The gateway as a handler of a program that has a server of its own. With
// Listen and Serve it opens its listeners itself.
func ExampleServer() {
	calls := 0
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		fmt.Fprint(w, "slow answer")
	}))
	defer app.Close()

	gateway, err := server.New(server.Config{
		MaxBytes:  64 << 20,
		Upstreams: []server.Upstream{{Name: "app", URL: app.URL}},
		Routes: []server.Route{{
			Pattern: "/products/{id}", Upstream: "app",
			Policy: cachemw.Policy{TTL: time.Minute},
		}},
	}, server.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Close()
	front := httptest.NewServer(gateway.Handler())
	defer front.Close()

	for range 3 {
		resp, err := http.Get(front.URL + "/products/7")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Printf("%s, %d upstream\n", body, calls)
	}
	// Output:
	// slow answer, 1 upstream
	// slow answer, 1 upstream
	// slow answer, 1 upstream
}

// All errors of a file are found at once, each with its place.
func ExampleParse() {
	_, err := server.Parse("freshet.yaml", []byte(`
upstreams:
  app:
    url: http://127.0.0.1:8000
routes:
  - pattern: /products/{id}
    upstream: ap
    policy:
      ttl: -1m
`))
	fmt.Println(err)
	// Output:
	// freshet.yaml:7:15: routes[0].upstream: "ap": no such upstream
	// freshet.yaml:9:12: routes[0].policy.ttl: -1m0s: must not be negative
}

func ExampleParseSize() {
	for _, text := range []string{"256MiB", "1.5GB", "4096", "12XB"} {
		n, err := server.ParseSize(text)
		fmt.Println(n, err)
	}
	// Output:
	// 268435456 <nil>
	// 1500000000 <nil>
	// 4096 <nil>
	// 0 not a size such as 256MiB, 1.5GB or 1048576
}
