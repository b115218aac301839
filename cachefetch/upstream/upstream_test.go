package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// As many connections are kept as were needed at once.
func TestConnectionsAreReused(t *testing.T) {
	withServer(t, Options{}, slow, func(t *testing.T, tr *Transport) {
		for range 3 {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if _, err := get(context.Background(), tr, upstreamURL); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			synctest.Wait()
		}
		if s := tr.Stats(); s.Dials != 50 || s.NewConns != 50 || s.ReusedConns != 100 {
			t.Errorf("%d dials, %d requests on new, %d on reused connections", s.Dials, s.NewConns, s.ReusedConns)
		}
	})
}

// A body that is closed early is read to its end if that is near: by
// net/http where it does that, which looks at the whole length and works behind,
// and by the transport where it does not.
func TestEarlyCloseDrains(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/json": // the decoder leaves the last chunk unread
			io.WriteString(w, `{"a":1}`)
			http.NewResponseController(w).Flush()
		case "/declared", "/long":
			w.Header().Set("Content-Length", "1000000")
			w.Write(make([]byte, 1_000_000))
		case "/endless":
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1000))
			}
		case "/silent":
			io.WriteString(w, "part")
			http.NewResponseController(w).Flush()
			wait(r, time.Hour)
		}
	}
	for _, tt := range []struct {
		path string
		read int64
		kept bool
		took time.Duration
	}{
		{"/json", 0, true, 0},
		{"/declared", 0, false, 0},
		{"/long", 990_000, !poolDrains, 0},
		{"/endless", 10, false, 0},
		{"/silent", 1, false, map[bool]time.Duration{false: drainTime}[poolDrains]},
	} {
		t.Run(tt.path, func(t *testing.T) {
			withServer(t, Options{MaxInFlight: 1, MaxQueue: -1}, h, func(t *testing.T, tr *Transport) {
				r, _ := http.NewRequest("GET", upstreamURL+tt.path[1:], nil)
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				if tt.path == "/json" {
					json.NewDecoder(resp.Body).Decode(new(any))
				} else if _, err := io.CopyN(io.Discard, resp.Body, tt.read); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				resp.Body.Close()
				if took := time.Since(begin); took != tt.took {
					t.Errorf("closing took %v", took)
				}
				if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) && tt.path != "/json" {
					t.Errorf("reading after Close: %v", err)
				}
				synctest.Wait()
				if _, err := get(context.Background(), tr, upstreamURL); err != nil {
					t.Fatal(err)
				}
				if s := tr.Stats(); s.Dials != map[bool]uint64{true: 1, false: 2}[tt.kept] || s.Failed != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestCloseEndsARead(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		wait(r, time.Hour)
	}
	withServer(t, Options{}, h, func(t *testing.T, tr *Transport) {
		r, _ := http.NewRequest("GET", upstreamURL, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := resp.Body.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		resp.Body.Close()
		if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("got %v", err)
		}
		if s := tr.Stats(); s.InFlight != 0 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A caller who leaves gets his own error, and the upstream is told.
func TestCallerLeaves(t *testing.T) {
	withServer(t, Options{}, slow, func(t *testing.T, tr *Transport) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := get(ctx, tr, upstreamURL); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if s := tr.Stats(); s.Abandoned != 1 || s.Failed != 0 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseEndsRequests(t *testing.T) {
	withServer(t, Options{MaxInFlight: 1, QueueTimeout: 10 * time.Second}, slow, func(t *testing.T, tr *Transport) {
		errs := make(chan error)
		for range 2 { // one in flight, one in the queue
			go func() {
				_, err := get(context.Background(), tr, upstreamURL)
				errs <- err
			}()
		}
		synctest.Wait()
		begin := time.Now()
		tr.Close()
		for range 2 {
			if err := <-errs; err != ErrClosed {
				t.Errorf("got %v", err)
			}
		}
		if _, err := get(context.Background(), tr, upstreamURL); err != ErrClosed {
			t.Errorf("afterwards: %v", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// What passes through a transport is untouched: interim responses and
// trailers, and connections that become something else.
func TestTransportPassesThrough(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	}
	withServer(t, Options{}, h, func(t *testing.T, tr *Transport) {
		hints := 0
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
		})
		r, _ := http.NewRequestWithContext(ctx, "GET", upstreamURL, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if string(b) != "body" || err != nil || hints != 1 || resp.Trailer.Get("X-Sum") != "42" || resp.Request != r {
			t.Errorf("%q, %v, %d hints, trailers %v", b, err, hints, resp.Trailer)
		}
	})
}

func TestTransportUpgrades(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, buf)
		conn.Close()
	}
	o := Options{MaxInFlight: 1, MaxQueue: -1, RequestTimeout: time.Second, BodyTimeout: time.Second, ResponseHeaderTimeout: time.Second}
	withServer(t, o, h, func(t *testing.T, tr *Transport) {
		r, _ := http.NewRequest("GET", upstreamURL, nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "echo")
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		conn, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != 101 {
			t.Fatalf("%s with a %T", resp.Status, resp.Body)
		}
		time.Sleep(time.Hour) // no budget is about this
		b := make([]byte, 4)
		io.WriteString(conn, "ping")
		if _, err := io.ReadFull(conn, b); string(b) != "ping" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if s := tr.Stats(); s.InFlight != 0 || s.Leaked != 0 {
			t.Errorf("%+v", s)
		}
		tr.Close()
		if _, err := conn.Read(b); err == nil {
			t.Error("open after the transport was closed")
		}
		conn.Close()
	})
}

func TestTransportMetrics(t *testing.T) {
	o := Options{Name: "metrics test", MaxInFlight: 1, MaxQueue: -1}
	withServer(t, o, slow, func(t *testing.T, tr *Transport) {
		go get(context.Background(), tr, upstreamURL)
		synctest.Wait()
		_, err := get(context.Background(), tr, upstreamURL)
		wantRefused(t, err, RefusedQueueFull)
		time.Sleep(2 * time.Second)
		var b bytes.Buffer
		tr.WriteMetrics(&b)
		for _, want := range []string{
			`freshet_upstream_wait_seconds_count{upstream="metrics test",phase="queue"} 2`,
			`freshet_upstream_wait_seconds_count{upstream="metrics test",phase="connection"} 1`,
			`freshet_upstream_wait_seconds_count{upstream="metrics test",phase="dial"} 1`,
			`freshet_upstream_wait_seconds_sum{upstream="metrics test",phase="first_byte"} 1`,
			`freshet_upstream_wait_seconds_sum{upstream="metrics test",phase="body"} 0`,
			`freshet_upstream_requests_total{upstream="metrics test"} 2`,
			`freshet_upstream_refused_total{upstream="metrics test",reason="queue_full"} 1`,
			`freshet_upstream_connections_total{upstream="metrics test",kind="new"} 1`,
			`freshet_upstream_in_flight{upstream="metrics test"} 0`,
			`freshet_upstream_max_in_flight{upstream="metrics test"} 1`,
		} {
			if !strings.Contains(b.String(), want+"\n") {
				t.Errorf("lacks %s", want)
			}
		}
		if n := strings.Count(b.String(), "# TYPE freshet_upstream_wait_seconds histogram"); n != 1 {
			t.Errorf("TYPE stands %d times", n)
		}
		if t.Failed() {
			t.Log(b.String())
		}
	})
}

// Two of one name could not be told apart in the metrics.
func TestTransportNamesAreUnique(t *testing.T) {
	first := newTestTransport(t, Options{Name: "unique"})
	if _, err := New(Options{Name: "unique"}); err == nil || !strings.Contains(fmt.Sprint(err), `Options.Name: "unique": `) {
		t.Errorf("got %v", err)
	}
	newTestTransport(t, Options{Name: "unique", Unlisted: true})
	newTestTransport(t, Options{})
	newTestTransport(t, Options{})
	first.Close()
	newTestTransport(t, Options{Name: "unique"})
}

// BodyTimeout is about silence: a body may take as long as it likes while it
// moves, and its reader may pause.
func TestSlowBodiesAreNotCut(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		for range 10 {
			io.WriteString(w, "x")
			http.NewResponseController(w).Flush()
			wait(r, 900*time.Millisecond)
		}
	}
	withServer(t, Options{BodyTimeout: time.Second}, h, func(t *testing.T, tr *Transport) {
		r, _ := http.NewRequest("GET", upstreamURL, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, b := 0, make([]byte, 1)
		for err == nil {
			var m int
			m, err = resp.Body.Read(b)
			n += m
			time.Sleep(900 * time.Millisecond)
		}
		if n != 10 || err != io.EOF || tr.Stats().Leaked != 0 {
			t.Errorf("%d bytes, %v, %d leaks", n, err, tr.Stats().Leaked)
		}
	})
}

// closeCounter is a request body that is to be closed.
type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

// RoundTrip closes the body of a request that it does not send, as
// [http.RoundTripper] wants it, and leaves the request alone.
func TestRefusedRequestIsClosed(t *testing.T) {
	withServer(t, Options{MaxInFlight: 1, MaxQueue: -1}, slow, func(t *testing.T, tr *Transport) {
		go get(context.Background(), tr, upstreamURL)
		synctest.Wait()
		body := &closeCounter{Reader: strings.NewReader("body")}
		r, _ := http.NewRequest("POST", upstreamURL, body)
		_, err := tr.RoundTrip(r)
		wantRefused(t, err, RefusedQueueFull)
		if body.closed != 1 || r.Body != body {
			t.Errorf("closed %d times", body.closed)
		}
		if want := `upstream "default" (upstream.test) refused the request: queue_full, retry after 1s`; err.Error() != want {
			t.Errorf("got %q", err)
		}
	})
}

func TestCloseIdleConnections(t *testing.T) {
	withServer(t, Options{}, slow, func(t *testing.T, tr *Transport) {
		for range 2 {
			if _, err := get(context.Background(), tr, upstreamURL); err != nil {
				t.Fatal(err)
			}
			tr.CloseIdleConnections()
		}
		if s := tr.Stats(); s.Dials != 2 {
			t.Errorf("%d dials", s.Dials)
		}
	})
}
