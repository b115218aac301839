package server

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// tenants is a gateway to a part of an origin, which is reached under /t too,
// and tells what of it the origin was asked for.
func tenants(t *testing.T) *running {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, r.Host)
	})
	c := testConfig(up + "/tenant1")
	c.H2C = true
	c.Routes = append(c.Routes, Route{Pattern: "/t/*", Upstream: "app", StripPrefix: "/t"})
	return start(t, c, Options{})
}

// What is no path is refused, and nothing but path and query goes upstream.
func TestRequestTargets(t *testing.T) {
	s := tenants(t)
	host := strings.TrimPrefix(s.gateway.current.Load().upstreams["app"].config.URL, "http://")
	host = strings.TrimSuffix(host, "/tenant1")
	f := func(line, want string) {
		t.Helper()
		conn := dial(t, s.Addr())
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: pub.example\r\nContent-Length: 0\r\n\r\n", line)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		got := strings.TrimSuffix(string(body), " "+host)
		if resp.StatusCode != 200 {
			got = fmt.Sprint(resp.StatusCode)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for _, method := range []string{"GET", "POST", "OPTIONS", "PURGE"} {
		f(method+" a:http://127.0.0.1/tenant2/secret", "400")
		f(method+" http:tenant2", "400")
		f(method+" http:/tenant2", "400")
		f(method+" http:///tenant2", "400")
		f(method+" ftp://pub.example/x", "400")
		f(method+" http://user@pub.example/x", "400")
		f(method+" x", "400")
		f(method+" /../tenant2", "400")
		f(method+" /x/%2e%2E/y", "400")
		f(method+" /x%2F..%2fy", "400")
		f(method+" /x/..;a=b/y", "400")
		f(method+" /x/.;/y", "400")
		f(method+` /x\..\y`, "400")
		f(method+" /x%5c..%5Cy", "400")
		f(method+" /t/..", "400")
		f(method+" http://pub.example/..", "400")
		f(method+" /t/%2e%2e/x", "400")

		f(method+" /x", method+" /tenant1/x")
		f(method+" /x/..y/.z/a.b/...", method+" /tenant1/x/..y/.z/a.b/...")
		f(method+" http://other.example/x?y", method+" /tenant1/x?y")
		f(method+" https://other.example/x?", method+" /tenant1/x?")
		f(method+" //x//y", method+" /tenant1//x//y")
		f(method+" /t/x", method+" /tenant1/x")
		f(method+" /t//x", method+" /tenant1//x")
		f(method+" http://other.example/t/x", method+" /tenant1/x")
		// These are the same path in other words, and have the same route.
		f(method+" /%74/%78", method+" /tenant1/x")
		f(method+" /%74/a%2Fb%7e%zz", "400")
		f(method+" /%74/a%2Fb%7e", method+" /tenant1/a%2Fb~")
		f(method+" /a%2fb?a;b&%zz", method+" /tenant1/a%2fb?a;b&%zz")
		f(method+" /a#b?c#d", method+" /tenant1/a%23b?c%23d")
		f(method+" /\xff?\xa0", method+" /tenant1/%FF?%A0")
	}
	f("GET http://other.example", "GET /tenant1/")
	f("GET http://other.example?x", "GET /tenant1/?x")
	f("GET *", "400")
	f("OPTIONS *", "")
	f("OPTIONS http://other.example", "")
}

// HTTP/2 can ask for what HTTP/1 has no way to write.
func TestRequestTargetsOfHTTP2(t *testing.T) {
	var seen atomic.Pointer[string]
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) {
		line := r.RequestURI + " " + r.Host
		seen.Store(&line)
	})
	c := testConfig(up + "/base")
	c.H2C, c.Upstreams[0].PreserveHost = true, true
	s := start(t, c, Options{})
	f := func(method, authority, path, want, wantSeen string) {
		t.Helper()
		seen.Store(nil)
		got := askH2C(t, s.Addr(), ":method", method, ":scheme", "http", ":authority", authority, ":path", path)
		line := ""
		if p := seen.Load(); p != nil {
			line = *p
		}
		if !slices.Contains(strings.Fields(want), got) || line != wantSeen {
			t.Errorf("%s %s %s: %s, upstream saw %q; want %s, %q", method, authority, path, got, line, want, wantSeen)
		}
	}
	f("GET", "a.example", "/x?y", "200", "/base/x?y a.example")
	f("GET", "a.example", "/x?y HTTP/1.1", "200", "/base/x?y%20HTTP/1.1 a.example")
	f("POST", "a.example", "/x y?\xa0&#", "200", "/base/x%20y?%A0&%23 a.example")
	f("GET", "a.example", "/x?\r\nA: b", "reset", "")
	f("GET", "a.example", "/x?\ty", "reset", "")
	f("GET", "a.example", "a:http://127.0.0.1/secret", "400 reset", "") // by net/http (Go 1.27)
	f("GET", "a.example", "x", "reset", "")
	f("GET", "a.example", "/../x", "400", "")
	f("GET", "a.example", "*", "400", "")
	f("OPTIONS", "a.example", "*", "200", "")
	f("GET", "a.example/..", "/x", "400", "")
	f("GET", "a.example b", "/x", "400", "")
	f("GET", "user@a.example", "/x", "reset", "")
	f("GET /secret HTTP/1.1", "a.example", "/x", "400", "")
}

// The same request in other words is answered from the store, and what differs
// for the upstream is not.
func TestTargetsShareWhatIsStored(t *testing.T) {
	var calls atomic.Int64
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, calls.Add(1), " ", r.RequestURI)
	})
	c := testConfig(up)
	c.H2C = true
	s, client := start(t, c, Options{}), testClient(t)
	f := func(target, want string) {
		t.Helper()
		u := &url.URL{Scheme: "http", Host: s.Addr().String(), Opaque: target}
		req := &http.Request{Method: "GET", URL: u, Host: "x", Header: http.Header{}}
		resp, err := client.Do(req.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); string(body) != want {
			t.Errorf("%s: %q, want %q", target, body, want)
		}
	}
	f("/a~?b", "1 /a~?b")
	f("/a%7e?b", "1 /a~?b")
	f("/%61%7E?b", "1 /a~?b")
	f("http://x/a~?b", "1 /a~?b")
	f("/a%2f?b", "2 /a%2f?b")
	f("/a/?b", "3 /a/?b")
	f("/q?\xc3\xa4", "4 /q?%C3%A4")
	f("/q?%C3%A4", "4 /q?%C3%A4")
	f("/q?%c3%a4", "5 /q?%c3%a4")
}

// Whatever a client writes, the upstream is asked for what is below its own
// path, in a line that can be read in one way only, by its own name.
func FuzzRequestTarget(f *testing.F) {
	for _, s := range []string{
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://h/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET a:http://h/x HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /t/%2e%2e/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
		"GET /t//x\\..;y HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /%74/a%2F?\x80#%zz HTTP/1.1\r\nHost: y\r\nForwarded: host=e\r\nX-Forwarded-Host: e\r\n\r\n",
		"X /t?a b HTTP/1.1\r\nHost: y\r\nConnection: Upgrade\r\nUpgrade: z\r\n\r\n",
	} {
		f.Add([]byte(s), "", "")
	}
	f.Add([]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), "http://h/secret", "a b")
	var seen atomic.Pointer[http.Request]
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(r) }))
	f.Cleanup(up.Close)
	c := testConfig(up.URL + "/base")
	c.Routes = append(c.Routes, Route{Pattern: "/t/*", Upstream: "app", StripPrefix: "/t"})
	s, err := New(c, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, raw []byte, opaque, query string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
		if err != nil {
			return
		}
		if opaque != "" {
			r.URL.Opaque = opaque
		}
		r.URL.RawQuery += query // HTTP/2 has less to obey
		r.RemoteAddr = "192.0.2.1:1"
		seen.Store(nil)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		got := seen.Load()
		if got == nil {
			return
		}
		if opaque != "" {
			t.Errorf("%q got through to %q", opaque, got.RequestURI)
		}
		path := got.URL.Path
		if got.URL.Opaque != "" || path != "/base" && !strings.HasPrefix(path, "/base/") || hasDotSegment(path) {
			t.Errorf("%q leads to %q", raw, got.RequestURI)
		}
		if strings.ContainsFunc(got.RequestURI, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
			t.Errorf("%q leads to %q", raw, got.RequestURI)
		}
		if "http://"+got.Host != up.URL {
			t.Errorf("%q has host %q upstream", raw, got.Host)
		}
	})
}
