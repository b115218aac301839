package middleware_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/cachefetch/upstream"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// A limiter inside of the cache: hits, stale responses and those who join a
// run need no place.
func ExampleLimiter() {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	limiter, err := cachemw.NewLimiter(cachemw.LimitOptions{Name: "products", MaxInFlight: 150, MaxQueue: 50})
	if err != nil {
		log.Fatal(err)
	}
	policy := cachemw.Policy{TTL: time.Minute, StaleIfError: time.Hour}
	r := chi.NewRouter()
	r.With(cache.Handler(policy), limiter.Handler).Get("/products/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "in flight: ", limiter.Stats().InFlight)
	})
	for range 2 {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/products/7", nil))
		fmt.Println(w.Body, "-", w.Header().Get("Cache-Status"))
	}
	// Output:
	// in flight: 1 - freshet; fwd=uri-miss; stored; ttl=60
	// in flight: 1 - freshet; hit; ttl=60
}

// A route without a cache has a bound too.
func ExampleLimit() {
	r := chi.NewRouter()
	r.With(cachemw.Limit(cachemw.LimitOptions{MaxInFlight: 1, MaxQueue: -1})).Post("/orders", func(w http.ResponseWriter, _ *http.Request) {
		again := httptest.NewRecorder()
		// A second request, while this one has the only place.
		r.ServeHTTP(again, httptest.NewRequest("POST", "/orders", nil))
		fmt.Println("the other:", again.Code, again.Header().Get("Retry-After"))
	})
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("POST", "/orders", nil))
	fmt.Println("this one:", w.Code)
	// Output:
	// the other: 503 1
	// this one: 200
}

// A handler whose upstream refuses, fails or is late.
func ExampleFail() {
	call := func() error {
		return &upstream.RefusedError{Upstream: "users", Reason: upstream.RefusedQueueFull, RetryAfter: 2 * time.Second}
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := call(); err != nil {
			cachemw.Fail(w, err)
			return
		}
		fmt.Fprint(w, "user")
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/users/7", nil))
	fmt.Println(w.Code, w.Header().Get("Retry-After"))
	// Output: 503 2
}
