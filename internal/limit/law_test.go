package limit

import (
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

func simulate(law *Law, places int, takes func(*rand.Rand) time.Duration) *simulation {
	s := &simulation{law: law, rand: rand.New(rand.NewPCG(1, 2)), now: time.Unix(1, 0), places: places}
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

func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		name   string
		places int
		takes  func(*rand.Rand) time.Duration
		rate   float64
	}{
		{"fixed 400ms, 400 places, 4x", 400, always(400 * time.Millisecond), 4000},
		{"fixed 400ms, 400 places, half", 400, always(400 * time.Millisecond), 500},
		{"lognormal, 400 places, 4x", 400, logNormal(400 * time.Millisecond), 4000},
		{"lognormal, 400 places, 1.1x", 400, logNormal(400 * time.Millisecond), 980},
		{"fast 5ms, 20 places, 2x", 20, logNormal(5 * time.Millisecond), 8000},
	} {
		s := simulate(NewLaw(16, 2048), tt.places, tt.takes)
		t.Log(tt.name)
		for range 10 {
			g := s.run(2*time.Second, tt.rate)
			t.Logf("  good %.0f/s limit %d mean %v usual %v", g, s.law.Limit(), s.mean().Round(time.Millisecond), s.law.Usual().Round(time.Millisecond))
		}
		s.places /= 4
		t.Log(" a quarter")
		for range 6 {
			g := s.run(2*time.Second, tt.rate)
			t.Logf("  good %.0f/s limit %d mean %v usual %v", g, s.law.Limit(), s.mean().Round(time.Millisecond), s.law.Usual().Round(time.Millisecond))
		}
		s.places *= 4
		t.Log(" and back")
		for range 8 {
			g := s.run(2*time.Second, tt.rate)
			t.Logf("  good %.0f/s limit %d mean %v usual %v", g, s.law.Limit(), s.mean().Round(time.Millisecond), s.law.Usual().Round(time.Millisecond))
		}
	}
}
