package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A gate is an upstream that answers when it is told to.
type gate struct {
	arrived chan string // paths of requests that are held
	release chan struct{}
}

func newGate() *gate {
	return &gate{arrived: make(chan string, 100), release: make(chan struct{})}
}

// serve answers /quick paths at once; /stale ones are stale at once.
func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	control := "max-age=60"
	if strings.HasPrefix(r.URL.Path, "/stale") {
		control = "max-age=0, stale-if-error=60"
	}
	w.Header().Set("Cache-Control", control)
	if !strings.HasSuffix(r.URL.Path, "/quick") {
		g.arrived <- r.URL.Path
		select {
		case <-g.release:
		case <-time.After(waitLimit):
		}
	}
	_, _ = io.WriteString(w, r.URL.Path)
}

// What is to come of an overload: fresh, stale, join an exchange, a short
// queue, 503 with Retry-After. The limit is the upstream's, or the route's.
func TestOverloadOrder(t *testing.T) {
	for name, limit := range map[string]func(c *Config){
		"upstream": func(c *Config) {
			c.Upstreams[0].MaxInFlight, c.Upstreams[0].MaxQueue, c.Upstreams[0].QueueTimeout = 1, 1, waitLimit
		},
		"route": func(c *Config) {
			c.Routes[0].Limit = cachemw.LimitOptions{MaxInFlight: 1, MaxQueue: 1, QueueTimeout: waitLimit}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			c := testConfig(origin(t, g.serve))
			limit(&c)
			s, client := start(t, c, Options{}), testClient(t)
			queued := func() bool {
				m, err := scrape(t, client, s.admin)
				if err != nil {
					t.Fatal(err)
				}
				return m.value(`freshet_upstream_queued{upstream="app"}`) == 1 || m.value(`freshet_limit_queued{route="/*"}`) == 1
			}
			want := func(path string, status int, told string) {
				t.Helper()
				resp, body := fetch(t, client, "GET", s.base+path, nil)
				if resp.StatusCode != status || !strings.Contains(resp.Header.Get("Cache-Status"), told) || status == 200 && body != path {
					t.Errorf("%s: %d %q %q, want %d %q", path, resp.StatusCode, resp.Header, body, status, told)
				}
				if (status == 503) != (resp.Header.Get("Retry-After") != "") {
					t.Errorf("%s: Retry-After %q", path, resp.Header.Get("Retry-After"))
				}
			}
			want("/fresh/quick", 200, "stored")
			want("/stale/quick", 200, "stored")

			var all sync.WaitGroup
			later := func(path, told string) { all.Go(func() { want(path, 200, told) }) }
			later("/running", "stored")
			if path := within(t, g.arrived, "the request that takes the place"); path != "/running" {
				t.Fatal(path)
			}
			later("/queued", "stored")
			eventually(t, "one request in the queue", queued)
			later("/running", "") // collapsed, or a hit if it comes late
			want("/fresh/quick", 200, "hit")
			want("/stale/quick", 200, "fwd=stale; fwd-status=503; ttl=")
			want("/other", 503, "detail=error")
			if n := s.Cache().Stats(); n.Hits != 1 || n.Stale != 1 || n.Refused != 1 {
				t.Errorf("%+v", n)
			}
			close(g.release)
			all.Wait()
			want("/queued", 200, "hit")
			want("/other", 200, "stored") // the refusal is not remembered
		})
	}
}

// The metrics of several upstreams and limits stand in one family each.
func TestUpstreamMetrics(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	c := testConfig(up)
	c.Upstreams = append(c.Upstreams, Upstream{Name: "files", URL: up, RequestsPerSecond: 100, Latency: time.Second})
	c.Routes[0].Limit.MaxInFlight = 7
	c.Routes = append(c.Routes, Route{Pattern: "/files/*", Upstream: "files", Policy: cachemw.Policy{Name: "files"}, Limit: cachemw.LimitOptions{MaxInFlight: 3}})
	s, client := start(t, c, Options{}), testClient(t)
	fetch(t, client, "GET", s.base+"/a", nil)
	fetch(t, client, "GET", s.base+"/files/a", nil)
	fetch(t, client, "GET", s.base+"/files/b", nil)
	m, err := scrape(t, client, s.admin)
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		`freshet_upstream_requests_total{upstream="app"}`:                                      1,
		`freshet_upstream_requests_total{upstream="files"}`:                                    2,
		`freshet_upstream_wait_seconds_count{upstream="files",phase="queue"}`:                  2,
		`freshet_upstream_wait_seconds_count{upstream="files",phase="dial"}`:                   1,
		`freshet_upstream_connections_total{upstream="files",kind="reused"}`:                   1,
		`freshet_upstream_refused_total{upstream="app",reason="queue_full"}`:                   0,
		`freshet_upstream_max_connections{upstream="files"}`:                                   130, // 100 on average, 30 more at times
		`freshet_limit_max_in_flight{route="files"}`:                                           3,
		`freshet_limit_wait_seconds_count{route="/*"}`:                                         1,
		`freshet_request_duration_seconds_count{cache="default",route="/*",outcome="refused"}`: 0,
	} {
		if got := m.value(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

// A reload that leaves a limit alone leaves its places taken: what is under
// way still counts.
func TestReloadKeepsLimits(t *testing.T) {
	g := newGate()
	c := testConfig(origin(t, g.serve))
	c.Routes[0].Limit = cachemw.LimitOptions{MaxInFlight: 1, MaxQueue: -1}
	s, client := start(t, c, Options{}), testClient(t)
	first := make(chan string, 1)
	go func() {
		_, body := fetch(t, client, "GET", s.base+"/first", nil)
		first <- body
	}()
	within(t, g.arrived, "the first request")
	c.Upstreams[0].MaxConns = 5 // another transport, by the same name
	if _, err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	if resp, _ := fetch(t, client, "GET", s.base+"/second/quick", nil); resp.StatusCode != 503 {
		t.Errorf("the limit was forgotten: %d", resp.StatusCode)
	}
	c.Routes[0].Limit.MaxInFlight = 2
	if _, err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	if resp, _ := fetch(t, client, "GET", s.base+"/second/quick", nil); resp.StatusCode != 200 {
		t.Errorf("the new limit is not in place: %d", resp.StatusCode)
	}
	close(g.release)
	if body := within(t, first, "the first response"); body != "/first" {
		t.Errorf("%q", body)
	}
}

// An upstream that sends a header and then nothing: the client is cut off in
// bounded time, must not take what it got for the whole, and the place is free
// again.
func TestBodyTimeout(t *testing.T) {
	stop := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "part")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	defer close(stop)
	c := testConfig(up)
	c.Upstreams[0].MaxInFlight, c.Upstreams[0].MaxQueue = 1, -1
	c.Upstreams[0].BodyTimeout = 200 * time.Millisecond
	s, client := start(t, c, Options{}), testClient(t)
	for _, method := range []string{"GET", "POST"} { // through the cache, and past it
		req, _ := http.NewRequestWithContext(t.Context(), method, s.base+"/stall", nil)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "part" || err == nil {
			t.Errorf("%s: %q, %v, want it cut off", method, body, err)
		}
		eventually(t, "the place to be free", func() bool {
			resp, _ := fetch(t, client, "POST", s.base+"/quick", nil)
			return resp.StatusCode == 200
		})
	}
	m, err := scrape(t, client, s.admin)
	if err != nil {
		t.Fatal(err)
	}
	if n := m.value(`freshet_upstream_failed_total{upstream="app",phase="body"}`); n != 2 {
		t.Errorf("%v failures in the body, want 2", n)
	}
}
