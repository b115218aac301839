//go:build linux

package main

import (
	"fmt"
	"time"
)

// A stage is the service with some levers pulled, behind upstreams of a kind,
// and the loads it gets, one after the other.
type stage struct {
	Name       string
	Pool       bool
	SideBySide bool
	Cache      bool
	Limited    bool
	Adaptive   bool // the limit finds itself
	TLS        bool
	LogNormal  bool
	Phases     []phase

	UpstreamPlaces int // requests that each upstream works on at once; 0 means any number
	Places         int // of the limiter; 0 means what this machine's processors can do
}

// A phase is one load.
type phase struct {
	Name     string
	Rate     float64
	Duration time.Duration
	Sweep    bool // every id in turn, which warms the cache
	Quiet    bool // not measured
}

const (
	offered   = 5000.0 // requests a second: what the seed's service gets
	busy      = 3000.0 // a little more than the naive service can serve on the machine of the committed run
	light     = 200.0  // what any stage can serve
	sustained = 10_000.0
	beyond    = 20_000.0
	sigma     = 0.5 // of log-normal upstreams
)

// Names of phases that the report looks for.
const (
	phaseLight      = "light"
	phaseBusy       = "busy"
	phaseOffered    = "offered"
	phaseWarm       = "warm"
	phaseSustained  = "sustained"
	phaseBeyond     = "beyond"
	phaseOverload   = "4 x upstreams"
	phaseProcessors = "4 x processors"
)

// both are the loads that most stages get.
func both(scale float64) (lightly, fully phase) {
	return phase{Name: phaseLight, Rate: light, Duration: scaled(4, scale)},
		phase{Name: phaseOffered, Rate: offered, Duration: scaled(7, scale)}
}

// turns are the stages that are measured several times, in turn.
func turns(scale float64) []stage {
	lightly, fully := both(scale)
	busily := phase{Name: phaseBusy, Rate: busy, Duration: scaled(7, scale)}
	return []stage{
		{Name: "naive", Phases: []phase{lightly}},
		{Name: "naive", Phases: []phase{busily}},
		{Name: "naive", Phases: []phase{fully}},
		{Name: "pool", Pool: true, Phases: []phase{lightly}},
		{Name: "pool", Pool: true, Phases: []phase{busily}},
		{Name: "pool", Pool: true, Phases: []phase{fully}},
		{Name: "side by side", SideBySide: true, Phases: []phase{lightly}},
	}
}

// once are the stages that are measured once, since the whole must end in some
// minutes and caches take long to warm.
func once(scale float64) []stage {
	cold := phase{Name: phaseOffered, Rate: offered, Duration: scaled(20, scale)}
	warm := phase{Name: phaseWarm, Rate: offered, Duration: scaled(8, scale)}
	sweep := func(rate float64) phase {
		return phase{Rate: rate, Duration: scaled(ids/rate, scale), Sweep: true, Quiet: true}
	}
	all := stage{Name: "together", Pool: true, SideBySide: true, Cache: true, Limited: true}
	all.Phases = []phase{
		cold, sweep(2500), warm,
		{Name: phaseSustained, Rate: sustained, Duration: scaled(15, scale)},
		{Name: phaseBeyond, Rate: beyond, Duration: scaled(8, scale)},
	}
	logNormal := all
	logNormal.LogNormal = true
	logNormal.Phases = []phase{cold}
	lightly, fully := both(scale)
	return []stage{
		{Name: "naive", TLS: true, Phases: []phase{lightly}},
		{Name: "pool", Pool: true, TLS: true, Phases: []phase{lightly}},
		{Name: "naive", TLS: true, Phases: []phase{fully}},
		{Name: "pool", Pool: true, TLS: true, Phases: []phase{fully}},
		{Name: "side by side", SideBySide: true, Phases: []phase{fully}},
		{Name: "limiter", Limited: true, Phases: []phase{fully}},
		{Name: "naive", LogNormal: true, Phases: []phase{lightly}},
		{Name: "side by side", SideBySide: true, LogNormal: true, Phases: []phase{lightly}},
		{Name: "cache", Cache: true, Phases: []phase{cold, sweep(2000), warm}},
		all, logNormal,
	}
}

// overload are the stages for the limiter's own bar, off and on. In the first
// pair the upstreams are the bottleneck, as for the service that this is made
// for: the slowest one does 1,000 requests a second. In the second pair it is
// this machine's processors, which the load generator needs as well.
func overload(capacity, scale float64) []stage {
	slowest := theUpstreams[1].Delay.Seconds()
	behind := int(upstreamCapacity * slowest)
	places := placesFor(upstreamCapacity)
	p := []phase{{Name: phaseOverload, Rate: 4 * upstreamCapacity, Duration: scaled(60, scale)}}
	q := []phase{{Name: phaseProcessors, Rate: 4 * capacity, Duration: scaled(15, scale)}}
	return []stage{
		{Name: "naive", Phases: p, UpstreamPlaces: behind},
		{Name: "limiter", Limited: true, Phases: p, UpstreamPlaces: behind, Places: places},
		{Name: "naive", Phases: q},
		{Name: "limiter", Limited: true, Phases: q},
	}
}

// cold are the stages that begin with an empty cache under more load than the
// machine can make pages for.
func cold(scale float64) (stages []stage) {
	for _, st := range []stage{
		{Name: "cold, no limit"},
		{Name: "cold, fixed limit", Limited: true, Places: 1024},
		{Name: "cold, adaptive limit", Limited: true, Adaptive: true, Places: 8192},
	} {
		st.Pool, st.SideBySide, st.Cache = true, true, true
		for _, rate := range []float64{offered, 2 * offered} {
			st.Phases = []phase{{Name: fmt.Sprint(rate), Rate: rate, Duration: scaled(20, scale)}}
			stages = append(stages, st)
		}
	}
	return stages
}

const upstreamCapacity = 1000.0 // requests a second of the slowest upstream, where it has a limit

// placesFor returns how many requests are in the naive handler at that rate, by
// Little's law, and a tenth more.
func placesFor(rate float64) int { return int(rate * inTurnTime().Seconds() * 1.1) }

// inTurnTime is what one call after another takes.
func inTurnTime() (sum time.Duration) {
	for _, u := range theUpstreams {
		sum += u.Delay
	}
	return sum
}

func scaled(seconds, scale float64) time.Duration {
	return time.Duration(seconds * scale * float64(time.Second))
}
