// Package slow is an upstream that takes its time and hardly any processor:
// one goroutine, whatever number of requests it makes wait.
package slow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Delays draws how long an upstream takes.
type Delays struct {
	mean   time.Duration
	sigma  float64 // of the logarithm; zero is always mean
	random *rand.Rand
}

// NewDelays returns delays of a mean, log-normally distributed if sigma is not
// zero. With a sigma of 0.5 the 99th percentile is 2.8 times the mean.
func NewDelays(mean time.Duration, sigma float64, seed uint64) (*Delays, error) {
	if mean < 0 || mean > time.Minute || !(sigma >= 0 && sigma <= 2) {
		return nil, fmt.Errorf("slow: delay of %v with sigma %v", mean, sigma)
	}
	return &Delays{mean, sigma, rand.New(rand.NewPCG(seed, 2))}, nil
}

// Next returns the next delay, at most a minute.
func (d *Delays) Next() time.Duration {
	if d.sigma == 0 {
		return d.mean
	}
	// The mean of exp(N(0, sigma)) is exp(sigma^2 / 2).
	x := math.Exp(d.sigma*d.random.NormFloat64() - d.sigma*d.sigma/2)
	return min(time.Duration(x*float64(d.mean)), time.Minute)
}
