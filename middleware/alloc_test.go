//go:build !race

package middleware

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAllocHit(t *testing.T)     { testAlloc(t, "", "GET", 200, 1024) }
func TestAllocHitVary(t *testing.T) { testAlloc(t, "Accept-Encoding", "GET", 200, 1024) }
func TestAlloc304(t *testing.T)     { testAlloc(t, "", "GET", 304, 0) }
func TestAllocHEAD(t *testing.T)    { testAlloc(t, "", "HEAD", 200, 0) }

// A stale hit allocates no more than a fresh one while the response is refreshed
// behind.
func TestAllocStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{Name: "stale", TTL: time.Second, StaleWhileRevalidate: time.Hour})(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) > 1 {
					time.Sleep(time.Minute)
				}
				_, _ = w.Write([]byte("body"))
			}))
		w, r := &bareWriter{h: make(http.Header)}, httptest.NewRequest("GET", "/", nil)
		h.ServeHTTP(w, r)
		time.Sleep(2 * time.Second)
		clear(w.h)
		if n := testing.AllocsPerRun(10_000, func() { h.ServeHTTP(w, r) }); n > 1 {
			t.Errorf("%v allocations", n)
		}
		if got := w.h.Get("Cache-Status"); got != "freshet; hit; ttl=-1" {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Minute)
		if calls.Load() != 2 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

// testAlloc: a hit allocates once, the values of its header.
func testAlloc(t *testing.T, vary, method string, status, length int) {
	h, r := hitRequest(t, vary)
	r.Method = method
	if status == http.StatusNotModified {
		r.Header.Set("If-None-Match", `"abc"`)
	}
	w := &bareWriter{h: make(http.Header)}
	serve := func() {
		*w = bareWriter{h: w.h}
		h.ServeHTTP(w, r)
	}
	// Once a second the lines of Age and Cache-Status are made anew; the
	// average over many runs rounds that down to nothing.
	if n := testing.AllocsPerRun(10_000, serve); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if w.status != status || w.n != length || w.h.Get("Cache-Status")[:12] != "freshet; hit" {
		t.Errorf("got %d with %d bytes, %q", w.status, w.n, w.h)
	}
}
