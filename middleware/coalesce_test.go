package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func get(h http.Handler, target string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// 10,000 concurrent requests for one cold key: one handler call, every body right.
func TestTenThousandRequestsForOneColdKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		body := strings.Repeat("0123456789abcdef", 256)
		var calls atomic.Int64
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			time.Sleep(3 * time.Second)
			w.Header().Set("Cache-Control", "max-age=60")
			for i := 0; i < len(body); i += 1 << 10 {
				_, _ = io.WriteString(w, body[i:i+1<<10])
				time.Sleep(time.Millisecond)
			}
		}))
		var wg sync.WaitGroup
		var wrong atomic.Int64
		for range 10_000 {
			wg.Go(func() {
				if w := get(h, "/cold"); w.Code != 200 || w.Body.String() != body {
					wrong.Add(1)
				}
			})
		}
		wg.Wait()
		if calls.Load() != 1 || wrong.Load() != 0 {
			t.Errorf("%d handler calls, want 1; %d wrong bodies, want 0", calls.Load(), wrong.Load())
		}
		// The three seconds at the origin count into its age (RFC 9111 4.2.3).
		if got := get(h, "/cold").Header().Get("Cache-Status"); got != "freshet; hit; ttl=57" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// What is too large streams through, whole, to everyone who asked: to those who
// read the beginning from another's run, since its strong tag says what the rest is.
func TestTooLargeStreamsThroughWhole(t *testing.T) {
	c := newCache(t, Options{})
	const size = 3 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	for _, declared := range []bool{true, false} {
		t.Run(fmt.Sprintf("length declared %v", declared), func(t *testing.T) {
			var calls atomic.Int64
			h := c.Handler(Policy{MaxBodyBytes: 1 << 20})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Etag", `"1"`)
				if declared {
					w.Header().Set("Content-Length", fmt.Sprint(size))
				}
				for i := 0; i < len(body); i += 32 << 10 {
					if _, err := io.WriteString(w, body[i:i+32<<10]); err != nil {
						return
					}
				}
			}))
			srv := httptest.NewServer(h)
			defer srv.Close()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					resp, err := http.Get(srv.URL + fmt.Sprint("/big", declared))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(got) != body {
						t.Errorf("got %d bytes, %v (%q)", len(got), err, resp.Header["Cache-Status"])
					}
				})
			}
			wg.Wait()
			if u := c.store.Usage(); u.WindowBytes != 0 {
				t.Errorf("%d bytes still reserved", u.WindowBytes)
			}
		})
	}
}

// A request that found nothing, and joins when the run of another one is over
// and stored, is given what is stored: whole, without another run, and so are
// those who join it.
func TestReplayAfterStore(t *testing.T) {
	c := newCache(t, Options{})
	calls := 0
	h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		_, _ = io.WriteString(w, "body")
	})).(*route)
	late := func() (x exchange, w *httptest.ResponseRecorder) {
		w = httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		x = exchange{route: h, w: w, r: r, began: c.store.Now(), reason: "uri-miss"}
		x.key = h.rules.Of(r)
		x.hash = x.key.Hash(c.seed)
		return x, w
	}
	x, first := late()
	y, second := late()
	get(h, "/")
	var wg sync.WaitGroup
	wg.Go(x.miss)
	wg.Go(y.miss)
	wg.Wait()
	for _, w := range []*httptest.ResponseRecorder{first, second} {
		if w.Code != 200 || w.Body.String() != "body" {
			t.Errorf("got %d %q", w.Code, w.Body.String())
		}
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if w := get(h, "/"); w.Header().Get("Cache-Status") != "freshet; hit; ttl=60" && w.Header().Get("Cache-Status") != "freshet; hit; ttl=59" {
		t.Errorf("then %q", w.Header().Get("Cache-Status"))
	}
}
