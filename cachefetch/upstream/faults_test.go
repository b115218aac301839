package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// soon is a budget that is to run out in a test, and late the bound on how
// long that may take, generous for a busy machine.
const (
	soon = 300 * time.Millisecond
	late = 10 * time.Second
)

// An origin is a server on a real socket that does to each connection what a
// test says, and knows when the connections are gone.
type origin struct {
	net.Listener
	conns sync.WaitGroup
	count atomic.Int64
}

// listen starts an origin. At the end of t, all its connections must have been
// closed by the transport, and no goroutine may be left.
func listen(t *testing.T, serve func(conn *net.TCPConn, n int64)) *origin {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{Listener: ln}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := o.count.Add(1)
			o.conns.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn), n)
				io.Copy(io.Discard, c) // until the transport closes it
			})
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		gone := make(chan struct{})
		go func() { o.conns.Wait(); close(gone) }()
		select {
		case <-gone:
			goleak.VerifyNone(t, ignore)
		case <-time.After(late):
			t.Error("connections to the origin are still open")
		}
	})
	return o
}

func (o *origin) url() string { return "http://" + o.Addr().String() + "/" }

// readRequest reads one request, or reports false at the end.
func readRequest(b *bufio.Reader) bool {
	r, err := http.ReadRequest(b)
	if err == nil {
		io.Copy(io.Discard, r.Body)
	}
	return err == nil
}

// answers serves requests with the response, on a connection that is kept.
func answers(conn net.Conn, response string) {
	for b := bufio.NewReader(conn); readRequest(b); {
		io.WriteString(conn, response)
	}
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// reset closes a connection with RST instead of FIN.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// faulty makes one request and returns its error and the transport's counts.
// The transport is closed before the origin looks for connections left.
func faulty(t *testing.T, o Options, method, url string) (string, Stats, error) {
	t.Helper()
	tr := newTestTransport(t, o)
	var body io.Reader
	if method == http.MethodPost {
		body = io.NopCloser(strings.NewReader("body")) // cannot be had again
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	resp, err := tr.RoundTrip(r)
	var got []byte
	if err == nil {
		got, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if took := time.Since(begin); took > late {
		t.Errorf("took %v", took)
	}
	s := tr.Stats()
	if s.InFlight != 0 || s.Queued != 0 || len(tr.hosts.byName) != 0 {
		t.Errorf("afterwards %d in flight, %d queued, %d hosts", s.InFlight, s.Queued, len(tr.hosts.byName))
	}
	return string(got), s, err
}

func TestFaultUpstreamHangs(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) { readRequest(bufio.NewReader(conn)) })
	_, s, err := faulty(t, Options{ResponseHeaderTimeout: soon}, "GET", up.url())
	if e := wantError(t, err, PhaseFirstByte, context.DeadlineExceeded); !e.Timeout() || !strings.Contains(e.Error(), "ResponseHeaderTimeout") {
		t.Errorf("does not tell that it is a timeout, or which: %v", e)
	}
	if s.Retries != 0 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	_, _, err = faulty(t, Options{RequestTimeout: soon}, "GET", up.url())
	if e := wantError(t, err, PhaseFirstByte, context.DeadlineExceeded); !e.Timeout() {
		t.Errorf("%v", e)
	}
}

// A connection lost before the first byte is tried once more, where that does
// no harm.
func TestFaultUpstreamResets(t *testing.T) {
	serve := func(conn *net.TCPConn, n int64) {
		if b := bufio.NewReader(conn); readRequest(b) && n%2 == 1 {
			reset(conn)
			return
		}
		io.WriteString(conn, okResponse)
	}
	up := listen(t, serve)
	if v, s, err := faulty(t, Options{}, "GET", up.url()); v != "ok" || err != nil || s.Retries != 1 {
		t.Errorf("%q, %v, %d retries", v, err, s.Retries)
	}
	_, s, err := faulty(t, Options{}, "POST", up.url())
	wantError(t, err, PhaseFirstByte, syscall.ECONNRESET)
	if s.Retries != 0 || s.Failed != 1 {
		t.Errorf("a POST: %+v", s)
	}
}

// What may be sent again is sent again whole.
func TestFaultRetriesWithABody(t *testing.T) {
	var bodies atomic.Value
	up := listen(t, func(conn *net.TCPConn, n int64) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		b, _ := io.ReadAll(r.Body)
		if n%2 == 1 {
			reset(conn)
			return
		}
		bodies.Store(string(b))
		io.WriteString(conn, okResponse)
	})
	for _, tt := range []struct {
		method, key string
		again       bool
	}{
		{"PUT", "", true}, {"DELETE", "", true}, {"POST", "order 7", true}, {"POST", "", false}, {"PATCH", "", false},
	} {
		up.count.Store(0)
		tr := newTestTransport(t, Options{})
		r, _ := http.NewRequest(tt.method, up.url(), strings.NewReader("whole")) // has a GetBody
		if tt.key != "" {
			r.Header.Set("Idempotency-Key", tt.key)
		}
		bodies.Store("")
		resp, err := tr.RoundTrip(r)
		if (err == nil) != tt.again || (tr.Stats().Retries == 1) != tt.again {
			t.Errorf("%s %q: %v, %d retries", tt.method, tt.key, err, tr.Stats().Retries)
		}
		if err == nil {
			resp.Body.Close()
			if bodies.Load() != "whole" {
				t.Errorf("%s: sent again %q", tt.method, bodies.Load())
			}
		}
		tr.Close()
	}
}

func TestFaultOneRetryAtMost(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		readRequest(bufio.NewReader(conn))
		reset(conn)
	})
	_, s, err := faulty(t, Options{}, "GET", up.url())
	wantError(t, err, PhaseFirstByte, syscall.ECONNRESET)
	if s.Retries != 1 || up.count.Load() != 2 {
		t.Errorf("%d retries, %d connections", s.Retries, up.count.Load())
	}
}

// Retries are a tenth of the requests, however many fail.
func TestRetriesComeOutOfABudget(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		readRequest(bufio.NewReader(conn))
		reset(conn)
	})
	tr := newTestTransport(t, Options{})
	for range 200 {
		if _, err := get(t.Context(), tr, up.url()); err == nil {
			t.Fatal("no error")
		}
	}
	if n := tr.Stats().Retries; n < 20 || n > 30 { // ten saved, and a tenth of 200
		t.Errorf("%d retries of 200 requests", n)
	}
}

func TestFaultHeadersThenNothing(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		answers(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
	})
	for name, o := range map[string]Options{
		"BodyTimeout":    {BodyTimeout: soon},
		"RequestTimeout": {RequestTimeout: soon},
	} {
		v, s, err := faulty(t, o, "GET", up.url())
		if e := wantError(t, err, PhaseBody, context.DeadlineExceeded); v != "part" || !e.Timeout() || !strings.Contains(e.Error(), name) {
			t.Errorf("%s: %q, %v", name, v, e)
		}
		if s.Leaked != 0 || s.Failed != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// What has begun is not sent again, and not taken for complete.
func TestFaultCutInTheBody(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		readRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
		conn.Close()
	})
	_, s, err := faulty(t, Options{}, "GET", up.url())
	wantError(t, err, PhaseBody, io.ErrUnexpectedEOF)
	if s.Retries != 0 || up.count.Load() != 1 {
		t.Errorf("%d retries", s.Retries)
	}
}

// The upstream closes a kept connection just as it is used again. net/http
// sends what is safe to send again, on another connection.
func TestFaultIdleConnectionClosesAsItIsReused(t *testing.T) {
	serve := func(conn *net.TCPConn, n int64) {
		b := bufio.NewReader(conn)
		if !readRequest(b) {
			return
		}
		io.WriteString(conn, okResponse)
		if n == 1 {
			b.Peek(1) // the second request has just arrived
			reset(conn)
			return
		}
		answers(conn, okResponse)
	}
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			up := listen(t, serve)
			tr := newTestTransport(t, Options{})
			if _, err := get(t.Context(), tr, up.url()); err != nil {
				t.Fatal(err)
			}
			r, _ := http.NewRequest(method, up.url(), nil)
			if method == "POST" {
				r.Body = io.NopCloser(strings.NewReader("body"))
			}
			resp, err := tr.RoundTrip(r)
			s := tr.Stats()
			if s.ReusedConns != 1 {
				t.Errorf("%d requests met the kept connection", s.ReusedConns)
			}
			if method == "POST" {
				wantError(t, err, PhaseFirstByte, nil)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if s.Replays != 1 || s.Dials != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFaultSlowTLS(t *testing.T) {
	up := listen(t, func(*net.TCPConn, int64) {})
	_, s, err := faulty(t, Options{TLSTimeout: soon}, "GET", strings.Replace(up.url(), "http", "https", 1))
	if e := wantError(t, err, PhaseTLS, context.DeadlineExceeded); !e.Timeout() || !strings.Contains(e.Error(), "TLSTimeout") {
		t.Errorf("%v", e)
	}
	if s.DialErrors != 0 || s.Dials != 1 {
		t.Errorf("%+v", s)
	}
}

// nameServer answers no query, or every query with "no such name".
func nameServer(t *testing.T, silent bool) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		for q := make([]byte, 512); ; {
			n, from, err := pc.ReadFrom(q)
			if err != nil {
				return
			}
			if !silent {
				q[2], q[3] = 0x81, 0x83 // a response, NXDOMAIN (RFC 1035 4.1.1)
				pc.WriteTo(q[:n], from)
			}
		}
	}()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
		if err == nil {
			// The resolver itself would go on reading for five seconds.
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}}
	return (&net.Dialer{Resolver: resolver}).DialContext
}

func TestFaultDNS(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("no such name", func(t *testing.T) {
		_, s, err := faulty(t, Options{DialContext: nameServer(t, false)}, "GET", "http://upstream.example./")
		wantError(t, err, PhaseDial, nil)
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound || s.DialErrors != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		_, _, err := faulty(t, Options{DialContext: nameServer(t, true), DialTimeout: soon}, "GET", "http://upstream.example./")
		if e := wantError(t, err, PhaseDial, context.DeadlineExceeded); !e.Timeout() || !strings.Contains(e.Error(), "DialTimeout") {
			t.Errorf("%v", e)
		}
	})
}

func TestFaultNobodyListens(t *testing.T) {
	up := listen(t, nil)
	up.Close()
	_, s, err := faulty(t, Options{}, "GET", up.url())
	wantError(t, err, PhaseDial, syscall.ECONNREFUSED)
	if s.Retries != 0 {
		t.Errorf("%d retries", s.Retries)
	}
}

func TestFaultNotHTTP(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		readRequest(bufio.NewReader(conn))
		io.WriteString(conn, "SSH-2.0-something\r\n")
	})
	_, s, err := faulty(t, Options{}, "GET", up.url())
	wantError(t, err, PhaseHeader, nil)
	if s.Retries != 0 {
		t.Errorf("%d retries", s.Retries)
	}
}

// A body that is forgotten costs its place and its connection for BodyTimeout,
// not for ever.
func TestFaultForgottenBody(t *testing.T) {
	up := listen(t, func(conn *net.TCPConn, _ int64) {
		answers(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
	})
	tr := newTestTransport(t, Options{MaxInFlight: 1, BodyTimeout: soon, QueueTimeout: late})
	r, _ := http.NewRequest("GET", up.url(), nil)
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tr.RoundTrip(r) // waits for the place
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if s := tr.Stats(); s.Leaked < 1 {
		t.Error("not counted as a leak")
	}
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, errLeaked) {
		t.Errorf("reading it after all: %v", err)
	}
	resp.Body.Close()
}

// HTTP/2 has one connection for all, and its own ways to hang.
func TestFaultHTTP2(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	hang := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-hang
		case "/body":
			fmt.Fprint(w, "part")
			w.(http.Flusher).Flush()
			<-hang
		default:
			fmt.Fprint(w, r.Proto)
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	pool := srv.Client().Transport.(*http.Transport).TLSClientConfig
	tr := newTestTransport(t, Options{TLSClientConfig: pool, ResponseHeaderTimeout: soon, BodyTimeout: soon})
	_, err := get(t.Context(), tr, srv.URL+"/hang")
	wantError(t, err, PhaseFirstByte, context.DeadlineExceeded)
	_, err = get(t.Context(), tr, srv.URL+"/body")
	wantError(t, err, PhaseBody, context.DeadlineExceeded)
	if v, err := get(t.Context(), tr, srv.URL); v != "HTTP/2.0" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if s := tr.Stats(); s.Dials != 1 || s.InFlight != 0 {
		t.Errorf("%d connections, %d in flight", s.Dials, s.InFlight)
	}
	tr.Close()
	close(hang)
	srv.Close()
	goleak.VerifyNone(t, ignore)
}
