//go:build linux

package main

import (
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/slow"
)

// upstreamConfig is one upstream. Without Places it is as slow under any load.
type upstreamConfig struct {
	Name   string
	Delay  time.Duration // mean
	Sigma  float64       // of the log-normal distribution; 0 is always Delay
	Places int           // requests that it works on at once; 0 means any number
	TLS    bool
}

// upstreamReady is what an upstream says at first.
type upstreamReady struct {
	URL         string
	Certificate []byte // to be trusted, DER, if the URL is https
}

// theUpstreams are those of the service that Freshet was made for.
var theUpstreams = []upstreamConfig{
	{Name: "user", Delay: 300 * time.Millisecond},
	{Name: "preferences", Delay: 400 * time.Millisecond},
	{Name: "content", Delay: 200 * time.Millisecond},
}

func runUpstream(c upstreamConfig) error {
	delays, err := slow.NewDelays(c.Delay, c.Sigma, uint64(c.Delay))
	if err != nil {
		return err
	}
	if c.TLS {
		u, err := slow.NewTLS(c.Name, delays)
		if err != nil {
			return err
		}
		return serve(upstreamReady{"https://" + u.Address, u.Certificate}, u.Serve, u.Stats)
	}
	u, err := slow.NewPlain(c.Name, delays, c.Places)
	if err != nil {
		return err
	}
	return serve(upstreamReady{URL: "http://" + u.Address.String()}, u.Serve, u.Stats)
}

// serve runs until it fails or nobody wants its numbers any more.
func serve[T any](ready any, run func() error, stats func() T) error {
	failed := make(chan error, 2)
	go func() { failed <- run() }()
	go func() { failed <- answer(ready, func() any { return stats() }) }()
	return <-failed
}
