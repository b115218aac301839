//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/freshet-go/freshet/benchmarks"
	"github.com/freshet-go/freshet/benchmarks/internal/load"
	"github.com/freshet-go/freshet/benchmarks/internal/proc"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// collector keeps both cores busy with a full cache, ids by Zipf's law, more
// of them than fit, so that old entries make room for new ones all the time.
func collector() error {
	const ids, size = 400_000, 1 << 10
	cache, err := cachemw.New(cachemw.Options{MaxBytes: cacheBytes})
	if err != nil {
		return err
	}
	zipf, err := load.NewZipf(1, ids)
	if err != nil {
		return err
	}
	body := make([]byte, size)
	h := cache.Handler(cachemw.Policy{Name: "collector", TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	ask := func(w *benchmarks.Writer, r *http.Request, id int) {
		clear(w.H)
		r.URL.Path = fmt.Sprintf("/products/%d", id)
		h.ServeHTTP(w, r)
	}
	w, r := &benchmarks.Writer{H: make(http.Header)}, benchmarks.Request("GET")
	for id := ids; id > 0; id-- { // until it is full
		ask(w, r, id)
	}
	gcBefore, allBefore := proc.Collector()
	hitsBefore := cache.Stats()
	end := time.Now().Add(8 * time.Second)
	var clients sync.WaitGroup
	for i := range 2 {
		clients.Go(func() {
			w, r := &benchmarks.Writer{H: make(http.Header)}, benchmarks.Request("GET")
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(end) {
				for range 100 {
					ask(w, r, zipf.Draw(random))
				}
			}
		})
	}
	clients.Wait()
	gc, all := proc.Collector()
	s := cache.Stats()
	hits, misses := s.Hits-hitsBefore.Hits, s.Misses-hitsBefore.Misses
	share := float64(gc-gcBefore) / float64(all-allBefore)
	report("garbage collection, full cache, both cores asking", "less than 5 % of CPU",
		fmt.Sprintf("%.1f %%; %d requests/s, %.0f %% hits, %d entries, %d MiB", 100*share, (hits+misses)/8,
			100*float64(hits)/float64(max(hits+misses, 1)), s.Entries, s.Bytes>>20), share < 0.05)
	return cache.Close()
}
