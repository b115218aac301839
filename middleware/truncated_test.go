package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// H14: nothing of a failed run gets into the answer that is used instead.
func TestH14FailedRunLeavesNoTrace(t *testing.T) {
	for _, swr := range []bool{true, false} {
		for _, how := range []string{"status", "panic", "flush"} {
			t.Run(fmt.Sprintf("%s, swr %v", how, swr), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := Policy{TTL: time.Second, StaleIfError: time.Hour}
					if swr {
						p.StaleWhileRevalidate = time.Hour
					}
					bad := false
					h := newCache(t, Options{}).Handler(p)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						if !bad {
							w.Header().Set("X-Good", "yes")
							_, _ = io.WriteString(w, "good")
							return
						}
						w.Header().Set("X-Bad", "yes")
						switch how {
						case "panic":
							panic("bad")
						case "flush":
							w.Header().Set("Content-Type", "text/bad")
							w.WriteHeader(502)
							_ = http.NewResponseController(w).Flush()
						default:
							w.WriteHeader(503)
						}
						_, _ = io.WriteString(w, "bad")
					}))
					get(h, "/")
					bad = true
					for range 4 {
						time.Sleep(2 * time.Second)
						w := get(h, "/")
						synctest.Wait()
						if w.Code != 200 || w.Body.String() != "good" || w.Header().Get("X-Good") != "yes" || w.Header().Get("X-Bad") != "" || w.Header().Get("Content-Type") == "text/bad" {
							t.Errorf("got %d %q %v", w.Code, w.Body, w.Header())
						}
					}
				})
			})
		}
	}
}

// H15: the handler is asked for the whole, and only the client with a
// condition that holds gets a 304.
func TestH15ConditionsStayWithTheirClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conditional atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"} {
				if r.Header.Get(name) != "" {
					conditional.Add(1)
				}
			}
			time.Sleep(time.Second)
			w.Header().Set("Etag", `"v1"`)
			_, _ = io.WriteString(w, "whole")
		}))
		type answer struct {
			condition string
			w         *httptest.ResponseRecorder
		}
		for _, first := range []string{`"v1"`, ""} { // whoever leads
			answers := make(chan answer, 10)
			path := "/" + fmt.Sprint(len(first))
			go func() { answers <- answer{first, conditionalGet(h, path, first)} }()
			synctest.Wait()
			for _, condition := range []string{`"v1"`, `"v0"`, ""} {
				go func() { answers <- answer{condition, conditionalGet(h, path, condition)} }()
			}
			for range 4 {
				a := <-answers
				code, body := 200, "whole"
				if a.condition == `"v1"` {
					code, body = 304, ""
				}
				if a.w.Code != code || a.w.Body.String() != body {
					t.Errorf("If-None-Match %q: %d %q, want %d %q", a.condition, a.w.Code, a.w.Body, code, body)
				}
			}
			if w := get(h, path); w.Code != 200 || w.Body.String() != "whole" || !strings.HasPrefix(w.Header().Get("Cache-Status"), "freshet; hit") {
				t.Errorf("afterwards: %d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
			}
		}
		if conditional.Load() != 0 {
			t.Errorf("%d conditions reached the handler", conditional.Load())
		}
	})
}

func conditionalGet(h http.Handler, path, etag string) *httptest.ResponseRecorder {
	if etag == "" {
		return get(h, path)
	}
	return get(h, path, "If-None-Match", etag)
}

// H16: neither a Range request nor a failed unsafe one removes what is stored,
// and a 206 is not stored.
func TestH16RangeKeepsTheEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				w.WriteHeader(500)
				return
			}
			http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("0123456789"))
		}))
		if w := get(h, "/", "Range", "bytes=2-4"); w.Code != 206 || w.Body.String() != "234" {
			t.Errorf("cold range: %d %q", w.Code, w.Body)
		}
		synctest.Wait() // for the run to end, of which this client had only a part
		get(h, "/")
		if w := get(h, "/", "Range", "bytes=2-4"); w.Code != 206 || w.Body.String() != "234" {
			t.Errorf("range: %d %q", w.Code, w.Body)
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
		if w := get(h, "/"); w.Code != 200 || w.Body.String() != "0123456789" || !strings.HasPrefix(w.Header().Get("Cache-Status"), "freshet; hit") {
			t.Errorf("afterwards: %d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
		}
	})
}

// A handler that writes less or more than it declared.
func TestDeclaredLength(t *testing.T) {
	c := newCache(t, Options{})
	srv := serve(t, c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", r.URL.Path[1:])
		_, _ = io.WriteString(w, "01234")
		_, _ = io.WriteString(w, "56789")
	})))
	for range 2 {
		if resp, got, err := fetch(srv.Client(), srv.URL+"/20"); err == nil && resp.StatusCode != http.StatusBadGateway {
			t.Errorf("too short: a clean %d with %q", resp.StatusCode, got)
		}
		if _, got, err := fetch(srv.Client(), srv.URL+"/7"); err != nil || got != "0123456" {
			t.Errorf("too long: %q, %v", got, err)
		}
	}
}
