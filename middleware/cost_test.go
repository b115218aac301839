package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
)

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Everything that an entry holds counts into the budget, whatever part of a
// response or a request it comes from: each is made large in turn, and the heap
// compared with what is counted.
func TestEverythingHeldIsCounted(t *testing.T) {
	const large = 4 << 10
	text := func(i int) string { return fmt.Sprintf("%06d", i) + strings.Repeat("x", large) }
	many := func(i int, sep string) string {
		parts := make([]string, 100)
		for j := range parts {
			parts[j] = fmt.Sprintf("t%d-%d", i, j)
		}
		return strings.Join(parts, sep)
	}
	set := func(name string, value func(int) string) func(int, http.ResponseWriter, *http.Request) {
		return func(i int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(name, value(i))
			_, _ = w.Write([]byte("body"))
		}
	}
	plain := func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("body")) }
	for name, row := range map[string]struct {
		policy  Policy
		request func(i int, r *http.Request)
		answer  func(i int, w http.ResponseWriter, r *http.Request)
	}{
		"body":        {answer: func(i int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text(i))) }},
		"field value": {answer: set("X-Large", text)},
		"field name": {answer: func(i int, w http.ResponseWriter, r *http.Request) {
			set("X-"+text(i), func(int) string { return "1" })(i, w, r)
		}},
		"ETag":          {answer: set("Etag", func(i int) string { return `"` + text(i) + `"` })},
		"Cache-Control": {answer: set("Cache-Control", func(i int) string { return "max-age=3600, x=" + text(i) })},
		"Content-Type":  {answer: set("Content-Type", text)},
		"Cache-Status":  {answer: set("Cache-Status", func(i int) string { return "up; detail=" + text(i) })},
		"many Cache-Status": {answer: func(i int, w http.ResponseWriter, r *http.Request) {
			w.Header()["Cache-Status"] = strings.Split(many(i, ","), ",")
			plain(i, w, r)
		}},
		"Surrogate-Key": {answer: set("Surrogate-Key", func(i int) string { return many(i, " ") })},
		"Cache-Tag":     {answer: set("Cache-Tag", func(i int) string { return many(i, ",") })},
		"Cache-Groups":  {answer: set("Cache-Groups", func(i int) string { return `"` + many(i, `", "`) + `"` })},
		"No-Vary-Search": {
			request: func(i int, r *http.Request) { r.URL.RawQuery = "a=" + text(i) },
			answer:  set("No-Vary-Search", func(int) string { return `params=("utm")` }),
		},
		"many lines": {answer: func(i int, w http.ResponseWriter, r *http.Request) {
			w.Header()["X-Many"] = strings.Split(many(i, ","), ",")
			plain(i, w, r)
		}},
		"many fields": {answer: func(i int, w http.ResponseWriter, r *http.Request) {
			for j := range 100 {
				w.Header().Set(fmt.Sprintf("X-%d-%d", i, j), "1")
			}
			plain(i, w, r)
		}},
		"tags of the policy": {
			policy: Policy{Tags: func(u *url.URL, _ http.Header) []string {
				return strings.Split(u.Path+strings.Repeat(",xxxxxxxxxx", 100), ",")
			}},
			answer: plain,
		},
		"path":  {request: func(i int, r *http.Request) { r.URL.Path = "/" + text(i) }, answer: plain},
		"query": {request: func(i int, r *http.Request) { r.URL.RawQuery = text(i) }, answer: plain},
		"host":  {request: func(i int, r *http.Request) { r.Host = text(i) }, answer: plain},
		"field in the key": {
			policy:  Policy{Headers: []string{"X-Large"}},
			request: func(i int, r *http.Request) { r.Header.Set("X-Large", text(i)) },
			answer:  plain,
		},
		"variant": {
			request: func(i int, r *http.Request) { r.Header.Set("X-Large", text(i)[:1000]) },
			answer:  set("Vary", func(int) string { return "X-Large" }),
		},
		"variants": {
			request: func(i int, r *http.Request) {
				r.Header.Set("X-Large", text(i)[:1000])
				r.URL.Path = fmt.Sprint("/", i/30)
			},
			answer: set("Vary", func(int) string { return "X-Large" }),
		},
		"private": {
			request: func(i int, r *http.Request) { r.URL.RawQuery = text(i) },
			answer:  set("Cache-Control", func(int) string { return "private" }),
		},
		"removed field": {answer: func(i int, w http.ResponseWriter, r *http.Request) {
			w.Header().Del("X-Outside")
			plain(i, w, r)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 4000
			before := heapInUse()
			policy := row.policy
			policy.Name = "route"
			c := newCache(t, Options{MaxBytes: 256 << 20})
			i := 0
			h := c.Handler(policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if w.Header().Get("Cache-Control") == "" {
					w.Header().Set("Cache-Control", "max-age=3600")
				}
				row.answer(i, w, r)
			}))
			empty := heapInUse() - before
			for i = range n {
				r := httptest.NewRequest("GET", fmt.Sprint("/", i), nil)
				if row.request != nil {
					row.request(i, r)
				}
				r.RequestURI = r.URL.RequestURI()
				for range 2 { // hits make something to keep too
					w := &bareWriter{h: make(http.Header)}
					w.h.Set("X-Outside", "1")
					h.ServeHTTP(w, r)
				}
			}
			held, counted := heapInUse()-before-empty, c.Stats().Bytes
			t.Logf("%d entries: %d KiB of heap, %d counted: %.2f", c.Stats().Entries, held>>10, counted>>10, float64(held)/float64(counted))
			if c.Stats().Entries == 0 {
				t.Error("nothing is held")
			}
			// Size classes of the allocator take an eighth at most.
			if float64(held) > 1.2*float64(counted) {
				t.Errorf("%d bytes of heap for %d counted", held, counted)
			}
			runtime.KeepAlive(h)
		})
	}
}
