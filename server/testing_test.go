package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// waitLimit bounds every wait of these tests. It is reached only in failure.
const waitLimit = 20 * time.Second

// lockedBuffer is a bytes.Buffer for a logger and a test at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testConfig sends everything to one upstream, on ports the system chooses.
func testConfig(upstream string) Config {
	return Config{
		Listen:    "127.0.0.1:0",
		Admin:     "127.0.0.1:0",
		MaxBytes:  64 << 20,
		Upstreams: []Upstream{{Name: "app", URL: upstream}},
		Routes:    []Route{{Pattern: "/*", Upstream: "app"}},
	}
}

// running is a server under test.
type running struct {
	*Server
	base, admin string // URLs
	log         *lockedBuffer
	stop        context.CancelFunc
	done        chan error // gets what Serve returned
}

// start runs a server until the test ends.
func start(t *testing.T, c Config, o Options) *running {
	t.Helper()
	log := &lockedBuffer{}
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Server: s, base: "http://" + s.Addr().String(), log: log, stop: stop, done: make(chan error, 1)}
	if s.AdminAddr() != nil {
		r.admin = "http://" + s.AdminAddr().String()
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.done <- s.Serve(ctx)
	}()
	t.Cleanup(func() {
		stop()
		_ = s.Close()
		within(t, finished, "Serve to return")
	})
	return r
}

// origin is an upstream under test.
func origin(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// within waits for c to be closed or to deliver.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(waitLimit):
		t.Fatalf("waited %v for %s", waitLimit, what)
		panic("unreachable")
	}
}

// eventually waits for a condition that nothing signals.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(waitLimit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", waitLimit, what)
		}
	}
}

// testClient does not share connections with other tests.
func testClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: waitLimit}
}

// fetch sends a request and returns the response with its whole body.
func fetch(t *testing.T, c *http.Client, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", method, url, err)
	}
	return resp, string(b)
}

// dial opens a raw connection to a server under test.
func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	return conn
}
