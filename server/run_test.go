package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/upstream"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// A request is under way when the server is told to stop. It finishes; nothing
// new is accepted; /readyz says so meanwhile.
func TestDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "whole answer")
	})
	s, c := start(t, testConfig(up), Options{}), testClient(t)
	ready := func() (int, string) {
		resp, body := fetch(t, c, "GET", s.admin+"/readyz", nil)
		return resp.StatusCode, body
	}
	eventually(t, "readiness", func() bool { code, _ := ready(); return code == 200 })
	got := make(chan string, 1)
	go func() {
		_, body := fetch(t, c, "GET", s.base+"/", nil)
		got <- body
	}()
	within(t, arrived, "the request upstream")
	s.stop()
	eventually(t, "the listener to close", func() bool {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if code, body := ready(); code != 503 || body != "draining\n" {
		t.Errorf("/readyz while draining: %d %q", code, body)
	}
	if resp, _ := fetch(t, c, "GET", s.admin+"/healthz", nil); resp.StatusCode != 200 {
		t.Errorf("/healthz while draining: %d", resp.StatusCode)
	}
	close(release)
	if body := within(t, got, "the response"); body != "whole answer" {
		t.Errorf("got %q", body)
	}
	if err := within(t, s.done, "Serve"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Cache().PurgeURL(t.Context(), "http://x/", cachemw.Hard); !errors.Is(err, cachemw.ErrClosed) {
		t.Errorf("the cache was not closed: %v", err)
	}
}

func TestDrainTimeout(t *testing.T) {
	arrived := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	c := testConfig(up)
	c.DrainTimeout = 50 * time.Millisecond
	s := start(t, c, Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: example\r\nContent-Length: 0\r\n\r\n")
	within(t, arrived, "the request upstream")
	s.stop()
	if err := within(t, s.done, "Serve"); !errors.Is(err, ErrDrainTimeout) {
		t.Errorf("Serve: %v", err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of a request that was cut off", n)
	}
}

// The port that another program took in between, and a Close from outside.
func TestServeEnds(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	s := newServer(t, c, Options{})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	eventually(t, "it to serve", func() bool { return s.state.Load() == stateServing })
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := within(t, done, "Serve"); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}

	s = newServer(t, c, Options{})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	_ = s.mainListener.Close()
	if err := s.Serve(t.Context()); err == nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a dead listener: %v", err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.Listen = taken.Addr().String()
	var le *ListenError
	if err := newServer(t, c, Options{}).Serve(t.Context()); !errors.As(err, &le) {
		t.Errorf("Serve without Listen on a taken port: %v", err)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	c.ReadHeaderTimeout = 50 * time.Millisecond
	s := start(t, c, Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: exa")
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	c.MaxHeaderBytes = 1 << 10
	s := start(t, c, Options{})
	conn := dial(t, s.Addr())
	go fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: example\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestH2C(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.Header.Get("Via")) })
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: waitLimit}

	c := testConfig(up)
	off := start(t, c, Options{})
	if resp, err := client.Get(off.base); err == nil {
		_ = resp.Body.Close()
		t.Error("HTTP/2 without TLS is on by default")
	}
	c.H2C = true
	on := start(t, c, Options{})
	resp, body := fetch(t, client, "GET", on.base+"/", nil)
	if resp.Proto != "HTTP/2.0" || body != "HTTP/1.1 2.0 freshet" {
		t.Errorf("%s, %q", resp.Proto, body)
	}
	// And to an upstream: this gateway itself.
	c = testConfig(on.base)
	c.Upstreams[0].H2C = true
	front := start(t, c, Options{})
	if _, body := fetch(t, testClient(t), "GET", front.base+"/x", nil); body != "HTTP/1.1 1.1 freshet, 2.0 freshet" {
		t.Errorf("%q", body)
	}
}

// Every setting that reaches the transport and the server, and that the pool's
// numbers agree with each other.
func TestSettingsReachTheirPlace(t *testing.T) {
	u := Upstream{
		Name: "a", URL: "http://a", MaxConns: 7, MaxIdleConns: 6, MaxInFlight: 9, MaxQueue: 10, NoHTTP2: true,
		QueueTimeout: 500 * time.Millisecond, ConnTimeout: time.Second, DialTimeout: 2 * time.Second,
		TLSTimeout: 3 * time.Second, ResponseHeaderTimeout: 4 * time.Second, BodyTimeout: 6 * time.Second,
		RequestTimeout: 7 * time.Second, IdleTimeout: 5 * time.Second, MaxConnAge: 8 * time.Second,
	}
	got := u.withDefaults().transportOptions()
	if via, err := got.Proxy(nil); via != nil || err != nil {
		t.Errorf("a proxy is used: %v, %v", via, err)
	}
	got.Proxy = nil
	want := upstream.Options{
		Name: "a", Unlisted: true, MaxConnsPerHost: 7, MaxIdleConnsPerHost: 6, MaxInFlight: 9, MaxQueue: 10,
		QueueTimeout: 500 * time.Millisecond, ConnTimeout: time.Second, DialTimeout: 2 * time.Second,
		TLSTimeout: 3 * time.Second, ResponseHeaderTimeout: 4 * time.Second, BodyTimeout: 6 * time.Second,
		RequestTimeout: 7 * time.Second, IdleConnTimeout: 5 * time.Second, MaxConnAge: 8 * time.Second, DisableHTTP2: true, DisableCompression: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	u = Upstream{RequestsPerSecond: 5, Latency: time.Second, H2C: true, Proxy: true}
	if o := u.withDefaults().transportOptions(); o.RequestsPerSecond != 5 || o.Latency != time.Second || !o.H2C || o.Proxy != nil || o.RequestTimeout >= 0 {
		t.Errorf("%+v", o)
	}
	c := testConfig("http://a")
	c.ReadHeaderTimeout, c.IdleTimeout, c.MaxHeaderBytes = time.Second, 2*time.Second, 3000
	s := newServer(t, c, Options{})
	for _, h := range []*http.Server{s.main, s.admin} {
		if h.ReadHeaderTimeout != time.Second || h.IdleTimeout != 2*time.Second || h.MaxHeaderBytes != 3000 || h.WriteTimeout != 0 || h.ReadTimeout != 0 {
			t.Errorf("server: %+v", h)
		}
	}
}
