//go:build linux

package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/freshet-go/freshet/benchmarks"
	"github.com/freshet-go/freshet/benchmarks/internal/proc"
	cachemw "github.com/freshet-go/freshet/middleware"
)

const cacheBytes = 256 << 20

// memory fills a cache twice over with bodies of 4 KiB, and compares the
// memory that the process has taken at most with that it had before.
func memory(what string, limit bool) error {
	empty, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	cache, err := cachemw.New(cachemw.Options{MaxBytes: cacheBytes, LimitMemory: limit})
	if err != nil {
		return err
	}
	const size = 4 << 10
	body := make([]byte, size)
	h := cache.Handler(cachemw.Policy{Name: "memory", TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	w := &benchmarks.Writer{H: make(http.Header)}
	r := benchmarks.Request("GET")
	for i := range 2 * cacheBytes / size {
		clear(w.H)
		r.URL.Path = fmt.Sprintf("/products/%d", i)
		h.ServeHTTP(w, r)
	}
	full, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	s := cache.Stats()
	ratio := float64(full.PeakRSS-empty.RSS) / cacheBytes
	report("process memory at a full cache: "+what, "at most 1.3 x MaxBytes above the empty process",
		fmt.Sprintf("%.2f x: %d MiB at most, empty %d MiB; %d entries of 4 KiB, %d of %d MiB counted", ratio, full.PeakRSS>>20, empty.RSS>>20,
			s.Entries, s.Bytes>>20, int64(cacheBytes)>>20), ratio <= 1.3)
	return cache.Close()
}
