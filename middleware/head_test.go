package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A HEAD request that nothing fresh is stored for goes to the handler as it
// is, and its answer updates the stored response to GET, or removes it.
func TestHeadFreshens(t *testing.T) {
	for _, row := range []struct {
		name   string
		head   http.Header // of the answer to HEAD
		status int
		then   string // Cache-Status of the next GET
	}{
		{"nothing new", http.Header{"Cache-Control": {"max-age=60"}}, 200, "freshet; hit; ttl=60"},
		{"new fields", http.Header{"Cache-Control": {"max-age=90"}, "X-A": {"new"}}, 200, "freshet; hit; ttl=90"},
		{"the same tag and length", http.Header{"Cache-Control": {"max-age=60"}, "Etag": {`"1"`}, "Content-Length": {"6"}}, 200, "freshet; hit; ttl=60"},
		{"another tag", http.Header{"Cache-Control": {"max-age=60"}, "Etag": {`"2"`}}, 200, "freshet; fwd=uri-miss; stored; ttl=60"},
		{"another length", http.Header{"Cache-Control": {"max-age=60"}, "Content-Length": {"7"}}, 200, "freshet; fwd=uri-miss; stored; ttl=60"},
		{"not to be stored any more", http.Header{"Cache-Control": {"no-store"}}, 200, "freshet; fwd=uri-miss; stored; ttl=60"},
		{"another Vary", http.Header{"Cache-Control": {"max-age=60"}, "Vary": {"Accept"}}, 200, "freshet; fwd=uri-miss; stored; ttl=60"},
		{"an error says nothing", http.Header{"Cache-Control": {"max-age=60"}}, 404, "freshet; fwd=stale; stored; ttl=60"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var methods []string
				h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					methods = append(methods, r.Method)
					if r.Method == "HEAD" {
						for name, values := range row.head {
							w.Header()[name] = values
						}
						w.WriteHeader(row.status)
						return
					}
					w.Header().Set("Cache-Control", "max-age=60")
					w.Header().Set("Etag", `"1"`)
					w.Header().Set("X-A", "old")
					w.Header().Set("X-B", "kept")
					fmt.Fprint(w, "stored")
				}))
				get(h, "/")
				time.Sleep(time.Minute)
				head := keysServe(h, httptest.NewRequest("HEAD", "/", nil))
				if got := head.Header().Get("Cache-Status"); head.Code != row.status || got != "freshet; fwd=stale; detail=method" {
					t.Errorf("HEAD: %d %q", head.Code, got)
				}
				w := get(h, "/")
				freshWant(t, w, 200, "stored", row.then)
				if strings.Contains(row.then, "hit") {
					want := "old"
					if row.head["X-A"] != nil {
						want = "new"
					}
					if w.Header().Get("X-A") != want || w.Header().Get("X-B") != "kept" || w.Header().Get("Content-Length") != "6" {
						t.Errorf("fields: %q", w.Header())
					}
				}
				if methods[1] != "HEAD" {
					t.Errorf("methods: %q", methods)
				}
			})
		})
	}
}

// What was purged while a HEAD request was under way does not come back by it.
func TestHeadAndPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if r.Method == "HEAD" {
				if err := c.PurgeURL("http://example.com/", Hard); err != nil {
					t.Error(err)
				}
				return
			}
			fmt.Fprint(w, "body")
		}))
		get(h, "/")
		time.Sleep(time.Minute)
		keysServe(h, httptest.NewRequest("HEAD", "/", nil))
		freshWant(t, get(h, "/"), 200, "body", "freshet; fwd=uri-miss; stored; ttl=60")
	})
}

// What is freshened takes as much of the budget as before, its tags too.
func TestHeadKeepsTheCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Surrogate-Key", strings.Repeat("tag-of-a-page ", 20))
			w.Header().Set("Content-Length", "4")
			fmt.Fprint(w, "body")
		}))
		get(h, "/")
		before := c.Stats().Bytes
		time.Sleep(time.Minute)
		keysServe(h, httptest.NewRequest("HEAD", "/", nil))
		freshWant(t, get(h, "/"), 200, "body", "freshet; hit; ttl=60")
		if after := c.Stats().Bytes; after != before {
			t.Errorf("%d bytes, %d before", after, before)
		}
	})
}

// A response to POST answers GET if it says that it is what GET would bring.
func TestPostAnswersGet(t *testing.T) {
	for _, row := range []struct {
		name   string
		header http.Header
		status int
		path   string
		body   string // empty to cut it
		policy Policy
		stored bool
	}{
		{"its own URL", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "posted", Policy{}, true},
		{"by reading from a file", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "file", Policy{}, true},
		{"another URL", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/b"}}, 200, "/a", "posted", Policy{}, false},
		{"no URL", http.Header{"Cache-Control": {"max-age=60"}}, 200, "/a", "posted", Policy{}, false},
		{"no explicit freshness", http.Header{"Content-Location": {"/a"}}, 200, "/a", "posted", Policy{TTL: time.Hour}, false},
		{"created", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 201, "/a", "posted", Policy{}, false},
		{"private", http.Header{"Cache-Control": {"private, max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "posted", Policy{}, false},
		{"too large", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "posted", Policy{MaxBodyBytes: 5}, false},
		{"cut", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}, "Content-Length": {"9"}}, 200, "/a", "posted", Policy{}, false},
		{"panics", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "panic", Policy{}, false},
		{"a trailer", http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {"/a"}}, 200, "/a", "trailer", Policy{}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCache(t, Options{})
			h := c.Handler(row.policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "GET" {
					fmt.Fprint(w, "got")
					return
				}
				for name, values := range row.header {
					w.Header()[name] = values
				}
				w.WriteHeader(row.status)
				switch row.body {
				case "file":
					_, _ = io.Copy(w, strings.NewReader(row.body))
				default:
					_, _ = io.WriteString(w, row.body)
				}
				switch row.body {
				case "panic":
					panic(http.ErrAbortHandler)
				case "trailer":
					w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
				}
			}))
			_ = raised(func() { do(h, "POST", row.path) })
			want, status := "got", ""
			if row.stored {
				want, status = row.body, "freshet; hit; ttl=60"
			}
			w := get(h, "/a")
			if got := w.Header().Get("Cache-Status"); w.Body.String() != want || row.stored && got != status {
				t.Errorf("%q %q, want %q %q", w.Body, got, want, status)
			}
		})
	}
}
