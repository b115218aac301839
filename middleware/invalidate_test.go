package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
)

// counted answers GET with the number of the call, and what is not GET as it
// is told to.
type counted struct {
	calls  int
	status int
	header http.Header
}

func (o *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		o.calls++
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprint(w, "call ", o.calls)
		return
	}
	for name, values := range o.header {
		w.Header()[name] = values
	}
	if o.status != 0 {
		w.WriteHeader(o.status)
	}
}

func do(h http.Handler, method, target string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader("body"))
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An unsafe method that succeeds removes every variant of its URL, and what
// its response names on the same origin (RFC 9111 4.4).
func TestInvalidate(t *testing.T) {
	for _, row := range []struct {
		name   string
		method string
		target string
		status int
		header http.Header
		gone   string // those of a b c whose stored responses are
	}{
		{"POST", "POST", "/a", 200, nil, "a"},
		{"nothing written", "PUT", "/a", 0, nil, "a"},
		{"created", "PUT", "/a", 201, nil, "a"},
		{"a redirect", "DELETE", "/a", 303, nil, "a"},
		{"unknown", "M-SEARCH", "/a", 204, nil, "a"},
		{"in another case", "get", "/a", 200, nil, "a"},
		{"client error", "POST", "/a", 404, nil, ""},
		{"server error", "POST", "/a", 500, nil, ""},
		{"OPTIONS", "OPTIONS", "/a", 200, nil, ""},
		{"TRACE", "TRACE", "/a", 200, nil, ""},
		{"another query", "POST", "/a?x=1", 200, nil, ""},
		{"Location", "POST", "/form", 303, http.Header{"Location": {"/b"}}, "b"},
		{"Content-Location", "POST", "/a", 200, http.Header{"Content-Location": {"http://example.com/b"}}, "ab"},
		{"both", "POST", "/a", 200, http.Header{"Location": {"b"}, "Content-Location": {"c"}}, "abc"},
		{"another origin", "POST", "/a", 200, http.Header{"Location": {"http://example.org/b"}, "Content-Location": {"http://example.com:8080/c"}}, "a"},
		{"TLS ends in front of the service", "POST", "/a", 200, http.Header{"Content-Location": {"https://example.com/c"}}, "ac"},
		{"failed", "POST", "/form", 422, http.Header{"Location": {"/b"}}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := &counted{status: row.status, header: row.header}
			h := newCache(t, Options{}).Handler(Policy{})(o)
			for _, path := range []string{"/a", "/b", "/c"} {
				for _, lang := range []string{"de", "fr"} {
					get(h, path, "Accept-Language", lang)
				}
			}
			w := do(h, row.method, row.target)
			if got := w.Header().Get("Cache-Status"); got != "freshet; fwd=method" {
				t.Errorf("Cache-Status %q", got)
			}
			for _, path := range []string{"a", "b", "c"} {
				for _, lang := range []string{"de", "fr"} {
					hit := keysHit(get(h, "/"+path, "Accept-Language", lang))
					if gone := strings.Contains(row.gone, path); hit == gone {
						t.Errorf("%s in %s: hit is %v", path, lang, hit)
					}
				}
			}
		})
	}
}

// Behind a router that cuts a prefix off, names are still those of clients.
func TestInvalidateBehindPrefix(t *testing.T) {
	o := &counted{header: http.Header{"Location": {"/api/b"}}}
	h := http.StripPrefix("/api", newCache(t, Options{}).Handler(Policy{})(o))
	get(h, "/api/a")
	get(h, "/api/b")
	do(h, "POST", "/api/a")
	if keysHit(get(h, "/api/a")) || keysHit(get(h, "/api/b")) {
		t.Error("still stored")
	}
}

// Whoever has been told of success does not get the old response, and a run
// that began before it is not stored.
func TestInvalidateBeforeTheClientKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value := "old"
		r := chi.NewRouter()
		r.Use(newCache(t, Options{}).Handler(Policy{TTL: time.Hour}))
		r.Get("/", func(w http.ResponseWriter, r *http.Request) {
			v := value
			time.Sleep(time.Second)
			fmt.Fprint(w, v)
		})
		router := http.Handler(r)
		r.Post("/", func(w http.ResponseWriter, r *http.Request) {
			value = "new"
			w.WriteHeader(204)
			if body := get(router, "/").Body.String(); body != "new" {
				t.Errorf("as soon as the header is out: %q", body)
			}
		})
		early := make(chan string)
		go func() { early <- get(r, "/").Body.String() }()
		synctest.Wait()
		do(r, "POST", "/")
		if body := <-early; body != "old" {
			t.Errorf("who asked before: %q", body)
		}
		if body := get(r, "/").Body.String(); body != "new" {
			t.Errorf("who asks after: %q", body)
		}
	})
}

// What a handler can do with its ResponseWriter it can do under POST.
func TestModifyUntouched(t *testing.T) {
	h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusEarlyHints)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}))
	srv := serve(t, h)
	resp, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader("x"))
	if err == nil {
		_ = resp.Body.Close()
	}
}
