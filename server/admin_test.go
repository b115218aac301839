package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func adminRequest(t *testing.T, s *Server, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "http://127.0.0.1:9090"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.AdminHandler().ServeHTTP(w, r)
	return w
}

func newServer(t *testing.T, c Config, o Options) *Server {
	t.Helper()
	s, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var debugPage = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "profiles") })

func TestAdminToken(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	c.AdminToken = "s3cret"
	s := newServer(t, c, Options{Debug: debugPage})
	f := func(path, authorization string, want int) {
		t.Helper()
		w := adminRequest(t, s, path, func(r *http.Request) {
			r.Host = "freshet.example:9090" // a token is enough, whatever the name
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
		})
		if w.Code != want {
			t.Errorf("%s with %q: %d, want %d", path, authorization, w.Code, want)
		}
		if want == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", path)
		}
	}
	f("/healthz", "", 200)
	f("/readyz", "", 503) // it does not serve
	for _, path := range []string{"/metrics", "/debug/pprof/", "/", "/healthz/x", "/nothing"} {
		f(path, "", 401)
		f(path, "Bearer", 401)
		f(path, "Bearer ", 401)
		f(path, "Bearer wrong", 401)
		f(path, "Bearer s3cret2", 401)
		f(path, "Bearer s3cre", 401)
		f(path, "Basic s3cret", 401)
		f(path, "s3cret", 401)
	}
	f("/metrics", "Bearer s3cret", 200)
	f("/metrics", "bearer  s3cret", 200)
	f("/debug/pprof/", "Bearer s3cret", 200)
	f("/nothing", "Bearer s3cret", 404)
}

func TestAdminWithoutToken(t *testing.T) {
	s := newServer(t, testConfig("http://127.0.0.1:1"), Options{Debug: debugPage})
	f := func(path, host string, want int) {
		t.Helper()
		if w := adminRequest(t, s, path, func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("%s for %s: %d, want %d", path, host, w.Code, want)
		}
	}
	f("/metrics", "127.0.0.1:9090", 200)
	f("/metrics", "localhost:9090", 200)
	f("/metrics", "localhost", 200)
	f("/metrics", "[::1]:9090", 200)
	f("/debug/pprof/", "127.0.0.1:9090", 200)
	// A page on the web whose name was made to resolve to this machine.
	f("/metrics", "rebound.example:9090", 403)
	f("/debug/pprof/", "rebound.example", 403)
	f("/healthz", "any.example", 200)

	w := httptest.NewRecorder()
	s.AdminHandler().ServeHTTP(w, httptest.NewRequest("POST", "http://127.0.0.1/metrics", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics: %d", w.Code)
	}
	plain := newServer(t, testConfig("http://127.0.0.1:1"), Options{})
	if w := adminRequest(t, plain, "/debug/pprof/", nil); w.Code != 404 {
		t.Errorf("profiles without Options.Debug: %d", w.Code)
	}
}

func TestAdminOff(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	c.Admin = "off"
	s := start(t, c, Options{})
	if s.AdminAddr() != nil || s.AdminHandler() != nil {
		t.Error("there is an admin listener")
	}
}

func TestIsLoopback(t *testing.T) {
	f := func(addr string, want bool) {
		t.Helper()
		if isLoopback(addr) != want {
			t.Errorf("isLoopback(%q) = %v", addr, !want)
		}
	}
	f("127.0.0.1:1", true)
	f("127.9.9.9:1", true)
	f("[::1]:1", true)
	f("[::ffff:127.0.0.1]:1", true)
	f("localhost:1", true)
	f(":1", false)
	f("0.0.0.0:1", false)
	f("[::]:1", false)
	f("10.0.0.1:1", false)
	f("localhost.example:1", false)
	f("localhost", false)
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(key string, change func(*Config)) {
		t.Helper()
		c := testConfig("http://127.0.0.1:1")
		change(&c)
		s := newServer(t, c, Options{})
		var le *ListenError
		if err := s.Listen(); !errors.As(err, &le) || le.Key != key || le.Address != taken.Addr().String() {
			t.Errorf("%s: %v", key, err)
		}
		if s.Addr() != nil {
			t.Errorf("%s: the other listener stayed open", key)
		}
	}
	f("listen", func(c *Config) { c.Listen = taken.Addr().String() })
	f("admin", func(c *Config) { c.Admin = taken.Addr().String() })

	if ln, err := listenAdmin("0.0.0.0:0", ""); err == nil || !strings.Contains(err.Error(), "beyond loopback") {
		t.Errorf("listened on %v without a token: %v", ln.Addr(), err)
	}
	c := testConfig("http://127.0.0.1:1")
	c.Admin, c.AdminToken = "0.0.0.0:0", "t"
	newServer(t, c, Options{}) // with a token it may
}
