package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counting counts the requests that a server executes and the connections that
// it has open.
func counting(t *testing.T, h http.HandlerFunc) (srv *httptest.Server, executed, open *atomic.Int64) {
	t.Helper()
	executed, open = new(atomic.Int64), new(atomic.Int64)
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		executed.Add(1)
		if h != nil {
			h(w, r)
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	t.Cleanup(srv.Close)
	return srv, executed, open
}

// eventually waits for what a server does on goroutines of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(late); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		runtime.Gosched()
	}
}

func post(tr http.RoundTripper, url string) error {
	r, err := http.NewRequest("POST", url, strings.NewReader("pay"))
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

func TestClosedTransportSendsNothing(t *testing.T) {
	srv, executed, open := counting(t, nil)
	srv.Start()
	tr := newTestTransport(t, Options{})
	tr.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if err := post(tr, srv.URL); err != ErrClosed {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	all.Wait()
	if s := tr.Stats(); executed.Load() != 0 || open.Load() != 0 || s.Dials != 0 || s.Failed != 400 {
		t.Errorf("%d executed, %d connections, %+v", executed.Load(), open.Load(), s)
	}
}

// Whatever requests do while a transport is closed, nothing is sent when Close
// has returned, and no connection stays.
func TestCloseAmongRequests(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2=%v", h2), func(t *testing.T) {
			for range 20 {
				srv, _, open := counting(t, nil)
				srv.EnableHTTP2 = h2
				srv.StartTLS()
				tr := newTestTransport(t, Options{TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig})
				var closed atomic.Bool
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for range 200 {
							before := closed.Load()
							err := post(tr, srv.URL)
							if before && err != ErrClosed || err != nil && !errors.Is(err, ErrClosed) {
								t.Errorf("got %v", err)
							}
							if err != nil {
								return
							}
						}
					})
				}
				eventually(t, "the first request", func() bool { return tr.Stats().ReusedConns > 10 })
				tr.Close()
				closed.Store(true)
				all.Wait()
				eventually(t, "all connections closed", func() bool { return open.Load() == 0 })
			}
		})
	}
}

// Close closes what net/http does not: HTTP/2 connections with requests on
// them, and dials.
func TestCloseEndsConnectionsAndDials(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	srv, executed, open := counting(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	srv.EnableHTTP2 = true
	srv.StartTLS()
	dials := make(chan struct{}, 1)
	tr := newTestTransport(t, Options{
		TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "dialing.test") {
				<-ctx.Done()
				dials <- struct{}{}
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	errs := make(chan error)
	for _, url := range []string{srv.URL, "http://dialing.test/"} {
		go func() { errs <- post(tr, url) }()
	}
	eventually(t, "a request and a dial under way", func() bool { return executed.Load() == 1 && tr.Stats().InFlight == 2 })
	tr.Close()
	for range 2 {
		if err := <-errs; err != ErrClosed {
			t.Errorf("got %v", err)
		}
	}
	eventually(t, "the connection closed", func() bool { return open.Load() == 0 })
	select {
	case <-dials:
	case <-time.After(late):
		t.Error("the dial goes on")
	}
}

// A connection that is opened as the transport is closed is closed too.
func TestDialThatEndsAfterClose(t *testing.T) {
	var s conns
	s.close()
	ours, theirs := net.Pipe()
	if c, err := s.add(ours); c != nil || err != ErrClosed {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it is open: %v", err)
	}
}

// A request that was sent is never told to be refused, though its second
// attempt finds no connection.
func TestSentIsNotRefused(t *testing.T) {
	srv, executed, _ := counting(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	})
	srv.Start()
	var dials atomic.Int64
	tr := newTestTransport(t, Options{ConnTimeout: soon, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}})
	r, _ := http.NewRequest("PUT", srv.URL, strings.NewReader("x"))
	_, err := tr.RoundTrip(r)
	failed := wantError(t, err, PhaseDial, context.DeadlineExceeded)
	if !failed.Sent || !failed.Timeout() || !strings.Contains(err.Error(), "ConnTimeout") || errors.Is(err, ErrRefused) || executed.Load() != 1 {
		t.Errorf("executed %d times, then %v, sent: %v", executed.Load(), err, failed.Sent)
	}
	if s := tr.Stats(); s.Refused != 0 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	_, err = tr.RoundTrip(r.Clone(t.Context())) // this one was not
	wantRefused(t, err, RefusedConnTimeout)
}

// What was never sent says so.
func TestNotSent(t *testing.T) {
	tr := newTestTransport(t, Options{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }})
	_, err := get(t.Context(), tr, upstreamURL)
	if failed := wantError(t, err, PhaseDial, io.EOF); failed.Sent {
		t.Error("is told to be sent")
	}
}

// A server closes kept connections just as they are taken, more of them than
// the budget has retries. Whatever may be sent again is, and says nothing of it
// on the wire.
func TestKeptConnectionsThatClose(t *testing.T) {
	for _, tt := range []struct {
		method, key string
		again       bool
	}{
		{"GET", "", true}, {"PUT", "", true}, {"DELETE", "", true},
		{"POST", "Idempotency-Key", true}, {"PATCH", "X-Idempotency-Key", true}, {"POST", "", false},
	} {
		t.Run(tt.method+" "+tt.key, func(t *testing.T) {
			var idle, fields sync.Map
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if _, ok := r.Header["Idempotency-Key"]; ok {
					fields.Store("Idempotency-Key", true)
				}
			}))
			srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
				if s == http.StateIdle {
					idle.Store(c.RemoteAddr().String(), c)
				}
			}
			srv.Start()
			defer srv.Close()
			tr := newTestTransport(t, Options{})
			for i := range 25 {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					addr := info.Conn.LocalAddr().String()
					if info.Reused {
						eventually(t, "an idle connection", func() bool { _, ok := idle.Load(addr); return ok })
						c, _ := idle.LoadAndDelete(addr)
						_ = c.(net.Conn).Close()
					}
				}})
				r, _ := http.NewRequestWithContext(ctx, tt.method, srv.URL, strings.NewReader("x"))
				if tt.key != "" {
					r.Header.Set(tt.key, "7")
				}
				resp, err := tr.RoundTrip(r)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				} else if tt.again {
					t.Fatalf("request %d: %v", i, err)
				}
				if len(r.Header) > 1 || r.Header["Connection"] != nil {
					t.Fatalf("the caller's header is %v", r.Header)
				}
			}
			if _, sent := fields.Load("Idempotency-Key"); sent != (tt.key == "Idempotency-Key") {
				t.Errorf("Idempotency-Key was sent: %v", sent)
			}
		})
	}
}

// A transport that is asked for hosts that cannot be reached remembers them
// neither itself nor in net/http, and does not lose the others for it.
func TestUnreachableHostsAreForgotten(t *testing.T) {
	for name, dial := range map[string]func(net.Conn){
		"no connection": nil,
		"no TLS":        func(c net.Conn) { _ = c.Close() },
		"not kept": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTestTransport(t, Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
				if dial == nil {
					return nil, io.EOF
				}
				ours, theirs := net.Pipe()
				go dial(theirs)
				return ours, nil
			}})
			scheme := map[bool]string{true: "https", false: "http"}[name == "no TLS"]
			ask := func(from, to int) int64 {
				for i := from; i < to; i++ {
					_, _ = get(t.Context(), tr, fmt.Sprintf("%s://host-%d.test/", scheme, i))
				}
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			first := ask(0, 1500)
			if grown := ask(1500, 5000) - first; grown > 900<<10 { // 3,500 would be 2 MB and more
				t.Errorf("the heap grew by %d bytes", grown)
			}
			if n, m := len(tr.hosts.byName), len(tr.hosts.unkept); n != 0 || m >= maxUnkept {
				t.Errorf("%d hosts in use, %d remembered", n, m)
			}
		})
	}
	withServer(t, Options{}, slow, func(t *testing.T, tr *Transport) {
		pool := tr.pool.Load()
		for i := range maxUnkept + 10 {
			if _, err := get(context.Background(), tr, fmt.Sprintf("http://host-%d.test/", i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if tr.pool.Load() != pool || len(tr.hosts.unkept) != 0 {
			t.Errorf("hosts that answer are taken for unreachable: %d", len(tr.hosts.unkept))
		}
	})
}

func TestTLSSessionsResume(t *testing.T) {
	srv, _, _ := counting(t, nil)
	srv.StartTLS()
	config := srv.Client().Transport.(*http.Transport).TLSClientConfig
	resumed := func(config *tls.Config) bool {
		tr := newTestTransport(t, Options{TLSClientConfig: config, DisableHTTP2: true})
		var last bool
		for range 2 {
			r, _ := http.NewRequest("GET", srv.URL, nil)
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			last = resp.TLS.DidResume
			tr.renew() // in the new pool too
		}
		return last
	}
	if !resumed(config) {
		t.Error("the second connection did a whole handshake")
	}
	checks := config.Clone()
	checks.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
	if resumed(checks) {
		t.Error("a session was resumed past VerifyPeerCertificate")
	}
}

// Connections older than MaxConnAge are given up one by one, without a request
// being cut or a connection too many.
func TestMaxConnAge(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2=%v", h2), func(t *testing.T) {
			var dials, open, most atomic.Int64
			srv, _, _ := counting(t, nil)
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			o := Options{
				MaxConnAge: soon, MaxConnsPerHost: 2, DisableHTTP2: !h2,
				TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig,
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					most.Store(max(most.Load(), open.Add(1)))
					c, err := new(net.Dialer).DialContext(ctx, network, address)
					return &noted{Conn: c, closed: func() { open.Add(-1) }}, err
				},
			}
			tr := newTestTransport(t, o)
			begin := time.Now()
			for time.Since(begin) < 4*soon {
				if err := post(tr, srv.URL); err != nil {
					t.Fatal(err)
				}
			}
			if n := dials.Load(); n < 3 || n > 8 || most.Load() > 2 {
				t.Errorf("%d dials, %d connections at once", n, most.Load())
			}
		})
	}
	withServer(t, Options{MaxConnAge: -1}, slow, func(t *testing.T, tr *Transport) {
		for range 500 {
			if _, err := get(context.Background(), tr, upstreamURL); err != nil {
				t.Fatal(err)
			}
		}
		if n := tr.Stats().Dials; n != 1 {
			t.Errorf("%d dials without a limit", n)
		}
	})
	withServer(t, Options{MaxConnAge: 10 * time.Second}, slow, func(t *testing.T, tr *Transport) {
		for range 2 {
			if _, err := get(context.Background(), tr, upstreamURL); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second) // less than IdleConnTimeout
		}
		if n := tr.Stats().Dials; n != 2 {
			t.Errorf("%d dials: an old connection was kept idle", n)
		}
	})
}

// noted tells of its end.
type noted struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *noted) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}
