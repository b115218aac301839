package middleware

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newCache(t testing.TB, o Options) *Cache {
	t.Helper()
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = quiet
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A bareWriter is a ResponseWriter that can be used again and again.
type bareWriter struct {
	h      http.Header
	status int
	n      int
}

func (w *bareWriter) Header() http.Header         { return w.h }
func (w *bareWriter) WriteHeader(status int)      { w.status = status }
func (w *bareWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// hitRequest returns a handler with a stored response of 1 KiB and 5 fields,
// and a request with 3 fields that hits it.
func hitRequest(t testing.TB, vary string) (http.Handler, *http.Request) {
	c := newCache(t, Options{})
	body := make([]byte, 1024)
	h := c.Handler(Policy{Name: "bench"})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=3600")
		h.Set("Etag", `"abc"`)
		if vary != "" {
			h.Set("Vary", vary)
		}
		_, _ = w.Write(body)
	}))
	r := httptest.NewRequest("GET", "/products/12?size=4&color=red", nil) // as a server has it
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Encoding", "gzip, br")
	r.Header.Set("User-Agent", "test")
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 || w.Body.Len() != len(body) {
			t.Fatalf("got %d with %d bytes", w.Code, w.Body.Len())
		}
		if vary == "" {
			break
		}
	}
	return h, r
}

func BenchmarkHit(b *testing.B)     { benchmarkHit(b, "") }
func BenchmarkHitVary(b *testing.B) { benchmarkHit(b, "Accept-Encoding") }

func benchmarkHit(b *testing.B, vary string) {
	h, r := hitRequest(b, vary)
	w := &bareWriter{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
	if got := w.h.Get("Cache-Status"); got[:12] != "freshet; hit" {
		b.Fatal(got)
	}
}

// BenchmarkFloor is the cheapest handler that does what a hit must: it sets
// four fields and writes a ready body.
func BenchmarkFloor(b *testing.B) {
	body := make([]byte, 1024)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=3600")
		h.Set("Etag", `"abc"`)
		h.Set("Content-Length", "1024")
		_, _ = w.Write(body)
	})
	r := httptest.NewRequest("GET", "/products/12?size=4&color=red", nil) // as a server has it
	w := &bareWriter{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
