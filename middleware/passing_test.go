package middleware

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// H12: an upgrade passes through cache and reverse proxy, both ways.
func TestH12Upgrade(t *testing.T) {
	origin := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			t.Errorf("Upgrade %q", r.Header.Get("Upgrade"))
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	}))
	srv := serve(t, newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(proxyTo(t, origin.URL)))
	for range 2 {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		_, _ = io.WriteString(conn, "hello\n")
		if line, err := in.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%q, %v", line, err)
		}
		conn.Close()
	}
}

// A client that has the beginning of a response from another one's run is given
// the rest from a second run only if a strong validator says that both are the
// same representation, and only if that run sends all it declares. Otherwise it
// is cut. The client that the first run was for has all of it in any case.
func TestContinuedOnlyOnSameStrongTag(t *testing.T) {
	body := strings.Repeat("a", 2000)
	for _, row := range []struct {
		name          string
		first, second string // ETags
		body          string // of the second run
		length        int    // that it declares; 0 = none
		whole         bool
	}{
		{"same strong tag", `"1"`, `"1"`, body, 0, true},
		{"same strong tag and length", `"1"`, `"1"`, body, 2000, true},
		{"no tag", "", "", body, 0, false},
		{"weak tag", `W/"1"`, `W/"1"`, body, 0, false},
		{"other tag, same beginning", `"1"`, `"2"`, body[:1500] + strings.Repeat("b", 500), 0, false},
		{"no tag the second time", `"1"`, "", body, 0, false},
		{"other bytes in spite of the tag", `"1"`, `"1"`, strings.Repeat("b", 2000), 0, false},
		{"shorter than declared", `"1"`, `"1"`, body[:1500], 2000, false},
		{"shorter than what was sent", `"1"`, `"1"`, body[:500], 0, false},
		{"nothing", `"1"`, `"1"`, "", 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute, MaxBodyBytes: 1000})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					tag, text := row.first, body
					if calls.Add(1) > 1 {
						tag, text = row.second, row.body
						if row.length > 0 {
							w.Header().Set("Content-Length", fmt.Sprint(row.length))
						}
					}
					if tag != "" {
						w.Header().Set("Etag", tag)
					}
					for len(text) > 0 {
						_, _ = io.WriteString(w, text[:100])
						text = text[100:]
						time.Sleep(time.Second)
					}
				}))
				var wg sync.WaitGroup
				for i := range 4 {
					wg.Go(func() {
						w := httptest.NewRecorder()
						got := raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)) })
						switch complete := got == nil && w.Body.String() == body; {
						case i == 0 || row.whole:
							if !complete {
								t.Errorf("client %d: %v, %d bytes", i, got, w.Body.Len())
							}
						case got != http.ErrAbortHandler:
							t.Errorf("client %d: %v after %d bytes, want its connection cut", i, got, w.Body.Len())
						}
					})
					synctest.Wait()
				}
				wg.Wait()
			})
		})
	}
}

// H18: trailers that were not declared pass, too, and keep the response out of
// the store.
func TestH18UndeclaredTrailers(t *testing.T) {
	c := newCache(t, Options{})
	body := strings.Repeat("0123456789", 1000) // net/http drops such trailers of what fits its buffer
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, body)
		w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
	})))
	for range 2 {
		resp, got, err := fetch(srv.Client(), srv.URL)
		if err != nil || got != body || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("%d bytes, %v, trailers %v (%s)", len(got), err, resp.Trailer, resp.Header["Cache-Status"])
		}
	}
}

// Bodies of requests, limits on them, and methods nobody knows pass untouched.
func TestPassUntouched(t *testing.T) {
	c := newCache(t, Options{})
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, body)
	})))
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "GET"} {
		for _, body := range []string{"one", "two", "much too long"} {
			req, err := http.NewRequest(method, srv.URL, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if len(body) > 10 && resp.StatusCode != 413 || len(body) <= 10 && string(got) != method+" "+body {
				t.Errorf("%s %q: %d %q", method, body, resp.StatusCode, got)
			}
		}
	}
	if n := c.Stats().Entries; n != 0 {
		t.Errorf("%d entries", n)
	}
}

// H11: io.Copy and ServeContent through the recorder.
func TestH11ServeContent(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20_000)
	c := newCache(t, Options{})
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/copy" {
			_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader(content)})
			return
		}
		http.ServeContent(w, r, "a.txt", time.Unix(1_700_000_000, 0), strings.NewReader(content))
	})))
	for _, path := range []string{"/copy", "/serve"} {
		for range 2 {
			if resp, got, err := fetch(srv.Client(), srv.URL+path); err != nil || got != content || resp.StatusCode != 200 {
				t.Errorf("%s: %d bytes, %v", path, len(got), err)
			}
		}
	}
	srv.Close() // a request is counted after its client has the response
	// The second may come before the first is stored.
	if s := c.Stats(); s.Hits+s.Coalesced != 2 {
		t.Errorf("%+v, want 2 shared", s)
	}
}

// H11: a Flush after the header reaches leader and followers, and the response
// is stored.
func TestH11FlushAfterTheHeader(t *testing.T) {
	next := make(chan struct{})
	c := newCache(t, Options{})
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			<-next
		}
	})))
	var bodies []io.ReadCloser
	for range 3 {
		resp, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		bodies = append(bodies, resp.Body)
	}
	for range 3 {
		for i, body := range bodies {
			if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
		}
		next <- struct{}{}
	}
	for _, body := range bodies { // to the end: then the response is stored
		if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	if resp, got, err := fetch(srv.Client(), srv.URL); err != nil || got != "xxx" || c.Stats().OriginCalls != 1 {
		t.Errorf("%q, %v (%s)", got, err, resp.Header["Cache-Status"])
	}
}

// HTTP/2: cold, warm, and with streams that are cancelled.
func TestHTTP2(t *testing.T) {
	c := newCache(t, Options{})
	began, release := make(chan struct{}), make(chan struct{})
	body := strings.Repeat("0123456789", 50_000)
	srv := httptest.NewUnstartedServer(c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-release
		_, _ = io.WriteString(w, body)
	})))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var leader, others sync.WaitGroup
	leader.Go(func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
		if resp, err := srv.Client().Do(req); err == nil {
			resp.Body.Close()
			t.Error("the leader was answered")
		}
	})
	<-began
	for range 10 {
		others.Go(func() {
			if resp, got, err := fetch(srv.Client(), srv.URL); err != nil || got != body || resp.ProtoMajor != 2 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	cancel()
	leader.Wait()
	close(release)
	others.Wait()
	if resp, got, err := fetch(srv.Client(), srv.URL); err != nil || got != body || !strings.HasPrefix(resp.Header.Get("Cache-Status"), "freshet; hit") {
		t.Errorf("warm: %d bytes, %v", len(got), err)
	}
}
