package load

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// run puts a load on a handler. Nothing here depends on how fast it is: the
// timeouts are generous where answers come, and hold in any case where none do.
func run(t *testing.T, h http.HandlerFunc, timeout time.Duration, inFlight int) *Result {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return runAt(t, server.Listener.Addr().String(), timeout, inFlight)
}

func runAt(t *testing.T, address string, timeout time.Duration, inFlight int) *Result {
	t.Helper()
	s, err := NewSchedule(500, 200*time.Millisecond, 1, Sweep(10))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(Config{Address: netip.MustParseAddrPort(address), Path: "/page/", Timeout: timeout, MaxInFlight: inFlight}, s)
	if err != nil {
		t.Fatal(err)
	}
	if sum := r.Good + r.Refused + r.Wrong + r.Failed + r.Unanswered; sum != r.Due || r.Due == 0 {
		t.Errorf("%d due, but %d accounted for: %+v", r.Due, sum, r)
	}
	return r
}

func TestEveryRequestIsAnsweredAndCounted(t *testing.T) {
	var served atomic.Int64
	r := run(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		switch r.URL.Path {
		case "/page/1":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/page/2":
			w.WriteHeader(http.StatusBadGateway)
		case "/page/3":
			_, _ = w.Write([]byte(strings.Repeat("long and chunked ", 1000)))
		default:
			_, _ = w.Write([]byte("short"))
		}
	}, time.Minute, 1000)
	if int(served.Load()) != r.Due || r.Unanswered+r.Failed > 0 {
		t.Errorf("served %d of %d: %+v", served.Load(), r.Due, r)
	}
	tenth := (r.Due + 9) / 10
	if r.Refused != tenth || r.Wrong > tenth || r.Wrong == 0 || r.Good < 7*r.Due/10 {
		t.Errorf("of %d due: %+v", r.Due, r)
	}
	if r.Failures["status 502"] != r.Wrong || r.Dialled > r.Due || r.Dialled == 0 {
		t.Errorf("%+v", r)
	}
}

// Requests that wait for a connection are counted from the moment they were
// due: that is all there is to coordinated omission.
func TestWaitingForAConnectionCounts(t *testing.T) {
	var first sync.Once
	r := run(t, func(http.ResponseWriter, *http.Request) {
		first.Do(func() { <-time.After(400 * time.Millisecond) })
	}, time.Minute, 1)
	if r.PeakInFlight != 1 || r.Dialled != 1 || r.Good != r.Due {
		t.Fatalf("%+v", r)
	}
	// All were due in the first 200 ms, and none was answered before 400.
	if r.Latency.P50 < 199*time.Millisecond {
		t.Errorf("median %v", r.Latency.P50)
	}
}

func TestUnansweredRequestsAreGivenUp(t *testing.T) {
	r := run(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 300*time.Millisecond, 5)
	if r.Unanswered != r.Due || r.PeakInFlight > 5 {
		t.Errorf("%+v", r)
	}
	if r.Latency.P50 < 299*time.Millisecond { // counted with the time that they were waited for
		t.Errorf("median %v", r.Latency.P50)
	}
}

func TestBrokenConnectionsFail(t *testing.T) {
	r := run(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, 10)
	if r.Failed != r.Due {
		t.Errorf("%+v", r)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	server.Close()
	r = runAt(t, address, time.Minute, 10)
	if r.Failed != r.Due {
		t.Errorf("nobody listens: %+v", r)
	}
}

func TestRunRefuses(t *testing.T) {
	s, err := NewSchedule(1, time.Second, 1, Sweep(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{
		{},
		{Address: netip.MustParseAddrPort("[::1]:80"), Timeout: time.Second, MaxInFlight: 1},
		{Address: netip.MustParseAddrPort("127.0.0.1:80"), MaxInFlight: 1},
		{Address: netip.MustParseAddrPort("127.0.0.1:80"), Timeout: time.Second},
	} {
		if _, err := Run(c, s); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}
