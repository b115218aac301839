package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func head(h http.Handler, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("HEAD", "/", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return keysServe(h, r)
}

// What a HEAD was told because of fields that only its client sends changes
// nothing for others: neither what they get nor that they get it.
func TestHeadOfAStrangerChangesNothingForOthers(t *testing.T) {
	for _, field := range append([]string{"Authorization", "Cookie"}, rewriters...) {
		t.Run(field, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newCache(t, Options{}).Handler(Policy{StaleIfError: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" && w.Header().Get("X") == "" && r.Header.Get("If-None-Match") != "" {
						w.WriteHeader(503)
						return
					}
					tag := "1"
					if v := r.Header.Get(field); v != "" {
						tag = "another"
						w.Header().Set("Link", "<https://"+v+"/app.js>")
					}
					w.Header().Set("Cache-Control", "max-age=10")
					w.Header().Set("Etag", `"`+tag+`"`)
					fmt.Fprint(w, "body")
				}))
				get(h, "/")
				time.Sleep(11 * time.Second)
				head(h, field, "evil.example")
				w := get(h, "/")
				if w.Code != 200 || strings.Contains(fmt.Sprint(w.Header()), "evil") || w.Header().Get("Etag") != `"1"` {
					t.Errorf("everyone gets %d %q", w.Code, w.Header())
				}
			})
		})
	}
}

// A field that Connection lists is not seen by an origin behind a proxy. Such a
// request shares nothing with those whose field the origin sees.
func TestFieldsThatConnectionHidesShareNothing(t *testing.T) {
	// As httputil.ReverseProxy does.
	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get("X-Version")
		for option := range strings.SplitSeq(r.Header.Get("Connection"), ",") {
			if strings.EqualFold(strings.TrimSpace(option), "X-Version") {
				version = ""
			}
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Version")
		fmt.Fprint(w, "version "+version)
	})
	for name, p := range map[string]Policy{"Vary": {}, "key": {Headers: []string{"X-Version"}}} {
		for _, face := range faces {
			t.Run(name+" "+face.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := face.mount(newCache(t, Options{}), p, proxy)
					for _, row := range []struct{ connection, want string }{
						{"x-version", ""}, {"", "2"}, {"keep-alive, X-Version", ""}, {"keep-alive", "2"}, {"close", "2"},
					} {
						fields := []string{"X-Version", "2"}
						if row.connection != "" {
							fields = append(fields, "Connection", row.connection)
						}
						if w := get(h, "/", fields...); w.Body.String() != "version "+row.want {
							t.Errorf("Connection %q: %q (%s)", row.connection, w.Body, w.Header()["Cache-Status"])
						}
					}
				})
			})
		}
	}
}

// A 304 that makes a stored field one client's takes it from everyone: it is
// the field of whoever asked before.
func TestFieldMadePrivateByA304IsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Cache-Control", "max-age=10")
			if r.Header.Get("If-None-Match") != "" {
				w.Header().Set("Cache-Control", `max-age=10, private="X-User"`)
				w.WriteHeader(304)
				return
			}
			w.Header().Set("X-User", r.Header.Get("X-Id"))
			fmt.Fprint(w, "body")
		}))
		get(h, "/", "X-Id", "alice")
		time.Sleep(11 * time.Second)
		for range 2 {
			if w := get(h, "/", "X-Id", "bob"); w.Header().Get("X-User") != "" || w.Body.String() != "body" {
				t.Errorf("bob got X-User %q (%s)", w.Header().Get("X-User"), w.Header().Get("Cache-Status"))
			}
		}
	})
}
