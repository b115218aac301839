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

// Clients that wait for one run get all of its response, from that run, even if
// it turns out on the way to be too large to be kept. Nobody gets the rest of
// another one, whatever it says of itself.
func TestTooLargeIsReadToItsEndFromOneRun(t *testing.T) {
	for _, tag := range []string{"", `"1"`, `W/"1"`} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int64
			c := newCache(t, Options{})
			h := c.Handler(Policy{TTL: time.Minute, MaxBodyBytes: 1000})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := calls.Add(1)
				if tag != "" {
					w.Header().Set("Etag", tag)
				}
				for range 2000 {
					_, _ = fmt.Fprintf(w, "%d%099d", n, 0)
					time.Sleep(time.Millisecond)
				}
			}))
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					w := httptest.NewRecorder()
					got := raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)) })
					if want := strings.Repeat(fmt.Sprintf("1%099d", 0), 2000); got != nil || w.Body.String() != want {
						t.Errorf("client %d: %v, %d bytes", i, got, w.Body.Len())
					}
				})
				synctest.Wait()
			}
			time.Sleep(time.Second)
			if s := c.Stats(); s.WindowBytes > 4<<10 {
				t.Errorf("%d bytes are reserved for what is not kept", s.WindowBytes)
			}
			// Who comes now cannot have its beginning.
			if w := get(h, "/"); w.Body.Len() != 200_000 || w.Body.String()[:1] != "2" {
				t.Errorf("later: %d bytes of run %.1s", w.Body.Len(), w.Body)
			}
			wg.Wait()
		})
	}
}

// A client that does not read holds up nobody of those who do, of a response
// that is not kept: it is cut off.
func TestStalledReaderOfWhatIsNotKeptIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute, MaxBodyBytes: 64 << 10})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range size / 1024 {
				_, _ = w.Write(make([]byte, 1024))
				time.Sleep(time.Millisecond)
			}
		}))
		until := make(chan struct{})
		stalled := make(chan any, 1)
		go func() {
			stalled <- raised(func() {
				h.ServeHTTP(&stallingWriter{httptest.NewRecorder(), until}, httptest.NewRequest("GET", "/", nil))
			})
		}()
		synctest.Wait()
		begin := time.Now()
		if w := get(h, "/"); w.Body.Len() != size {
			t.Errorf("%d bytes", w.Body.Len())
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("held up for %v", took)
		}
		close(until)
		if got := <-stalled; got != http.ErrAbortHandler {
			t.Errorf("the stalled client: %v, want its connection cut", got)
		}
	})
}

// A stallingWriter takes no bytes until then.
type stallingWriter struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (w *stallingWriter) Write(p []byte) (int, error) {
	<-w.until
	return w.ResponseRecorder.Write(p)
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
