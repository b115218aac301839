package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// Clients on real connections send requests without a pause while the routes
// are replaced again and again. Each must be answered, by one upstream or the
// other, whole.
func TestReloadDropsNothing(t *testing.T) {
	answer := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s", name, body)
		}
	}
	a, b := testConfig(origin(t, answer("a"))), testConfig(origin(t, answer("b")))
	s := start(t, a, Options{})
	var sent, fromA, fromB atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		c := testClient(t)
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := sent.Add(1)
				method, body := "POST", fmt.Sprint(n)
				if n%2 == 0 {
					method = "GET"
				}
				req, _ := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("%s/%d", s.base, n), strings.NewReader(body))
				resp, err := c.Do(req)
				if err != nil {
					t.Errorf("request %d: %v", n, err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				switch string(got) {
				case "a " + body:
					fromA.Add(1)
				case "b " + body:
					fromB.Add(1)
				default:
					t.Errorf("request %d: %d %q %v", n, resp.StatusCode, got, err)
				}
			}
		})
	}
	for i := range 60 {
		before := sent.Load()
		eventually(t, "requests between reloads", func() bool { return sent.Load() > before+10 })
		if _, err := s.Reload([]Config{b, a}[i%2]); err != nil {
			t.Errorf("reload: %v", err)
		}
	}
	close(stop)
	clients.Wait()
	if fromA.Load() == 0 || fromB.Load() == 0 {
		t.Errorf("%d from a, %d from b: not both were in use", fromA.Load(), fromB.Load())
	}
	t.Logf("%d requests, %d from a, %d from b, 60 reloads", sent.Load(), fromA.Load(), fromB.Load())
}

// A request that is upstream during the reload gets the old upstream's answer,
// and the connection it used is closed after it.
func TestReloadFinishesOnOldRoutes(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	old := testConfig(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "old")
	}))
	next := testConfig(origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") }))
	s, c := start(t, old, Options{}), testClient(t)
	retired := s.gateway.current.Load().upstreams["app"]
	first := make(chan string, 1)
	go func() {
		_, body := fetch(t, c, "POST", s.base+"/", nil)
		first <- body
	}()
	within(t, arrived, "the first request upstream")
	if _, err := s.Reload(next); err != nil {
		t.Fatal(err)
	}
	if _, body := fetch(t, c, "POST", s.base+"/", nil); body != "new" {
		t.Errorf("after the reload: %q", body)
	}
	close(release)
	if body := within(t, first, "the first response"); body != "old" {
		t.Errorf("request before the reload: %q", body)
	}
	if !retired.retired.Load() {
		t.Error("the removed upstream keeps its connections")
	}
	eventually(t, "the removed upstream to be idle", func() bool { return retired.active.Load() == 0 })
}

func TestReloadKeepsWhatIsStored(t *testing.T) {
	var calls atomic.Int64
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, calls.Add(1)) })
	c := testConfig(up)
	c.Routes[0].Policy.TTL = 1 << 40
	s, client := start(t, c, Options{}), testClient(t)
	before := s.gateway.current.Load().upstreams["app"]
	fetch(t, client, "GET", s.base+"/", nil)
	c.Routes = append(slices.Clone(c.Routes), Route{Pattern: "/more", Upstream: "app"})
	if restart, err := s.Reload(c); err != nil || len(restart) > 0 {
		t.Fatalf("%v, %v", restart, err)
	}
	if _, body := fetch(t, client, "GET", s.base+"/", nil); body != "1" {
		t.Errorf("after the reload: call %s, want the stored 1", body)
	}
	if s.gateway.current.Load().upstreams["app"] != before {
		t.Error("an upstream that did not change lost its connections")
	}
}

func TestBadReloadChangesNothing(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "still here") })
	c := testConfig(up)
	s, client := start(t, c, Options{}), testClient(t)
	for name, bad := range map[string]Config{
		"empty":            {},
		"unknown upstream": {Upstreams: c.Upstreams, Routes: []Route{{Pattern: "/", Upstream: "x"}}},
		"bad for the cache": {Upstreams: c.Upstreams, MaxBytes: 1 << 40, // needs a restart, so the old budget counts
			Routes: []Route{{Pattern: "/*", Upstream: "app", Policy: cachemw.Policy{MaxBodyBytes: 1 << 30}}}},
	} {
		var ce *ConfigError
		if _, err := s.Reload(bad); !errors.As(err, &ce) {
			t.Errorf("%s: %v", name, err)
		}
		if _, body := fetch(t, client, "GET", s.base+"/", nil); body != "still here" {
			t.Errorf("%s: then answered %q", name, body)
		}
	}
}

func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	s := start(t, c, Options{})
	c.MaxBytes, c.Listen, c.AdminToken, c.MaxHeaderFields = 1<<30, "127.0.0.1:7", "hush", 7
	restart, err := s.Reload(c)
	if err != nil || strings.Join(restart, " ") != "listen admin_token max_bytes max_header_fields" {
		t.Errorf("%v, %v", restart, err)
	}
	if log := s.log.String(); !strings.Contains(log, "restart") || !strings.Contains(log, "max_bytes") || strings.Contains(log, "hush") {
		t.Errorf("log: %s", log)
	}
}

func TestReloadWithoutRoutes(t *testing.T) {
	s := newServer(t, Config{Admin: "off"}, Options{Handler: func(*cachemw.Cache) (http.Handler, error) { return http.NotFoundHandler(), nil }})
	if _, err := s.Reload(testConfig("http://127.0.0.1:1")); !errors.Is(err, ErrNoRoutes) {
		t.Errorf("got %v", err)
	}
}
