package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// started is a demo that serves, with upstreams that do not wait.
func started(t *testing.T) (*Demo, string) {
	t.Helper()
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range d.upstreams {
		u.delay = 0
	}
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	h, err := d.Handler(cache)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		_ = cache.Close()
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d, s.URL
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %q, %v", url, resp.StatusCode, body, err)
	}
	return string(body)
}

func (d *Demo) requests() (n uint64) {
	for _, u := range d.upstreams {
		n += u.requests.Load()
	}
	return n
}

func TestBothPagesAreTheSame(t *testing.T) {
	d, url := started(t)
	naive := get(t, url+"/naive/page/7")
	if n := d.requests(); n != 3 {
		t.Errorf("%d upstream requests for a naive page, want 3", n)
	}
	fast := get(t, url+"/fast/page/7")
	if n := d.requests(); n != 6 {
		t.Errorf("%d upstream requests for both pages, want 6", n)
	}
	if fast != naive {
		t.Errorf("fast\n%s\nnaive\n%s", fast, naive)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(fast), &p); err != nil || len(p) != 3 {
		t.Errorf("%v, %v", p, err)
	}

	again := get(t, url+"/fast/page/7")
	if n := d.requests(); n != 6 || again != naive {
		t.Errorf("%d upstream requests after a second fast page, want 6 still", n)
	}
	get(t, url+"/naive/page/7")
	if n := d.requests(); n != 9 {
		t.Errorf("%d upstream requests after a second naive page, want 9", n)
	}
	if other := get(t, url+"/fast/page/8"); other == fast {
		t.Error("page 8 is page 7")
	}
}

// A page that is made anew asks only for what changes often.
func TestPartsOutliveThePage(t *testing.T) {
	d, url := started(t)
	first := get(t, url+"/fast/page/7")
	d.cache.Load().Flush(t.Context(), cachemw.Hard)
	if again := get(t, url+"/fast/page/7"); again != first || d.requests() != 4 {
		t.Errorf("%d upstream requests for the page made twice, want 3 and 1", d.requests())
	}
	var b bytes.Buffer
	cachefetch.WriteMetrics(&b, d.Metrics()...)
	for _, want := range []string{
		`freshet_upstream_requests_total{upstream="user"} 1`, `freshet_upstream_requests_total{upstream="content"} 2`,
		`freshet_limit_wait_seconds_count{route="/fast/page/{id}"} 2`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestManyAtOnceMakeOnePage(t *testing.T) {
	d, url := started(t)
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() { get(t, url+"/fast/page/1") })
	}
	clients.Wait()
	if n := d.requests(); n != 3 {
		t.Errorf("%d upstream requests for 40 clients, want 3", n)
	}
}

func TestUpstreamGone(t *testing.T) {
	d, url := started(t)
	_ = d.upstreams[1].close()
	for _, side := range []string{"/naive/page/1", "/fast/page/1"} {
		resp, err := http.Get(url + side)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway || side[1] == 'n' && !strings.Contains(string(body), "preferences") {
			t.Errorf("%s: %d %q", side, resp.StatusCode, body)
		}
	}
}

// One after another takes the sum of the upstreams, side by side the longest.
func TestDelays(t *testing.T) {
	var sum, longest time.Duration
	for _, s := range specs {
		sum, longest = sum+s.delay, max(longest, s.delay)
	}
	if sum != 900*time.Millisecond || longest != 400*time.Millisecond {
		t.Errorf("sum %v, longest %v", sum, longest)
	}
}

func TestUpstreamWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &slowServer{spec: specs[0]}
		start := time.Now()
		w := httptest.NewRecorder()
		u.serve(w, httptest.NewRequest("GET", "/1", nil))
		if took := time.Since(start); took != 300*time.Millisecond || w.Body.Len() == 0 {
			t.Errorf("took %v, %d bytes", took, w.Body.Len())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start = time.Now()
		u.serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/1", nil).WithContext(ctx))
		if took := time.Since(start); took != time.Millisecond {
			t.Errorf("a client that left after 1ms was waited for %v", took)
		}
	})
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Demo{}
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		go d.Report(ctx, &out)
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			for i := range got { // without the time of day
				_, got[i], _ = strings.Cut(got[i], "  ")
			}
			out.Reset()
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		time.Sleep(1500 * time.Millisecond) // in a bubble
		lines("")
		d.naive.calls.Add(3)
		time.Sleep(time.Second)
		lines("") // nothing has ended yet
		for range 10 {
			d.naive.latency.record(900 * time.Millisecond)
		}
		time.Sleep(time.Second)
		lines("naive     10 req/s  p50 901ms  p95 901ms  origin calls 3")
		d.fast.calls.Add(3)
		for range 99 {
			d.fast.latency.record(200 * time.Microsecond)
		}
		d.fast.latency.record(400 * time.Millisecond)
		d.naive.latency.record(time.Second)
		time.Sleep(time.Second)
		lines("naive      1 req/s  p50 999ms  p95 999ms  origin calls 0  |  fast    100 req/s  p50 204µs  p95 204µs  hits 0.0%  origin calls 3")
		time.Sleep(5 * time.Second)
		lines("")
		cancel()
	})
}

func TestHistogram(t *testing.T) {
	// Every duration falls into a bucket whose middle is near.
	for d := time.Microsecond; d < time.Hour; d += d/7 + time.Microsecond {
		got := middle(bucket(d))
		if off := (got - d).Abs(); off > d/16+time.Microsecond {
			t.Fatalf("%v is counted as %v", d, got)
		}
	}
	for i := range buckets - 1 {
		if bucket(middle(i)) != i {
			t.Fatalf("the middle of bucket %d is in bucket %d", i, bucket(middle(i)))
		}
	}
	if bucket(-1) != 0 || bucket(1<<62) != buckets-1 {
		t.Error("ends of the range")
	}
	var h histogram
	if v := h.take(); v.quantile(.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := range 100 {
		h.record(time.Duration(i+1) * time.Millisecond)
	}
	v := h.take()
	for q, want := range map[float64]time.Duration{0: 1, .5: 50, .95: 95, 1: 100} {
		if got := v.quantile(q); (got - want*time.Millisecond).Abs() > want*time.Millisecond/16 {
			t.Errorf("quantile %v is %v, want about %dms", q, got, want)
		}
	}
	if h.take().total != 0 {
		t.Error("taken twice")
	}
	if n := testing.AllocsPerRun(100, func() { h.record(time.Millisecond) }); n != 0 {
		t.Errorf("recording allocates %v times", n)
	}
}

func TestShort(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := short(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	f(500*time.Nanosecond, "<1µs")
	f(3500*time.Nanosecond, "3µs")
	f(123456*time.Nanosecond, "123µs")
	f(1234*time.Microsecond, "1.2ms")
	f(12345*time.Microsecond, "12ms")
	f(901234*time.Microsecond, "901ms")
	f(1234*time.Millisecond, "1.234s")
}

func TestDescribe(t *testing.T) {
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var b bytes.Buffer
	d.Describe(&b, "127.0.0.1:8080", "")
	if strings.Contains(b.String(), "admin") || !strings.Contains(b.String(), "hey -z 10s -c 50 http://127.0.0.1:8080/fast/page/1\n") {
		t.Errorf("printed\n%s", b.String())
	}
}
