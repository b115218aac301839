//go:build linux

package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/benchmarks"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// cold has ten thousand clients ask for one key that is not there.
func cold() error {
	const clients, origin, rounds = 10_000, 300 * time.Millisecond, 5
	var worst time.Duration
	var calls atomic.Int64
	for range rounds {
		cache, err := cachemw.New(cachemw.Options{MaxBytes: 16 << 20})
		if err != nil {
			return err
		}
		h := cache.Handler(cachemw.Policy{Name: "cold", TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			time.Sleep(origin)
			_, _ = w.Write(make([]byte, 1024))
		}))
		times := make([]time.Duration, clients)
		start := make(chan struct{})
		var ready, done sync.WaitGroup
		for i := range clients {
			ready.Add(1)
			done.Go(func() {
				w, r := &benchmarks.Writer{H: make(http.Header)}, benchmarks.Request("GET")
				ready.Done()
				<-start
				began := time.Now()
				h.ServeHTTP(w, r)
				times[i] = time.Since(began)
			})
		}
		ready.Wait()
		close(start)
		done.Wait()
		slices.Sort(times)
		worst = max(worst, times[clients*99/100])
		if err := cache.Close(); err != nil {
			return err
		}
	}
	report("10,000 requests at once for one cold key, origin 300 ms", "1 origin call; p99 at most origin + 50 ms",
		fmt.Sprintf("%d origin calls in %d rounds; p99 of the worst round %d ms", calls.Load(), rounds, worst.Milliseconds()),
		calls.Load() == rounds && worst <= origin+50*time.Millisecond)
	return nil
}

// hot asks for one key again and again while it expires and its origin is
// slow, and compares the hits while a refresh is under way with the others.
func hot() error {
	const origin, ttl, duration = 300 * time.Millisecond, 600 * time.Millisecond, 6 * time.Second
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 16 << 20})
	if err != nil {
		return err
	}
	var refreshing atomic.Bool
	var calls atomic.Int64
	h := cache.Handler(cachemw.Policy{Name: "hot", TTL: ttl, StaleWhileRevalidate: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		refreshing.Store(true)
		time.Sleep(origin)
		refreshing.Store(false)
		_, _ = w.Write(make([]byte, 1024))
	}))
	r := benchmarks.Request("GET")
	h.ServeHTTP(&benchmarks.Writer{H: make(http.Header)}, r)

	var mu sync.Mutex
	var fresh, during []time.Duration
	var clients sync.WaitGroup
	end := time.Now().Add(duration)
	for range 2 {
		clients.Go(func() {
			w, r := &benchmarks.Writer{H: make(http.Header)}, benchmarks.Request("GET")
			var mine [2][]time.Duration
			for time.Now().Before(end) {
				behind := 0
				if refreshing.Load() {
					behind = 1
				}
				began := time.Now()
				h.ServeHTTP(w, r)
				mine[behind] = append(mine[behind], time.Since(began))
				time.Sleep(20 * time.Microsecond) // a load, not a saturation of both cores
			}
			mu.Lock()
			defer mu.Unlock()
			fresh, during = append(fresh, mine[0]...), append(during, mine[1]...)
		})
	}
	clients.Wait()
	slices.Sort(fresh)
	slices.Sort(during)
	a, b := fresh[len(fresh)*99/100], during[len(during)*99/100]
	longest := max(fresh[len(fresh)-1], during[len(during)-1])
	report("a hot key expires under load every 600 ms, origin 300 ms", "no request waits; p99 at most 2 x that of a hit",
		fmt.Sprintf("%d refreshes; p99 %v during one (%d requests), %v otherwise (%d); longest of all %v", calls.Load()-1, b, len(during), a, len(fresh), longest),
		b <= 2*a && longest < origin)
	return cache.Close()
}
