package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// hits returns how many of n paths are answered from the store.
func hits(h http.Handler, prefix string, n int) (found int) {
	for i := range n {
		if w := get(h, fmt.Sprint(prefix, i)); strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
			found++
		}
	}
	return found
}

// One route's URLs, which anyone can make up, push out its own responses and no
// others: those that have a response, those that vary and those that are known
// not to be shared.
func TestRouteWithAShareFloodsItself(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write http.HandlerFunc
	}{
		{"responses", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			_, _ = w.Write(make([]byte, 8<<10))
		}},
		{"variants", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("Vary", "Accept-Language, X-Tenant")
			_, _ = w.Write(make([]byte, 8<<10))
		}},
		{"unshared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "private")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Options{MaxBytes: 2 << 20})
			pages := c.Handler(Policy{})(forAll("max-age=600"))
			search := c.Handler(Policy{MaxBytes: 256 << 10})(tt.write)
			hits(pages, "/pages/", 500)
			hits(search, "/search?q=", 5000)
			if n := hits(pages, "/pages/", 500); n != 500 {
				t.Errorf("%d of 500 pages are left after a flood of another route", n)
			}
			if used := c.Stats().Bytes; used > 1<<20 {
				t.Errorf("%d bytes are held", used)
			}
		})
	}
}

// A configuration that is loaded again mounts the same route a second time: its
// share is one.
func TestRoutesOfOneNameHaveOneShare(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 8 << 20})
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(make([]byte, 8<<10))
	}
	for i := range 5 {
		h := c.Handler(Policy{Name: "search", MaxBytes: 256 << 10})(http.HandlerFunc(page))
		hits(h, fmt.Sprint("/", i, "/"), 100)
		if used := c.Stats().Bytes; used > 256<<10 {
			t.Fatalf("%d bytes are held after %d loads", used, i+1)
		}
	}
}

// A response that does not fit into its route's share is not stored, and says
// why.
func TestResponseLargerThanItsShare(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{MaxBytes: 64 << 10})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(make([]byte, 65<<10))
	}))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Body.Len() != 65<<10 || strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
			t.Errorf("%d bytes (%s)", w.Body.Len(), w.Header()["Cache-Status"])
		}
	}
	if err := (Policy{MaxBytes: 1000}).Validate(); err == nil || !strings.Contains(err.Error(), "Policy.MaxBytes: 1000: must be at least 65536 bytes") {
		t.Error(err)
	}
	if err := (Policy{MaxBytes: 64 << 10, MaxBodyBytes: 65 << 10}).Validate(); err == nil || !strings.Contains(err.Error(), "Policy.MaxBodyBytes: 66560: more than MaxBytes, 65536") {
		t.Error(err)
	}
}
