package slow

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestLogNormalDelays(t *testing.T) {
	const mean, sigma, n = 300 * time.Millisecond, 0.5, 100_000
	d, err := NewDelays(mean, sigma, 1)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	all := make([]float64, n)
	for i := range all {
		all[i] = float64(d.Next()) / float64(mean)
		sum += all[i]
	}
	if got := sum / n; math.Abs(got-1) > 0.02 {
		t.Errorf("mean is %v of what was asked for", got)
	}
	slices.Sort(all)
	if got, want := all[n/2], math.Exp(-sigma*sigma/2); math.Abs(got-want) > 0.02 {
		t.Errorf("median %v, want %v", got, want)
	}
	if got := all[n*99/100]; got < 2.7 || got > 3 {
		t.Errorf("99th percentile %v of the mean, want 2.8", got)
	}
}

func TestFixedDelays(t *testing.T) {
	d, err := NewDelays(time.Second, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got := d.Next(); got != time.Second {
			t.Errorf("%v", got)
		}
	}
	for _, bad := range []struct {
		mean  time.Duration
		sigma float64
	}{{-1, 0}, {time.Hour, 0}, {1, -1}, {1, math.NaN()}, {1, 3}} {
		if _, err := NewDelays(bad.mean, bad.sigma, 1); err == nil {
			t.Errorf("%v, %v accepted", bad.mean, bad.sigma)
		}
	}
}

func TestIDOf(t *testing.T) {
	for head, want := range map[string]string{
		"GET /12 HTTP/1.1\r\nHost: x":   "12",
		"GET /a/b/34 HTTP/1.1":          "34",
		"GET / HTTP/1.1":                "",
		"POST /12 HTTP/1.1":             "no",
		"GET /12 HTTP/2":                "no",
		"GET /12":                       "no",
		"":                              "no",
		"GET http://x/5 HTTP/1.1\r\n\r": "5",
	} {
		got, ok := idOf(head)
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}
