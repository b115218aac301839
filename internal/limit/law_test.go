package limit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A simulation offers work to an upstream that works on so many pieces at once,
// and has the others wait in line.
type simulation struct {
	law    *Law
	rand   *rand.Rand
	now    time.Time
	places int
	takes  func() time.Duration

	line    []piece // under way, not yet worked on
	working []piece
	under   int // way
	done    int
	refused int
	slow    []time.Duration // how long pieces took since last looked at
}

type piece struct {
	start Start
	ends  time.Time
}

func simulate(seed uint64, law *Law, places int, takes func(*rand.Rand) time.Duration) *simulation {
	s := &simulation{law: law, rand: rand.New(rand.NewPCG(seed, 2)), now: time.Unix(1, 0), places: places}
	s.takes = func() time.Duration { return takes(s.rand) }
	return s
}

// run offers so many pieces a second for a while, and returns how many a second
// were done in the second half of it.
func (s *simulation) run(d time.Duration, rate float64) (good float64) {
	half := 0
	s.slow = nil
	for step := range int(d / time.Millisecond) {
		if step == int(d/time.Millisecond)/2 {
			half, s.slow = s.done, nil
		}
		s.now = s.now.Add(time.Millisecond)
		s.step(rate / 1000)
	}
	return float64(s.done-half) / (d.Seconds() / 2)
}

func (s *simulation) step(offered float64) {
	left := s.working[:0]
	for _, p := range s.working {
		if p.ends.After(s.now) {
			left = append(left, p)
			continue
		}
		s.done++
		s.slow = append(s.slow, s.now.Sub(p.start.at))
		s.law.End(p.start, s.now)
		s.under--
	}
	s.working = left
	for range poisson(s.rand, offered) {
		if s.under >= s.law.Limit() {
			s.law.Full()
			s.refused++
			continue
		}
		s.line = append(s.line, piece{start: s.law.Begin(s.now, s.under)})
		s.under++
	}
	for len(s.working) < s.places && len(s.line) > 0 {
		p := s.line[0]
		s.line = s.line[1:]
		p.ends = s.now.Add(s.takes())
		s.working = append(s.working, p)
	}
}

func poisson(r *rand.Rand, mean float64) (n int) {
	for p := r.Float64(); p > math.Exp(-mean); p *= r.Float64() {
		n++
	}
	return n
}

func (s *simulation) mean() time.Duration {
	sum := time.Duration(0)
	for _, d := range s.slow {
		sum += d
	}
	return sum / time.Duration(max(1, len(s.slow)))
}

func always(d time.Duration) func(*rand.Rand) time.Duration {
	return func(*rand.Rand) time.Duration { return d }
}

func logNormal(median time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration {
		return time.Duration(float64(median) * math.Exp(0.5*r.NormFloat64()))
	}
}

// The law's promises, for times that are always the same and times that differ
// as those of services do, with 400 places behind it and with 20.
func TestLaw(t *testing.T) {
	for _, row := range []struct {
		name   string
		places int
		takes  func(*rand.Rand) time.Duration
		mean   time.Duration
	}{
		{"400 ms each", 400, always(400 * time.Millisecond), 400 * time.Millisecond},
		{"400 ms, log-normal", 400, logNormal(400 * time.Millisecond), 453 * time.Millisecond},
		{"5 ms, log-normal", 20, logNormal(5 * time.Millisecond), 6 * time.Millisecond},
	} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(row.name, " ", seed), func(t *testing.T) {
				const least, most = 16, 2048
				capacity := func(places int) float64 { return float64(places) / row.mean.Seconds() }
				s := simulate(seed, NewLaw(least, most), row.places, row.takes)
				s.run(10*time.Second, 0.5*capacity(row.places))
				if limit := s.law.Limit(); limit != most {
					t.Errorf("at half of what can be carried the limit is %d", limit)
				}
				bounded := func(what string, places int) {
					t.Helper()
					good := s.run(12*time.Second, 4*capacity(row.places))
					mean := s.mean()
					t.Logf("%s: limit %d, %.2f of what can be carried, %.2f x the time", what, s.law.Limit(), good/capacity(places), float64(mean)/float64(row.mean))
					if good < 0.88*capacity(places) {
						t.Errorf("%s: %.0f of %.0f a second are done", what, good, capacity(places))
					}
					if mean > row.mean*5/2+2*slack && s.law.Limit() > least {
						t.Errorf("%s: they take %v instead of %v", what, mean, row.mean)
					}
					if limit := s.law.Limit(); limit < least || limit > most {
						t.Errorf("%s: the limit is %d", what, limit)
					}
				}
				bounded("four times", row.places)
				s.places = row.places / 4
				s.run(5*time.Second, 4*capacity(row.places))
				bounded("a quarter of the places", s.places)
				s.places = row.places
				s.run(5*time.Second, 4*capacity(row.places))
				bounded("all of them again", s.places)
			})
		}
	}
}

// Work that takes longer although nothing waits is not held back for long.
func TestLawTellsSlownessFromWaiting(t *testing.T) {
	takes := 100 * time.Millisecond
	s := simulate(1, NewLaw(16, 2048), 1<<20, func(*rand.Rand) time.Duration { return takes })
	s.run(5*time.Second, 1000)
	takes = 500 * time.Millisecond
	s.run(10*time.Second, 1000)
	if good := s.run(5*time.Second, 1000); good < 980 {
		t.Errorf("%.0f of 1000 a second are done, the limit is %d", good, s.law.Limit())
	}
}
