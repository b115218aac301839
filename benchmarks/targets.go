// Package benchmarks measures Freshet against the cheapest handler that does
// the same work, and against other caches, in one run of one process: on a
// shared machine only ratios of neighbouring measurements mean anything.
//
//	go test -bench . ./benchmarks
//	go run ./benchmarks/ratios
package benchmarks

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// A Target is one thing to measure: Do is called again and again.
type Target struct {
	Name string
	Do   func()
}

// A Writer is a ResponseWriter that can be used again, so that what is
// measured is the handler and not the recording of its answer.
type Writer struct {
	H      http.Header
	Status int
	Bytes  int
}

// Header implements http.ResponseWriter.
func (w *Writer) Header() http.Header { return w.H }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) { w.Status = status }

// Write implements http.ResponseWriter.
func (w *Writer) Write(p []byte) (int, error) {
	w.Bytes = len(p)
	return len(p), nil
}

// Request is as a server makes it: 3 fields, a query string, origin form.
func Request(method string, fields ...string) *http.Request {
	r := httptest.NewRequest(method, "/products/12?size=4&color=red", nil)
	r.Host = "shop.example"
	r.Header = http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip, br"},
		"User-Agent":      {"bench/1.0"},
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return r
}

var body = make([]byte, 1024)

// Floor sets four fields and writes a ready body.
func Floor() Target {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=3600")
		h.Set("Etag", `"abc"`)
		h.Set("Content-Length", "1024")
		_, _ = w.Write(body)
	})
	return target("floor", h, Request("GET"))
}

func target(name string, h http.Handler, r *http.Request) Target {
	w := &Writer{H: make(http.Header)}
	return Target{name, func() { h.ServeHTTP(w, r) }}
}

// Hits are answers from the store: 1 KiB, 5 stored fields besides Age and
// Cache-Status, metrics on.
func Hits(cache *cachemw.Cache) ([]Target, error) {
	var targets []Target
	for _, t := range []struct {
		name, vary string
		r          *http.Request
		status     int
	}{
		{"hit", "", Request("GET"), 200},
		{"hit with Vary", "Accept-Encoding", Request("GET"), 200},
		{"304", "", Request("GET", "If-None-Match", `"abc"`), 304},
		{"HEAD", "", Request("HEAD"), 200},
	} {
		h := cache.Handler(cachemw.Policy{Name: t.name})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Cache-Control", "max-age=3600")
			h.Set("Etag", `"abc"`)
			if t.vary != "" {
				h.Set("Vary", t.vary)
			}
			_, _ = w.Write(body)
		}))
		t.r.Host = t.name + ".example" // a key of its own
		warm := Request("GET")
		warm.Host = t.r.Host
		h.ServeHTTP(httptest.NewRecorder(), warm)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, t.r)
		if got := w.Header().Get("Cache-Status"); w.Code != t.status || len(got) < 12 || got[:12] != "freshet; hit" {
			return nil, fmt.Errorf("%s: answered %d with Cache-Status %q", t.name, w.Code, got)
		}
		targets = append(targets, target(t.name, h, t.r))
	}
	return targets, nil
}

// Fetch is a hit of the typed cache.
func Fetch() (Target, func() error, error) {
	c, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 1 << 20, TTL: time.Hour})
	if err != nil {
		return Target{}, nil, err
	}
	ctx := context.Background()
	load := func(context.Context) (string, error) { return "value", nil }
	do := func() { _, _ = c.Fetch(ctx, "user:12345678", load) }
	do()
	return Target{"Cache[V].Fetch", do}, c.Close, nil
}
