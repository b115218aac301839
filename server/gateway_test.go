package server

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func TestMethodsPass(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Seen", r.Method)
		fmt.Fprintf(w, "%s %s", r.Method, body)
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
		// chi does not know these.
		"PURGE", "M-SEARCH", "PROPFIND", "MKCOL", "QUERY", "get",
	} {
		var body io.Reader
		want := method + " "
		if method != "TRACE" && method != "HEAD" && method != "GET" {
			body, want = strings.NewReader("hello"), method+" hello"
		}
		resp, got := fetch(t, c, method, s.base+"/x/y", body)
		if resp.StatusCode != 200 || resp.Header.Get("Seen") != method {
			t.Errorf("%s: %d, upstream saw %q", method, resp.StatusCode, resp.Header.Get("Seen"))
		}
		if method != "HEAD" && got != want {
			t.Errorf("%s: body %q, want %q", method, got, want)
		}
	}
}

func TestConnectIsRefused(t *testing.T) {
	s := start(t, testConfig("http://127.0.0.1:1"), Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusNotImplemented {
		t.Fatalf("%v, %v; want 501", resp, err)
	}
}

func TestInterimResponsesPass(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Link", "</b.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "page")
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	for _, method := range []string{"GET", "POST"} { // through the cache, and past it
		var links []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			links = append(links, fmt.Sprintf("%d %s", code, h.Get("Link")))
			return nil
		}}
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), method, s.base+"/", nil)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got, want := strings.Join(links, " "), "103 </a.css>; rel=preload 103 </b.css>; rel=preload"; got != want {
			t.Errorf("%s: interim responses %q, want %q", method, got, want)
		}
		if resp.StatusCode != 200 || string(body) != "page" {
			t.Errorf("%s: %d %q", method, resp.StatusCode, body)
		}
	}
}

func TestTrailersPass(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "Checksum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("Checksum", "announced")
		w.Header().Set(http.TrailerPrefix+"Late", "not announced, "+cmp.Or(r.Trailer.Get("From-Client"), "none from the client"))
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	for _, method := range []string{"GET", "POST"} {
		req, _ := http.NewRequestWithContext(t.Context(), method, s.base+"/", nil)
		want := "not announced, none from the client"
		if method == "POST" {
			req.Body = io.NopCloser(strings.NewReader("data"))
			req.Trailer = http.Header{"From-Client": {"yes"}}
			want = "not announced, yes"
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != "body" {
			t.Errorf("%s: body %q, %v", method, body, err)
		}
		if resp.Trailer.Get("Checksum") != "announced" || resp.Trailer.Get("Late") != want {
			t.Errorf("%s: trailers %v", method, resp.Trailer)
		}
	}
}

// A WebSocket is an upgrade like this one followed by its own frames.
func TestUpgradePasses(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			t.Errorf("upstream got Upgrade %q", r.Header.Get("Upgrade"))
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		defer conn.Close()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("echo " + line))
		}
	})
	s := start(t, testConfig(up), Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%v, %v", resp, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, word)
		if got, err := r.ReadString('\n'); err != nil || got != "echo "+word {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// The first half of a request's body is upstream, and the answer to it back,
// before the second half is sent.
func TestBodiesStream(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		b := bufio.NewReader(r.Body)
		for {
			line, err := b.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "got "+line)
			_ = rc.Flush()
		}
	})
	s := start(t, testConfig(up), Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); line != "got one\n" {
		t.Fatalf("%q, %v", line, err)
	}
	fmt.Fprintf(conn, "4\r\ntwo\n\r\n0\r\n\r\n")
	if line, err := body.ReadString('\n'); line != "got two\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// pattern is an endless reader of bytes that depend on their position, if read
// in multiples of four.
type pattern struct{ n uint32 }

func (p *pattern) Read(b []byte) (int, error) {
	n := 0
	for ; n+4 <= len(b); n += 4 {
		binary.LittleEndian.PutUint32(b[n:], p.n)
		p.n += 0x9E3779B9
	}
	if n == 0 {
		return 1, nil
	}
	return n, nil
}

func TestLargeBodies(t *testing.T) {
	const size = 24 << 20 // three times what may be stored
	want := sha256.New()
	_, _ = io.CopyN(want, &pattern{}, size)
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		_, _ = io.CopyN(w, &pattern{}, size)
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	for _, path := range []string{"/sized", "/chunked"} {
		for range 2 {
			resp, err := c.Get(s.base + path)
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			n, err := io.Copy(h, resp.Body)
			_ = resp.Body.Close()
			if err != nil || n != size || !bytes.Equal(h.Sum(nil), want.Sum(nil)) {
				t.Errorf("%s: %d bytes, %v, or other bytes than sent", path, n, err)
			}
		}
	}
	_, got := fetch(t, c, "POST", s.base+"/", io.LimitReader(&pattern{}, size))
	if want := fmt.Sprintf("%d %x <nil>", size, want.Sum(nil)); got != want {
		t.Errorf("upstream got %s, want %s", got, want)
	}
}

// Bytes are those of the upstream: not decompressed, not asked for otherwise.
func TestEncodingPasses(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if ae := r.Header.Get("Accept-Encoding"); ae != "" {
			w.Header().Set("Content-Encoding", ae)
		}
		_, _ = io.WriteString(w, "not really compressed")
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	if resp, _ := fetch(t, c, "POST", s.base+"/", nil); resp.Header.Get("Content-Encoding") != "" {
		t.Error("the gateway asked for an encoding the client did not")
	}
	resp, body := fetch(t, c, "POST", s.base+"/", nil, "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || body != "not really compressed" {
		t.Errorf("%v %q", resp.Header, body)
	}
}

func TestWhatUpstreamSees(t *testing.T) {
	seen := make(chan *http.Request, 1)
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	c := testConfig(up + "/base")
	c.Upstreams = append(c.Upstreams, Upstream{Name: "host", URL: up, PreserveHost: true, NoVia: true})
	c.Routes = append(c.Routes,
		Route{Pattern: "/host/*", Upstream: "host", StripPrefix: "/host"},
		Route{Pattern: "/host", Upstream: "host", StripPrefix: "/host"})
	s, client := start(t, c, Options{}), testClient(t)
	upHost := strings.TrimPrefix(up, "http://")
	do := func(target string, header ...string) *http.Request {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", s.base+target, nil)
		req.Host = "shop.example"
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return within(t, seen, "the upstream")
	}

	r := do("/a%2Fb/c?x=1;y=%zz&z", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "Forwarded", "for=6.6.6.6",
		"Connection", "X-Hop", "X-Hop", "1", "Via", "1.1 before")
	if r.RequestURI != "/base/a%2Fb/c?x=1;y=%zz&z" {
		t.Errorf("target %s", r.RequestURI)
	}
	if r.Host != upHost {
		t.Errorf("Host %s, want the upstream's", r.Host)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "http",
		"Forwarded": "", "X-Hop": "", "Via": "1.1 before, 1.1 freshet",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	r = do("/host/a%2Fb?q")
	if r.Host != "shop.example" || r.RequestURI != "/a%2Fb?q" || r.Header.Get("Via") != "" {
		t.Errorf("Host %s, target %s, Via %q", r.Host, r.RequestURI, r.Header.Get("Via"))
	}
	if r = do("/host"); r.RequestURI != "/" {
		t.Errorf("target %s of a path that is all prefix", r.RequestURI)
	}
}

func TestDotSegmentsAreRefused(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	s := start(t, testConfig(up), Options{})
	f := func(target string, want int) {
		t.Helper()
		conn := dial(t, s.Addr())
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n", target)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, %v, want %d", target, resp, err, want)
		}
	}
	f("/public/../private", 400)
	f("/public/%2e%2e/private", 400)
	f("/public/..%2fprivate", 400)
	f("/./x", 400)
	f("/x/..", 400)
	f("/.well-known/x", 200)
	f("/x/...", 200)
	f("/x?file=/../y", 200)
	f("//x//y", 200)
}

func TestUpstreamFailures(t *testing.T) {
	hang := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-hang
		case "/drop":
			panic(http.ErrAbortHandler)
		}
	})
	t.Cleanup(func() { close(hang) })
	c := testConfig(up)
	c.Upstreams[0].ResponseHeaderTimeout = 50 * time.Millisecond
	c.Upstreams = append(c.Upstreams, Upstream{Name: "down", URL: "http://127.0.0.1:1"})
	c.Routes = append(c.Routes, Route{Pattern: "/down", Upstream: "down"})
	s, client := start(t, c, Options{}), testClient(t)
	for _, row := range []struct {
		path   string
		status int
	}{{"/slow", 504}, {"/drop", 502}, {"/down", 502}} {
		for _, method := range []string{"GET", "POST"} {
			resp, body := fetch(t, client, method, s.base+row.path, nil)
			if resp.StatusCode != row.status || resp.Header.Get("Cache-Control") != "no-store" || body != http.StatusText(row.status)+"\n" {
				t.Errorf("%s %s: %d %q %v, want %d", method, row.path, resp.StatusCode, body, resp.Header, row.status)
			}
		}
	}
	// The log is written behind the answer.
	wanted := func(log string) bool {
		return strings.Contains(log, "upstream=app") && strings.Contains(log, "upstream=down") && strings.Contains(log, "status=504")
	}
	for began := time.Now(); !wanted(s.log.String()) && time.Since(began) < 10*time.Second; {
		runtime.Gosched()
	}
	if log := s.log.String(); !wanted(log) {
		t.Errorf("log: %s", log)
	}
}

// With one connection taken, the next request is refused in time, and the one
// that has the connection is not hurt by it.
func TestConnTimeout(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			close(arrived)
			<-release
		}
		_, _ = io.WriteString(w, "fine")
	})
	c := testConfig(up)
	c.Upstreams[0].MaxConns = 1
	c.Upstreams[0].ConnTimeout = 100 * time.Millisecond
	s, client := start(t, c, Options{}), testClient(t)
	first := make(chan string, 1)
	go func() {
		_, body := fetch(t, client, "POST", s.base+"/first", nil)
		first <- body
	}()
	within(t, arrived, "the first request upstream")
	resp, _ := fetch(t, client, "POST", s.base+"/second", nil)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v, want 503 with Retry-After", resp.StatusCode, resp.Header)
	}
	close(release)
	if body := within(t, first, "the first response"); body != "fine" {
		t.Errorf("first response %q", body)
	}
	if resp, body := fetch(t, client, "POST", s.base+"/third", nil); resp.StatusCode != 200 || body != "fine" {
		t.Errorf("third: %d %q", resp.StatusCode, body)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var conns atomic.Int64
	seen := make(map[string]bool)
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if !seen[r.RemoteAddr] { // requests come one after another
			seen[r.RemoteAddr] = true
			conns.Add(1)
		}
		_, _ = io.WriteString(w, "x")
	})
	s, client := start(t, testConfig(up), Options{}), testClient(t)
	for range 20 {
		fetch(t, client, "POST", s.base+"/", nil)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests", n)
	}
}

func TestCacheInFront(t *testing.T) {
	var calls atomic.Int64
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if r.URL.Path == "/labelled" {
			w.Header().Set("Cache-Control", "max-age=60")
		}
		fmt.Fprintf(w, "%d %s", n, r.URL.RawQuery)
	})
	c := testConfig(up)
	c.Routes = append(c.Routes, Route{
		Pattern: "/ttl/{id}", Upstream: "app",
		Policy: cachemw.Policy{TTL: time.Minute, Query: cachemw.Query{Allow: []string{"q"}}},
	})
	s, client := start(t, c, Options{}), testClient(t)
	f := func(path, first, second string) {
		t.Helper()
		calls.Store(0)
		for _, want := range []string{first, second} {
			if resp, got := fetch(t, client, "GET", s.base+path, nil); got != want {
				t.Errorf("%s: %q, want %q (%s)", path, got, want, resp.Header.Get("Cache-Status"))
			}
		}
	}
	f("/unlabelled", "1 ", "2 ")
	f("/labelled", "1 ", "1 ")
	f("/ttl/1", "1 ", "1 ")
	f("/ttl/2?q=a&utm=b", "1 q=a", "1 q=a")
	if resp, _ := fetch(t, client, "GET", s.base+"/labelled", nil); !strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
		t.Errorf("Cache-Status %q", resp.Header.Get("Cache-Status"))
	}
}

func TestNoRoute(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	c.Routes[0].Pattern = "/only"
	s, client := start(t, c, Options{}), testClient(t)
	for _, method := range []string{"GET", "PURGE"} {
		if resp, body := fetch(t, client, method, s.base+"/other", nil); resp.StatusCode != 404 || body != "Not Found\n" {
			t.Errorf("%s: %d %q", method, resp.StatusCode, body)
		}
	}
}

// What only shows when the cache is made has its place in the file too.
func TestErrorsOfNew(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		c, err := Parse("f.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = New(c, Options{}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	f("max_bytes: 1MiB\n"+valid+"    policy:\n      max_body_bytes: 1MiB\n",
		"f.yaml:9:23: routes[0].policy.max_body_bytes: 1048576: more than an eighth of max_bytes, 131072")
	f("max_bytes: 1KiB\n"+valid, "f.yaml:1:12: max_bytes: 1024: must be at least 65536 bytes")
	f("admin: :9090\n"+valid, `f.yaml:1:8: admin: ":9090": refusing to listen beyond loopback without an admin token`)

	for name, c := range map[string]Config{
		`server: admin: "0.0.0.0:1": refusing to listen beyond loopback without an admin token`: {Admin: "0.0.0.0:1"},
		`server: listen: "x": not an address of the form host:port`:                             {Listen: "x"},
	} {
		_, err := New(c, Options{Handler: func(*cachemw.Cache) (http.Handler, error) { return http.NotFoundHandler(), nil }})
		if err == nil || err.Error() != name {
			t.Errorf("got  %v\nwant %s", err, name)
		}
	}
	boom := errors.New("boom")
	if _, err := New(Config{}, Options{Handler: func(*cachemw.Cache) (http.Handler, error) { return nil, boom }}); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}
