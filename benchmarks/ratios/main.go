// Command ratios measures hits against the floor, in turns of a few
// milliseconds, and prints the median of each and of the ratios as a table.
package main

import (
	"fmt"
	"log"
	"runtime"
	"slices"
	"time"

	"github.com/freshet-go/freshet/benchmarks"
	cachemw "github.com/freshet-go/freshet/middleware"
)

const (
	rounds = 301
	turn   = 20_000 // calls
)

func main() {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close() //nolint:errcheck // nothing runs
	targets, err := benchmarks.Hits(cache)
	if err != nil {
		log.Fatal(err)
	}
	fetch, closeFetch, err := benchmarks.Fetch()
	if err != nil {
		log.Fatal(err)
	}
	defer closeFetch() //nolint:errcheck // nothing runs
	targets = append([]benchmarks.Target{benchmarks.Floor()}, append(targets, fetch)...)

	times := make([][]float64, len(targets))
	ratios := make([][]float64, len(targets))
	for range rounds {
		for i, t := range targets {
			times[i] = append(times[i], measure(t.Do))
		}
		for i := range targets {
			last := len(times[i]) - 1
			ratios[i] = append(ratios[i], times[i][last]/times[0][last])
		}
	}
	fmt.Printf("%s %s/%s, medians of %d turns of %d calls\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, rounds, turn)
	fmt.Println("| what | ns | x floor | fastest turn, ns |")
	fmt.Println("|---|---|---|---|")
	for i, t := range targets {
		fmt.Printf("| %s | %.0f | %.2f | %.0f |\n", t.Name, median(times[i]), median(ratios[i]), slices.Min(times[i]))
	}
}

// measure returns the nanoseconds of one call.
func measure(do func()) float64 {
	start := time.Now()
	for range turn {
		do()
	}
	return float64(time.Since(start).Nanoseconds()) / turn
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
