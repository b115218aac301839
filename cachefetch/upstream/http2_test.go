package upstream

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// h2Server is a TLS server whose connections take so many streams.
func h2Server(t *testing.T, streams int, h http.HandlerFunc) (*httptest.Server, Options) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of dials that were not needed after all
	srv.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, Options{TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig}
}

// Requests beyond the streams of a connection get another connection, and
// do not wait where nobody sees them.
func TestStreamLimitOpensConnections(t *testing.T) {
	const n, streams = 60, 10
	all := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(n)
	srv, o := h2Server(t, streams, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived.Done()
			<-all
		}
		fmt.Fprint(w, r.Proto)
	})
	tr := newTestTransport(t, o)
	if v, err := get(t.Context(), tr, srv.URL); v != "HTTP/2.0" || err != nil {
		t.Fatal(v, err)
	}
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			if _, err := get(t.Context(), tr, srv.URL+"/wait"); err != nil {
				t.Error(err)
			}
		})
	}
	upstream := make(chan struct{})
	go func() { arrived.Wait(); close(upstream) }()
	select {
	case <-upstream:
	case <-time.After(late):
		t.Errorf("not all %d requests are upstream: %+v", n, tr.Stats())
	}
	close(all)
	clients.Wait()
	if s := tr.Stats(); s.Dials < n/streams {
		t.Errorf("%+v", s)
	}
}

func TestHTTP2CanBeTurnedOffAndOn(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }
	srv, o := h2Server(t, 10, echo)
	o.DisableHTTP2 = true
	if v, err := get(t.Context(), newTestTransport(t, o), srv.URL); v != "HTTP/1.1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	clear := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	if v, err := get(t.Context(), newTestTransport(t, Options{H2C: true}), clear.URL); v != "HTTP/2.0" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

// The settings that no fault can show in bounded time.
func TestPoolSettings(t *testing.T) {
	tr := newTestTransport(t, Options{MaxConnsPerHost: 7})
	p := tr.pool.Load()
	if p.MaxConnsPerHost != 7 || p.MaxIdleConnsPerHost != 7 || p.MaxIdleConns != 28 || p.IdleConnTimeout != 90*time.Second {
		t.Errorf("pool: %d, %d, %d, %v", p.MaxConnsPerHost, p.MaxIdleConnsPerHost, p.MaxIdleConns, p.IdleConnTimeout)
	}
	if p.HTTP2.SendPingTimeout <= 0 || p.HTTP2.PingTimeout <= 0 || p.HTTP2.StrictMaxConcurrentRequests {
		t.Errorf("HTTP/2: %+v", p.HTTP2)
	}
	t.Setenv("NO_PROXY", "")
	if p.Proxy == nil {
		t.Error("does not ask the environment for a proxy")
	}
}
