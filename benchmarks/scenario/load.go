//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/load"
)

// loadConfig is a load on the service.
type loadConfig struct {
	Address  string
	Rate     float64
	Duration time.Duration
	Seed     uint64
	Sweep    bool // ask for each id in turn, to warm a cache, instead of by Zipf's law
}

const (
	ids         = 100_000
	zipfS       = 1.0
	loadTimeout = 10 * time.Second // after which a request is unanswered
	maxInFlight = 12_000           // sockets; the service needs one more for each call
)

func runLoad(c loadConfig) error {
	address, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	draw := load.Sweep(ids)
	if !c.Sweep {
		zipf, err := load.NewZipf(zipfS, ids)
		if err != nil {
			return err
		}
		draw = func(r *rand.Rand) int { return zipf.Draw(r) }
	}
	schedule, err := load.NewSchedule(c.Rate, c.Duration, c.Seed, draw)
	if err != nil {
		return err
	}
	result, err := load.Run(load.Config{Address: address, Path: "/page/", Timeout: loadTimeout, MaxInFlight: maxInFlight}, schedule)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
