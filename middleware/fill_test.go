package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
)

// S3: when everyone has left, a run goes on if its response is worth storing.
func TestS3EveryoneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, early := range []bool{true, false} { // leave before or after the header
			c := newCache(t, Options{})
			var calls atomic.Int64
			h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if early {
					time.Sleep(2 * time.Second)
				}
				_, _ = io.WriteString(w, "who")
				time.Sleep(2 * time.Second)
				if err := r.Context().Err(); err != nil {
					t.Errorf("the run ended: %v", err)
				}
				_, _ = io.WriteString(w, "le")
			}))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
				})
			}
			start := time.Now()
			wg.Wait()
			cancel()
			if took := time.Since(start); took != time.Second {
				t.Errorf("clients could leave after %v, want 1s", took)
			}
			time.Sleep(5 * time.Second)
			if w := get(h, "/"); w.Body.String() != "whole" || calls.Load() != 1 {
				t.Errorf("afterwards %q after %d calls", w.Body, calls.Load())
			}
		}
	})
}

// S3: a run whose response is nobody's is cancelled.
func TestS3PrivateRunEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, early := range []bool{true, false} {
			h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if early {
					time.Sleep(2 * time.Second)
				}
				w.Header().Set("Cache-Control", "no-store")
				_, _ = io.WriteString(w, "mine")
				select {
				case <-r.Context().Done():
				case <-time.After(time.Second):
					t.Error("the run outlived its client")
				}
			}))
			ctx, cancel := leaving(t, 500*time.Millisecond)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			cancel()
			time.Sleep(10 * time.Second)
		}
	})
}

// noEntry keeps Recoverer from printing.
type noEntry struct{}

func (noEntry) Write(int, int, http.Header, time.Duration, any) {}
func (noEntry) Panic(any, []byte)                               {}

// H19: chi's Recoverer sees the value itself, and re-panics ErrAbortHandler.
func TestH19Recoverer(t *testing.T) {
	for _, value := range []any{errors.New("boom"), http.ErrAbortHandler} {
		synctest.Test(t, func(t *testing.T) {
			r := chi.NewRouter()
			var seen any
			r.Use(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() {
						if seen = recover(); seen != nil {
							panic(seen)
						}
					}()
					next.ServeHTTP(w, r)
				})
			})
			outer := chi.NewRouter()
			outer.Use(chimw.Recoverer)
			r.With(newCache(t, Options{}).Handler(Policy{})).Get("/", func(http.ResponseWriter, *http.Request) { panic(value) })
			outer.Mount("/", r)
			w := httptest.NewRecorder()
			got := raised(func() { outer.ServeHTTP(w, chimw.WithLogEntry(httptest.NewRequest("GET", "/", nil), noEntry{})) })
			if seen != value {
				t.Errorf("panic value %v, want %v itself", seen, value)
			}
			if value == http.ErrAbortHandler && got != http.ErrAbortHandler || value != http.ErrAbortHandler && w.Code != 500 {
				t.Errorf("Recoverer: %v, status %d", got, w.Code)
			}
		})
	}
}

// S5: a handler that calls runtime.Goexit hangs nobody, and the key lives on.
func TestS5Goexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				time.Sleep(time.Second)
				runtime.Goexit()
			}
			_, _ = io.WriteString(w, "fine")
		}))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				returned := false
				defer func() {
					if leader := i == 0; leader == returned {
						t.Errorf("request %d: returned %v", i, returned)
					}
				}()
				w := get(h, "/")
				if returned = true; w.Code != http.StatusBadGateway {
					t.Errorf("follower: %d", w.Code)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if w := get(h, "/"); w.Body.String() != "fine" {
			t.Errorf("afterwards %d %q", w.Code, w.Body)
		}
	})
}

// A handler that ignores its context holds nobody beyond FillTimeout who has not
// been sent a header. Whoever has reads on, and gets the whole: only that is not
// stored, and nobody joins it any more.
func TestFillTimeoutIgnored(t *testing.T) {
	for _, after := range []string{"", "half, "} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, Options{})
			var calls atomic.Int64
			h := c.Handler(Policy{TTL: time.Minute, FillTimeout: 2 * time.Second})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) > 1 {
					_, _ = io.WriteString(w, "second run")
					return
				}
				if after != "" {
					_, _ = io.WriteString(w, after)
				}
				time.Sleep(time.Hour)
				_, _ = io.WriteString(w, "late half")
			}))
			start := time.Now()
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					w := httptest.NewRecorder()
					got := raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)) })
					took := time.Since(start)
					switch {
					case after == "" && (w.Code != http.StatusGatewayTimeout || took > 3*time.Second):
						t.Errorf("status %d after %v", w.Code, took)
					case after != "" && (got != nil || w.Body.String() != "half, late half"):
						t.Errorf("%q, %v after %v", w.Body, got, took)
					}
				})
			}
			time.Sleep(4 * time.Second)
			if w := get(h, "/"); w.Body.String() != "second run" {
				t.Errorf("next: %d %q", w.Code, w.Body)
			}
			wg.Wait()
			time.Sleep(3 * time.Hour) // the first run returns
			if w := get(h, "/"); w.Body.String() != "second run" {
				t.Errorf("at last: %d %q", w.Code, w.Body)
			}
		})
	}
}

// Close ends the runs under way; their clients get an answer or a cut, and
// handlers run uncached from then on.
func TestCloseWhileFilling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var calls atomic.Int64
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if r.URL.Path == "/begun" {
				_, _ = io.WriteString(w, "half")
			}
			select {
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			case <-time.After(10 * time.Second):
				_, _ = io.WriteString(w, "whole")
			}
		}))
		var wg sync.WaitGroup
		for i := range 20 {
			path := []string{"/begun", "/waiting"}[i%2]
			wg.Go(func() {
				w := httptest.NewRecorder()
				got := raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", path, nil)) })
				if body := w.Body.String(); got == nil && w.Code == 200 && body != map[string]string{"/begun": "halfwhole", "/waiting": "whole"}[path] {
					t.Errorf("%s: a clean 200 with %q", path, body)
				}
			})
		}
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		before := calls.Load()
		for range 2 {
			if w := get(h, "/waiting"); w.Body.String() != "whole" {
				t.Errorf("after Close: %d %q", w.Code, w.Body)
			}
		}
		if calls.Load() != before+2 {
			t.Error("a closed cache stored something")
		}
	})
}

// S8, S13: many clients that come and go while handlers write, flush, fail and
// grow too large. Nobody gets a wrong body or half of one, and no goroutine is
// left.
func TestFillStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{MaxBytes: 4 << 20, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		body := func(key string) string { // same key, same body
			n := len(key) * 37 % 11
			return strings.Repeat(key+";", 1+n*n*n*20)
		}
		h := c.Handler(Policy{TTL: time.Second, StaleWhileRevalidate: time.Second, StaleIfError: time.Second, MaxBodyBytes: 64 << 10})(
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rest := body(r.URL.Path)
				fate := rand.IntN(20)
				if fate == 0 {
					w.Header().Set("Cache-Control", "no-store")
				}
				for len(rest) > 0 {
					n := min(1+rand.IntN(16<<10), len(rest))
					if fate == 1 && rand.IntN(4) == 0 {
						panic(http.ErrAbortHandler)
					}
					if fate == 2 {
						_ = http.NewResponseController(w).Flush()
					}
					if _, err := io.WriteString(w, rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
					time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
				}
			}))
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 40 {
					path := "/" + strings.Repeat("k", 1+rand.IntN(12))
					ctx, cancel := leaving(t, time.Duration(1+rand.IntN(600))*time.Millisecond)
					w := httptest.NewRecorder()
					got := raised(func() { h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", path, nil)) })
					gone := ctx.Err() != nil
					cancel()
					if want := body(path); !strings.HasPrefix(want, w.Body.String()) && w.Code == 200 {
						t.Errorf("%s: a wrong body", path)
					} else if got == nil && !gone && w.Code == 200 && w.Body.String() != want {
						t.Errorf("%s: a clean 200 with %d of %d bytes (%s)", path, w.Body.Len(), len(want), w.Header()["Cache-Status"])
					} else if got != nil && got != http.ErrAbortHandler {
						t.Errorf("%s: panic %v", path, got)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		if u := c.store.Usage(); u.Bytes > u.MaxBytes {
			t.Errorf("%d bytes held, more than %d", u.Bytes, u.MaxBytes)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		// The bubble fails if a goroutine is left.
	})
}

// S7: real clients that hang up leave no goroutines behind.
func TestFillGoroutines(t *testing.T) {
	c := newCache(t, Options{})
	release := make(chan struct{})
	var began sync.WaitGroup
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/warm" {
			return
		}
		began.Done()
		<-release
		_, _ = io.WriteString(w, r.URL.Path)
	})))
	client := srv.Client()
	_, _, _ = fetch(client, srv.URL+"/warm")
	client.CloseIdleConnections()
	before := goroutines()
	const n = 20
	began.Add(n)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprint(srv.URL, "/", i), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
			}
		})
	}
	began.Wait()
	cancel()
	wg.Wait()
	close(release)
	client.CloseIdleConnections()
	deadline := time.Now().Add(5 * time.Second)
	for goroutines() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := goroutines(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}
