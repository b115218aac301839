//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/load"
	"github.com/freshet-go/freshet/benchmarks/internal/proc"
	"github.com/freshet-go/freshet/benchmarks/internal/slow"
)

// A row is one phase of one stage, measured once.
type row struct {
	Stage     string
	Phase     string
	TLS       bool
	LogNormal bool
	Rate      float64

	Load         load.Result
	CPU          float64 // processors that the service used
	OthersCPU    float64 // processors that upstreams and load generator used
	GC           float64 // share of the garbage collector in that
	PeakRSS      int64
	RSS          []int64        // each second
	Goroutines   int            // at most
	ServerErrors uint64         // that the service's server logged
	Errors       map[string]int // of upstream calls since the service began
	Dialled      uint64         // connections to upstreams
	Calls        uint64         // requests to upstreams
	Hits         uint64
	Coalesced    uint64
	CacheSeen    uint64        // requests that the cache has seen
	PageMean     time.Duration // of pages made
	SlowestMean  time.Duration // of their longest call
	UpstreamPeak uint64        // calls in work at once, of one upstream, since its start
}

// Reuse is the share of upstream calls on a connection that another one had
// used.
func (r *row) Reuse() float64 {
	if r.Calls == 0 {
		return 0
	}
	return max(0, 1-float64(r.Dialled)/float64(r.Calls))
}

// HitRatio counts hits only. Requests that joined another's run are not hits,
// although they cost the upstreams nothing either.
func (r *row) HitRatio() float64 { return ratio(r.Hits, r.CacheSeen) }

// CallsPerRequest is what one good answer cost the upstreams.
func (r *row) CallsPerRequest() float64 { return ratio(r.Calls, uint64(r.Load.Good)) }

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// setup is a stage's processes.
type setup struct {
	upstreams []*child
	service   *child
	address   string
}

func (s *setup) stop() (err error) {
	for _, c := range append([]*child{s.service}, s.upstreams...) {
		if c != nil {
			err = errors.Join(err, c.stop())
		}
	}
	return err
}

// newSetup starts the processes of a stage.
func newSetup(st stage, places int) (*setup, error) {
	s := &setup{}
	config := serviceConfig{Pool: st.Pool, SideBySide: st.SideBySide, Cache: st.Cache}
	for _, p := range st.Phases {
		config.Rate = max(config.Rate, min(p.Rate, offered)) // the pool is for misses; hits need none
	}
	if st.Limited {
		config.Limit = cmp.Or(st.Places, places)
		if st.Adaptive {
			config.Least = 16
		}
	}
	for _, u := range theUpstreams {
		u.TLS, u.Places = st.TLS, st.UpstreamPlaces
		if st.LogNormal {
			u.Sigma = sigma
		}
		var ready upstreamReady
		c, err := start("upstream", u, &ready)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		s.upstreams = append(s.upstreams, c)
		config.Upstreams = append(config.Upstreams, ready)
	}
	var err error
	if s.service, err = start("service", config, &s.address); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// counts are the counters of all processes at one moment.
type counts struct {
	at        time.Time
	usage     proc.Usage
	others    time.Duration // CPU time of the upstreams
	service   serviceStats
	upstreams []slow.Stats
}

func (s *setup) count() (c counts, err error) {
	if err = s.service.ask(&c.service); err != nil {
		return c, fmt.Errorf("service: %w", err)
	}
	for _, u := range s.upstreams {
		var stats slow.Stats
		if err = u.ask(&stats); err != nil {
			return c, fmt.Errorf("upstream: %w", err)
		}
		c.upstreams = append(c.upstreams, stats)
		usage, err := proc.Read(u.pid())
		if err != nil {
			return c, err
		}
		c.others += usage.CPU
	}
	c.at = time.Now()
	c.usage, err = proc.Read(s.service.pid())
	return c, err
}

// measure runs all phases of a stage on new processes.
func measure(st stage, places int) (rows []row, err error) {
	s, err := newSetup(st, places)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", st.Name, err)
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	for i, p := range st.Phases {
		r, err := s.phase(p, uint64(i+1))
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", st.Name, p.Name, err)
		}
		r.Stage, r.TLS, r.LogNormal = st.Name, st.TLS, st.LogNormal
		if !p.Quiet {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func (s *setup) phase(p phase, seed uint64) (r row, err error) {
	r = row{Phase: p.Name, Rate: p.Rate}
	if err = proc.ResetPeak(s.service.pid()); err != nil {
		return r, err
	}
	before, err := s.count()
	if err != nil {
		return r, err
	}
	watch := s.watchMemory()
	c, err := start("load", loadConfig{s.address, p.Rate, p.Duration, seed, p.Sweep}, &r.Load)
	r.RSS = watch()
	if err != nil {
		return r, err
	}
	after, err := s.count()
	if err = errors.Join(err, c.stop()); err != nil {
		return r, err
	}
	after.others += c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	r.add(before, after)
	return r, nil
}

// watchMemory notes the service's memory each second until it is told to end.
func (s *setup) watchMemory() (end func() []int64) {
	stop, ended := make(chan struct{}), make(chan []int64)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var rss []int64
		for {
			select {
			case <-stop:
				ended <- rss
				return
			case <-tick.C:
				if u, err := proc.Read(s.service.pid()); err == nil {
					rss = append(rss, u.RSS)
				}
			}
		}
	}()
	return func() []int64 { close(stop); return <-ended }
}

// add fills in what the counters say.
func (r *row) add(before, after counts) {
	seconds := after.at.Sub(before.at).Seconds()
	r.CPU = (after.usage.CPU - before.usage.CPU).Seconds() / seconds
	r.OthersCPU = (after.others - before.others).Seconds() / seconds
	if busy := after.service.Busy - before.service.Busy; busy > 0 {
		r.GC = float64(after.service.GC-before.service.GC) / float64(busy)
	}
	r.PeakRSS = after.usage.PeakRSS
	a, b := after.service, before.service
	r.Goroutines, r.ServerErrors = a.PeakGoroutines, a.ServerErrors-b.ServerErrors
	r.Errors = a.Errors
	r.Hits, r.Coalesced, r.CacheSeen = a.Hits-b.Hits, a.Coalesced-b.Coalesced, a.Requests-b.Requests
	if pages := a.Pages - b.Pages; pages > 0 {
		r.PageMean = (a.PageTime - b.PageTime) / time.Duration(pages)
		r.SlowestMean = (a.SlowestCalls - b.SlowestCalls) / time.Duration(pages)
	}
	for i := range after.upstreams {
		r.Dialled += after.upstreams[i].Connections - before.upstreams[i].Connections
		r.Calls += after.upstreams[i].Requests - before.upstreams[i].Requests
		r.UpstreamPeak = max(r.UpstreamPeak, after.upstreams[i].Peak)
	}
}
