package load

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The share of the first rank is 1 / (1 + 1/2 + ... + 1/n) at s = 1.
func TestZipfProbabilities(t *testing.T) {
	const n = 100_000
	z, err := NewZipf(1, n)
	if err != nil {
		t.Fatal(err)
	}
	var harmonic, sum float64
	for i := 1; i <= n; i++ {
		harmonic += 1 / float64(i)
	}
	for rank := 1; rank <= n; rank++ {
		p := z.Probability(rank)
		sum += p
		if want := 1 / harmonic / float64(rank); math.Abs(p-want) > 1e-9 {
			t.Fatalf("rank %d: %v, want %v", rank, p, want)
		}
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("probabilities add up to %v", sum)
	}
}

func TestZipfDraws(t *testing.T) {
	z, err := NewZipf(1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	const draws = 200_000
	count := make([]int, 1001)
	for range draws {
		count[z.Draw(r)]++ // panics outside of 0 to 1000
	}
	if count[0] != 0 {
		t.Errorf("drew rank 0 %d times", count[0])
	}
	for _, rank := range []int{1, 2, 3, 10, 50} {
		want := draws * z.Probability(rank)
		if got := float64(count[rank]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("rank %d drawn %v times, want about %.0f", rank, got, want)
		}
	}
}

func TestZipfEnds(t *testing.T) {
	for _, bad := range []struct {
		s float64
		n int
	}{{1, 0}, {1, -1}, {-1, 10}, {math.NaN(), 10}} {
		if _, err := NewZipf(bad.s, bad.n); err == nil {
			t.Errorf("s=%v over %d ranks accepted", bad.s, bad.n)
		}
	}
	one, err := NewZipf(1, 1)
	if err != nil || one.Draw(rand.New(rand.NewPCG(1, 1))) != 1 {
		t.Errorf("one rank: %v", err)
	}
	even, err := NewZipf(0, 4)
	if err != nil || math.Abs(even.Probability(4)-0.25) > 1e-12 {
		t.Errorf("s=0 is not even: %v", err)
	}
}

func TestScheduleIsPoisson(t *testing.T) {
	const rate, seconds = 1000, 100
	s, err := NewSchedule(rate, seconds*time.Second, 7, Sweep(3))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var last time.Duration
	var squares float64 // of the gaps, in units of the mean gap
	for {
		due, id, ok := s.Next()
		if !ok {
			break
		}
		if due < last || due >= seconds*time.Second || id != n%3+1 {
			t.Fatalf("request %d: due %v after %v, id %d", n, due, last, id)
		}
		gap := (due - last).Seconds() * rate
		squares += gap * gap
		last = due
		n++
	}
	if math.Abs(float64(n)-rate*seconds) > 5*math.Sqrt(rate*seconds) {
		t.Errorf("%d requests, want about %d", n, rate*seconds)
	}
	// The mean square of an exponential gap is 2, of a constant one 1.
	if mean := squares / float64(n); mean < 1.9 || mean > 2.1 {
		t.Errorf("mean square of the gaps %v, want 2", mean)
	}
}

func TestScheduleRepeats(t *testing.T) {
	z, err := NewZipf(1, 100)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := NewSchedule(100, time.Second, 3, z.Draw)
	b, _ := NewSchedule(100, time.Second, 3, z.Draw)
	other, _ := NewSchedule(100, time.Second, 4, z.Draw)
	same := true
	for {
		due, id, ok := a.Next()
		due2, id2, ok2 := b.Next()
		if due != due2 || id != id2 || ok != ok2 {
			t.Fatal("the same seed made another schedule")
		}
		if due3, _, ok3 := other.Next(); due3 != due || ok3 != ok {
			same = false
		}
		if !ok {
			break
		}
	}
	if same {
		t.Error("another seed made the same schedule")
	}
}

func TestScheduleRefuses(t *testing.T) {
	for _, bad := range []struct {
		rate float64
		end  time.Duration
	}{{0, time.Second}, {-1, time.Second}, {math.NaN(), time.Second}, {math.Inf(1), time.Second}, {1, 0}} {
		if _, err := NewSchedule(bad.rate, bad.end, 1, Sweep(1)); err == nil {
			t.Errorf("%v a second for %v accepted", bad.rate, bad.end)
		}
	}
}

func TestRecorder(t *testing.T) {
	r := newRecorder()
	for i := 1; i <= 1000; i++ {
		r.record(time.Duration(i) * time.Millisecond)
	}
	r.record(-time.Second) // a clock is no excuse to panic
	l := r.latency()
	for _, v := range []struct {
		name string
		got  time.Duration
		want float64 // ms
	}{{"mean", l.Mean, 500}, {"p50", l.P50, 500}, {"p95", l.P95, 950}, {"p99", l.P99, 990}, {"max", l.Max, 1000}} {
		if ms := float64(v.got) / 1e6; math.Abs(ms-v.want) > v.want/500 {
			t.Errorf("%s is %v, want %v ms", v.name, v.got, v.want)
		}
	}
	r.record(100 * time.Hour)
	if max := r.latency().Max; max < longest*99/100 {
		t.Errorf("beyond the longest: %v", max)
	}
	if l := newRecorder().latency(); l != (Latency{}) {
		t.Errorf("nothing recorded: %+v", l)
	}
}

func TestGoodPerSecondIsOfTheSecondHalf(t *testing.T) {
	r := Result{Good: 100, Scheduled: 4 * time.Second, Took: 5 * time.Second, BySecond: []int{0, 10, 30, 40, 20}}
	if got := r.GoodPerSecond(); got != 35 {
		t.Errorf("%v, want 35", got)
	}
	r = Result{Scheduled: 4 * time.Second, BySecond: []int{5}} // none answered later
	if got := r.GoodPerSecond(); got != 0 {
		t.Errorf("%v, want 0", got)
	}
	r = Result{Good: 50, Scheduled: 500 * time.Millisecond, Took: time.Second}
	if got := r.GoodPerSecond(); got != 50 {
		t.Errorf("%v, want 50", got)
	}
}

func TestReadAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name, data string
		want       answer
	}{
		{"nothing", "", answer{}},
		{"half a head", ok + "Content-Le", answer{}},
		{"length", ok + "Content-Length: 2\r\n\r\nhi", answer{status: 200, complete: true}},
		{"half a body", ok + "content-length: 2\r\n\r\nh", answer{status: 200}},
		{"hit", ok + "Cache-Status: freshet; hit; ttl=3\r\nContent-Length: 0\r\n\r\n", answer{status: 200, complete: true, hit: true}},
		{"empty body", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", answer{status: 503, complete: true}},
		{"close", ok + "Connection: close\r\nContent-Length: 0\r\n\r\n", answer{status: 200, close: true, complete: true}},
		{"chunks", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", answer{status: 200, complete: true}},
		{"the end missing", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", answer{status: 200}},
		{"half a chunk", ok + "Transfer-Encoding: chunked\r\n\r\n20\r\nhi", answer{status: 200}},
	} {
		if got, err := readAnswer([]byte(c.data)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for _, bad := range []string{
		"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", ok + "\r\n",
		ok + "Content-Length: -1\r\n\r\n", ok + "Content-Length: x\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
		string(make([]byte, maxHead+1)),
	} {
		if got, err := readAnswer([]byte(bad)); !errors.Is(err, errNotHTTP) {
			t.Errorf("%.30q: %+v, %v", bad, got, err)
		}
	}
}

// Whatever a service sends, the generator neither panics nor waits for a
// response that is complete.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readAnswer(data)
		if err != nil || !a.complete {
			return
		}
		if more, err := readAnswer(append(data, "more"...)); err != nil || more != a {
			t.Errorf("%q is complete, but with more it is %+v, %v", data, more, err)
		}
	})
}
