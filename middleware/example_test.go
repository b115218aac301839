package middleware_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-chi/chi/v5"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func ExampleCache_Handler_chi() {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	calls := 0
	r := chi.NewRouter()
	r.With(cache.Handler(cachemw.Policy{TTL: time.Minute, StaleWhileRevalidate: 10 * time.Minute})).
		Get("/products/{id}", func(w http.ResponseWriter, r *http.Request) {
			calls++ // here the service would wait for an upstream
			fmt.Fprintf(w, "product %s", chi.URLParam(r, "id"))
		})

	for range 2 {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/products/7", nil))
		fmt.Println(w.Body, "-", w.Header().Get("Cache-Status"))
	}
	fmt.Println("calls:", calls)
	// Output:
	// product 7 - freshet; fwd=uri-miss; stored; ttl=60
	// product 7 - freshet; hit; ttl=60
	// calls: 1
}

func ExampleCache_Handler_netHTTP() {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /news", cache.Handler(cachemw.Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=30") // the zero Policy obeys the response
		fmt.Fprint(w, "news")
	})))
	mux.Handle("GET /me", cache.Handler(cachemw.Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=30")
		fmt.Fprint(w, "me")
	})))

	for _, path := range []string{"/news", "/news", "/me"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(w.Body, "-", w.Header().Get("Cache-Status"))
	}
	// Output:
	// news - freshet; fwd=uri-miss; stored; ttl=30
	// news - freshet; hit; ttl=30
	// me - freshet; fwd=uri-miss; detail=private
}

func ExampleCache_PurgeURL() {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	price := 10
	h := cache.Handler(cachemw.Policy{TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "price %d", price)
	}))
	get := func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://shop.example/price", nil))
		fmt.Println(w.Body)
	}
	get()
	price = 20
	get()
	if err := cache.PurgeURL(context.Background(), "http://shop.example/price", cachemw.Hard); err != nil {
		log.Fatal(err)
	}
	get()
	// Output:
	// price 10
	// price 10
	// price 20
}

// A client whose equal requests, one after the other or at once, cost the
// upstream one.
func ExampleCache_Transport() {
	var calls int
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "price list")
	}))
	defer upstream.Close()

	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	client := &http.Client{Transport: cache.Transport(cachemw.Policy{}, nil)}
	for range 3 {
		resp, err := client.Get(upstream.URL + "/prices")
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s (%s)\n", body, resp.Header.Get("Cache-Status"))
	}
	fmt.Println("upstream calls:", calls)
	// Output:
	// price list (freshet; fwd=uri-miss; stored; ttl=60)
	// price list (freshet; hit; ttl=60)
	// price list (freshet; hit; ttl=60)
	// upstream calls: 1
}
