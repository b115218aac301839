package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An editor is middleware that does something to the header as it is written.
type editor struct {
	http.ResponseWriter
	edit  func(http.Header)
	wrote bool
}

func (e *editor) WriteHeader(status int) {
	e.wrote = true
	e.edit(e.Header())
	e.ResponseWriter.WriteHeader(status)
}

func (e *editor) Write(p []byte) (int, error) {
	if !e.wrote {
		e.WriteHeader(http.StatusOK)
	}
	return e.ResponseWriter.Write(p)
}

func (e *editor) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func editing(next http.Handler, edit func(h http.Header, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&editor{ResponseWriter: w, edit: func(h http.Header) { edit(h, r) }}, r)
	})
}

// Middleware outside may edit values in place, as for a client that sees the
// service under a prefix: nobody else sees that, whatever the answer is.
func TestValuesEditedInPlaceAreOneClients(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Second)
		w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=600")
		w.Header().Set("Etag", `"1"`)
		w.Header()["Link"] = []string{"</a.css>", "</b.css>"}
		w.Header().Set("Cache-Status", "upstream; hit")
		w.Header().Set("Vary", "X-Other")
		fmt.Fprint(w, "0123456789")
	})
	for _, face := range faces {
		for _, row := range []struct {
			name   string
			method string
			fields []string
		}{
			{"GET", "GET", nil}, {"HEAD", "HEAD", nil},
			{"not modified", "GET", []string{"If-None-Match", `"1"`}}, {"part", "GET", []string{"Range", "bytes=2-3"}},
		} {
			t.Run(face.name+" "+row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cached := face.mount(newCache(t, Options{}), Policy{}, origin)
					h := editing(cached, func(h http.Header, r *http.Request) {
						for name, values := range h {
							if name == "Cache-Control" {
								continue // its words count
							}
							for i := range values {
								values[i] = r.Header.Get("X-Prefix") + values[i]
							}
						}
					})
					check := func(stage string, i int) {
						r := httptest.NewRequest(row.method, "/", nil)
						privateSet(r.Header, row.fields)
						prefix := fmt.Sprintf("client %d: ", i)
						r.Header.Set("X-Prefix", prefix)
						w := keysServe(h, r)
						for name, values := range w.Header() {
							if name == "Cache-Control" {
								continue
							}
							for _, v := range values {
								if rest, ok := strings.CutPrefix(v, prefix); !ok || strings.Contains(rest, "client ") {
									t.Errorf("%s, client %d, %s: %q", stage, i, name, v)
								}
							}
						}
						if got := w.Header()["Link"]; len(got) != 2 || got[1] != prefix+"</b.css>" {
							t.Errorf("%s: Link %q", stage, got)
						}
					}
					var wg sync.WaitGroup
					for i := range 5 {
						wg.Go(func() { check("cold", i) })
					}
					wg.Wait()
					for i := range 5 {
						check("fresh", i)
					}
					time.Sleep(11 * time.Second)
					for i := range 5 {
						check("stale", i)
					}
					time.Sleep(5 * time.Second)
					for i := range 5 {
						check("refreshed", i)
					}
				})
			})
		}
	}
}

// What middleware outside says only when the header is written, as session
// middleware does, keeps the page from those who wait for it and out of the
// store. It does not count that a handler inside said the same to begin with.
func TestWordsSaidAtTheHeaderCount(t *testing.T) {
	for name, say := range map[string]func(h http.Header, user string){
		"a cookie":            func(h http.Header, user string) { h.Add("Set-Cookie", "session="+user) },
		"no-store":            func(h http.Header, _ string) { h.Set("Cache-Control", "no-store") },
		"private":             func(h http.Header, _ string) { h.Add("Cache-Control", "private") },
		"no-store to a CDN":   func(h http.Header, _ string) { h.Set("Cdn-Cache-Control", "no-store") },
		"that it varies by *": func(h http.Header, _ string) { h.Add("Vary", "*") },
		"private, to a field": func(h http.Header, _ string) { h.Set("Cache-Control", `private="X-User", private`) },
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, tagged := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", method, " ", tagged), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newCache(t, Options{})
						h := editing(c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							user := r.Header.Get("X-User")
							time.Sleep(time.Second)
							w.Header().Set("Cache-Control", "max-age=60")
							if tagged {
								w.Header().Set("Etag", `"1"`)
							}
							w.Header().Set("X-For", user)
							fmt.Fprint(w, "page of "+user)
						})), func(h http.Header, r *http.Request) { say(h, r.Header.Get("X-User")) })
						check := func(user string) {
							r := httptest.NewRequest(method, "/", nil)
							r.Header.Set("X-User", user)
							w := keysServe(h, r)
							if w.Header().Get("X-For") != user || method == "GET" && w.Body.String() != "page of "+user {
								t.Errorf("%s got %q %q", user, w.Body, w.Header())
							}
						}
						var wg sync.WaitGroup
						for i := range 5 {
							wg.Go(func() { check(fmt.Sprint("user", i)) })
						}
						wg.Wait()
						check("later")
					})
				})
			}
		}
	}
}
