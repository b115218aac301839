package load

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A Schedule says when each request is to be sent and what it asks for,
// whatever becomes of those before it: that is what makes a load open. One
// that waits for answers before it goes on (hey, wrk, ab) sends less just when
// the service is slow, and so leaves out the worst latencies: Gil Tene's
// coordinated omission.
type Schedule struct {
	rate   float64
	end    time.Duration
	random *rand.Rand
	ids    func(*rand.Rand) int
	at     time.Duration
}

// NewSchedule returns arrivals at random (a Poisson process) of so many a
// second on average, until end, each with an id drawn by ids. The same seed
// makes the same schedule.
func NewSchedule(rate float64, end time.Duration, seed uint64, ids func(*rand.Rand) int) (*Schedule, error) {
	if !(rate > 0) || rate > 1e6 || end <= 0 {
		return nil, fmt.Errorf("load: schedule of %v requests a second for %v", rate, end)
	}
	return &Schedule{rate: rate, end: end, random: rand.New(rand.NewPCG(seed, 1)), ids: ids}, nil
}

// Sweep returns ids that ask for 1, 2, 3 ... up to n, and then again.
func Sweep(n int) func(*rand.Rand) int {
	id := 0
	return func(*rand.Rand) int {
		id = id%n + 1
		return id
	}
}

// Next returns the next request, or false after the last one.
func (s *Schedule) Next() (due time.Duration, id int, ok bool) {
	s.at += time.Duration(s.random.ExpFloat64() / s.rate * float64(time.Second))
	if s.at >= s.end {
		return 0, 0, false
	}
	return s.at, s.ids(s.random), true
}
