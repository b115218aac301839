package cachefetch

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// stampede simulates callers that share a value but no process: they come at
// random, rate of them in the time that a load takes. It returns how many
// begin a load before the first one is done, on average.
func stampede(rate, beta float64) float64 {
	const (
		took   = time.Second
		trials = 1000
	)
	sum := 0
	for range trials {
		done := time.Duration(math.MaxInt64) // of the first load
		for left := time.Duration(float64(12*took) * max(beta, 1)); ; {
			left -= time.Duration(rand.ExpFloat64() / rate * float64(took))
			if -left > done {
				break
			}
			if left <= 0 || beta > 0 && refreshesEarly(left, took, beta) {
				sum++
				done = min(done, took-left)
			}
		}
	}
	return float64(sum) / trials
}

// With a fixed TTL the stampede is as large as the traffic. With XFetch it is
// e^(1/beta) callers, whatever the traffic.
func TestStampedeSizes(t *testing.T) {
	for _, row := range []struct{ rate, beta, want float64 }{
		{100, 0, 101},
		{1000, 0, 1001},
		{100, 1, math.E},
		{1000, 1, math.E},
		{1000, 2, math.Sqrt(math.E)},
	} {
		got := stampede(row.rate, row.beta)
		// Eight standard errors or more.
		if math.Abs(got-row.want) > max(0.6, 0.02*row.want) {
			t.Errorf("rate %v, beta %v: %.2f callers load, want %.2f", row.rate, row.beta, got, row.want)
		} else {
			t.Logf("rate %v, beta %v: %.2f callers load, by theory %.2f", row.rate, row.beta, got, row.want)
		}
	}
}

func TestEarlyFrom(t *testing.T) {
	const end = engine.Instant(time.Hour)
	for _, row := range []struct {
		took time.Duration
		beta float64
		want engine.Instant
	}{
		{time.Second, 0, math.MaxInt64},
		{0, 1, math.MaxInt64},
		{time.Second, 1, end - maxDraw*engine.Instant(time.Second)},
		{time.Second, 0.5, end - maxDraw*engine.Instant(time.Second)/2},
		{time.Hour, 1, 0},
		{math.MaxInt64, 10, 0},
	} {
		if got := earlyFrom(end, row.took, row.beta); got != row.want {
			t.Errorf("earlyFrom(1h, %v, %v) = %v, want %v", row.took, row.beta, got, row.want)
		}
	}
}

// A value that is asked for all the time is loaded anew behind before its time
// is over, so that nobody waits; how early depends on how long it takes.
func TestEarlyRefresh(t *testing.T) {
	for _, row := range []struct {
		name  string
		beta  float64
		took  time.Duration
		early bool
	}{
		{"off", 0, time.Second, false},
		{"on", 1, time.Second, true},
		{"on, and hardly anything to load", 1, time.Microsecond, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, Options[string]{TTL: 20 * time.Second, EarlyRefresh: row.beta}, func(t *testing.T, c *Cache[string]) {
				var l loader
				load := l.returns("v", nil, row.took)
				wantFetch(t, c, "key", load, "v", nil)
				for range 2000 {
					time.Sleep(10 * time.Millisecond)
					begin := time.Now()
					wantFetch(t, c, "key", load, "v", nil)
					if row.early && time.Since(begin) > 0 {
						t.Fatal("a caller waited")
					}
				}
				if s := c.Stats(); (s.EarlyRefreshes > 0) != row.early || s.EarlyRefreshes != s.Refreshes || row.early && s.EarlyRefreshes > 2 {
					t.Errorf("%d early refreshes, want early %v", s.EarlyRefreshes, row.early)
				}
			})
		})
	}
}

// An early refresh that fails takes nothing away and backs off.
func TestEarlyRefreshFails(t *testing.T) {
	o := Options[string]{TTL: 20 * time.Second, EarlyRefresh: 10, RefreshBackoff: time.Hour}
	bubble(t, o, func(t *testing.T, c *Cache[string]) {
		var l, down loader
		wantFetch(t, c, "key", l.returns("v", nil, time.Second), "v", nil)
		for range 1990 {
			time.Sleep(10 * time.Millisecond)
			wantFetch(t, c, "key", down.returns("", errUpstream, time.Second), "v", nil)
		}
		down.want(t, 1)
	})
}

// The dice are only thrown where they can fall: a hit before that is a plain
// one.
func TestEarlyRefreshIsRare(t *testing.T) {
	bubble(t, Options[string]{TTL: time.Hour, EarlyRefresh: 1}, func(t *testing.T, c *Cache[string]) {
		_, err := c.FetchItem(t.Context(), "key", func(context.Context, *Item[string]) (Item[string], error) {
			time.Sleep(3 * time.Second)
			return Item[string]{Value: "v"}, nil
		})
		e := c.store.Get(hashOf(c, "key"), "key")
		if err != nil || e.Times.FreshUntil.Sub(e.Value.earlyFrom) != 16*3*time.Second {
			t.Errorf("early from %v before the end, %v", e.Times.FreshUntil.Sub(e.Value.earlyFrom), err)
		}
	})
}
