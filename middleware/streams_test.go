package middleware

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// H13: the first byte reaches followers when it reaches the cache, and one
// slow reader slows nobody.
func TestH13FollowersReadWhileTheResponseGrows(t *testing.T) {
	more := make(chan struct{})
	var calls atomic.Int64
	h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "first")
		<-more
		_, _ = io.WriteString(w, strings.Repeat("x", 4<<20))
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	open := func() *http.Response {
		resp, err := http.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
			t.Fatalf("got %q, %v", first, err)
		}
		return resp
	}
	slow, fast := open(), open() // both have bytes although the handler has not returned
	close(more)
	if rest, err := io.ReadAll(fast.Body); err != nil || len(rest) != 4<<20 {
		t.Errorf("fast reader: %d bytes, %v", len(rest), err)
	}
	if rest, err := io.ReadAll(slow.Body); err != nil || len(rest) != 4<<20 { // has read nothing so far
		t.Errorf("slow reader: %d bytes, %v", len(rest), err)
	}
	fast.Body.Close()
	slow.Body.Close()
	if calls.Load() != 1 {
		t.Errorf("%d handler calls, want 1", calls.Load())
	}
}

// S1: a leader that leaves costs nobody anything.
func TestS1LeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			select {
			case <-time.After(3 * time.Second):
				_, _ = io.WriteString(w, "whole")
			case <-r.Context().Done():
				t.Error("the run ended with its leader")
			}
		}))
		ctx, cancel := leaving(t, time.Second)
		defer cancel()
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		synctest.Wait()
		if w := get(h, "/"); w.Code != 200 || w.Body.String() != "whole" || calls.Load() != 1 {
			t.Errorf("got %d %q after %d calls", w.Code, w.Body, calls.Load())
		}
	})
}

// H19: the leader gets the panic as it was, followers get an error or a cut
// connection, never a hang and never half a body as a whole.
func TestH19Panics(t *testing.T) {
	boom := errors.New("boom")
	for _, value := range []any{boom, http.ErrAbortHandler} {
		for _, after := range []string{"", "half a body"} {
			t.Run(fmt.Sprintf("%v after %q", value, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						if after != "" {
							_, _ = io.WriteString(w, after)
						}
						time.Sleep(time.Second)
						panic(value)
					}))
					raised := make([]any, 5)
					codes := make([]int, 5)
					var wg sync.WaitGroup
					for i := range raised {
						wg.Go(func() {
							w := httptest.NewRecorder()
							defer func() { raised[i], codes[i] = recover(), w.Code }()
							h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
						})
						synctest.Wait() // the first is the leader
					}
					wg.Wait()
					if raised[0] != value {
						t.Errorf("leader: %v, want %v", raised[0], value)
					}
					for i := range raised[1:] {
						switch got := raised[i+1]; {
						case after == "" && (got != nil || codes[i+1] != http.StatusBadGateway):
							t.Errorf("follower: %v, status %d; want status 502", got, codes[i+1])
						case after != "" && got != http.ErrAbortHandler:
							t.Errorf("follower: %v, want its connection cut", got)
						}
					}
				})
			})
		}
	}
}

// H9: an upstream that breaks off is never stored, and never a clean answer.
func TestH9Truncated(t *testing.T) {
	const size = 100_000
	body := strings.Repeat("0123456789", size/10)
	var cut atomic.Int64
	for _, chunked := range []bool{false, true} {
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=1, stale-if-error=600")
			if !chunked {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			n := int(cut.Load())
			_, _ = io.WriteString(w, body[:n])
			if n < size {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		}))
		target, err := url.Parse(origin.URL)
		if err != nil {
			t.Fatal(err)
		}
		for part := 0; part < 10; part++ {
			t.Run(fmt.Sprintf("chunked %v, %d tenths", chunked, part), func(t *testing.T) {
				c := newCache(t, Options{})
				proxy := httputil.NewSingleHostReverseProxy(target)
				proxy.ErrorLog, proxy.ErrorHandler = log.New(io.Discard, "", 0), func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) }
				front := httptest.NewUnstartedServer(c.Handler(Policy{})(proxy))
				front.Config.ErrorLog = log.New(io.Discard, "", 0)
				front.Start()
				defer front.Close()
				cut.Store(int64(size * part / 10))
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						resp, err := http.Get(front.URL)
						if err != nil {
							return // cut before the header
						}
						defer resp.Body.Close()
						got, err := io.ReadAll(resp.Body)
						if resp.StatusCode == 200 && err == nil {
							t.Errorf("a clean 200 with %d of %d bytes", len(got), size)
						}
					})
				}
				wg.Wait()
				cut.Store(size)
				resp, err := http.Get(front.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
					t.Errorf("afterwards: %d bytes, %v (%q)", len(got), err, resp.Header["Cache-Status"])
				}
			})
		}
		origin.Close()
	}
}

// H11, H12: what streams, streams; Flush, deadlines and Hijack work.
func TestH12EventStream(t *testing.T) {
	next := make(chan struct{})
	h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := rc.Flush(); err != nil {
				t.Error(err)
			}
			<-next
		}
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !in.Scan() || in.Text() != fmt.Sprint("data: ", i) || !in.Scan() {
			t.Fatalf("event %d: %q", i, in.Text())
		}
		next <- struct{}{}
	}
	if got := resp.Header.Get("Cache-Status"); got != "freshet; fwd=uri-miss; detail=event_stream" {
		t.Errorf("Cache-Status %q", got)
	}
}

func TestH11FlushAndHijackBeforeTheHeader(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.URL.Path == "/flush" {
			if err := rc.Flush(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, "flushed")
			return
		}
		conn, _, err := rc.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhijacked")
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	for path, want := range map[string]string{"/flush": "flushed", "/hijack": "hijacked"} {
		for range 2 {
			resp, err := http.Get(srv.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		}
	}
	if hits := c.Stats().Hits; hits != 0 {
		t.Errorf("%d hits, want none", hits)
	}
}

// H18: interim responses pass live and are not replayed; trailers pass.
func TestH18InterimAndTrailers(t *testing.T) {
	h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/trailer" {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
			return
		}
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "body")
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	fetch := func(path string) (resp *http.Response, interim int) {
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { interim++; return nil },
		}), "GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "body" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		return resp, interim
	}
	for i, want := range []int{1, 0} {
		if resp, got := fetch("/hints"); got != want || resp.Header.Get("Link") != "" {
			t.Errorf("request %d: %d interim responses, want %d; Link %q", i, got, want, resp.Header.Get("Link"))
		}
	}
	for range 2 {
		if resp, _ := fetch("/trailer"); resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("trailers %v (%q)", resp.Trailer, resp.Header["Cache-Status"])
		}
	}
}

// H17: a handler that wrote nothing is not stored.
func TestH17EmptyHandler(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 2 {
		if w := get(h, "/"); w.Code != 200 || w.Header().Get("Cache-Status") != "freshet; fwd=uri-miss; detail=empty" {
			t.Errorf("got %d (%s)", w.Code, w.Header()["Cache-Status"])
		}
	}
}
