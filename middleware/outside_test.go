package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// setting sets response fields before next runs, as middleware outside of the
// cache does.
func setting(next http.Handler, fields ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		next.ServeHTTP(w, r)
	})
}

// What forbids sharing does so whoever says it: the handler, middleware outside
// of the cache, or both in the same words. It holds for those who wait for a
// cold key, and for those who come later.
func TestWordsAgainstSharingCountWhoeverSaysThem(t *testing.T) {
	const past = "Thu, 01 Jan 1970 00:00:00 GMT"
	for _, said := range [][2]string{
		{"Cache-Control", "no-store"},
		{"Cache-Control", "private"},
		{"Cache-Control", "private, no-store"},
		{"Cache-Control", "no-cache, no-store, must-revalidate"},
		{"Cdn-Cache-Control", "no-store"},
		{"Expires", past},
		{"Set-Cookie", "session=1"},
		{"Vary", "*"},
		{"Vary", "X-User"},
		{"Vary", "X-Forwarded-For"},
	} {
		for _, by := range []string{"the handler", "the outside", "both"} {
			t.Run(fmt.Sprintf("%s: %s by %s", said[0], said[1], by), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(time.Second)
						if by != "the outside" && r.URL.Path == "/of-one" {
							w.Header().Set(said[0], said[1])
						}
						fmt.Fprint(w, "of "+r.Header.Get("X-User"))
					}))
					if by != "the handler" {
						next := h
						private := setting(next, said[0], said[1])
						h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if r.URL.Path == "/of-one" {
								private.ServeHTTP(w, r)
								return
							}
							next.ServeHTTP(w, r)
						})
					}
					var wg sync.WaitGroup
					for _, user := range []string{"alice", "bob", "carol"} {
						wg.Go(func() {
							if w := get(h, "/of-one", "X-User", user); w.Body.String() != "of "+user {
								t.Errorf("%s got %q (%s)", user, w.Body, w.Header()["Cache-Status"])
							}
						})
					}
					wg.Wait()
					if w := get(h, "/of-one", "X-User", "dave"); w.Body.String() != "of dave" {
						t.Errorf("later, dave got %q (%s)", w.Body, w.Header()["Cache-Status"])
					}
				})
			})
		}
	}
}

// A refresh runs for the client that found the response stale, and what was said
// outside for that client restricts what comes of it.
func TestOutsideRestrictsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newCache(t, Options{}).Handler(Policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "for "+r.Header.Get("X-User")) // whom the outside has found out
		}))
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-User") != "" {
				w.Header().Set("Cache-Control", "private")
			}
			inner.ServeHTTP(w, r)
		})
		get(h, "/")
		time.Sleep(2 * time.Minute)
		if w := get(h, "/", "X-User", "alice"); w.Body.String() != "for " {
			t.Errorf("stale: %q", w.Body)
		}
		synctest.Wait()
		if w := get(h, "/"); w.Body.String() != "for " {
			t.Errorf("everyone got %q (%s)", w.Body, w.Header()["Cache-Status"])
		}
	})
}

// The header that net/http would have sent decides: what the handler sets in
// place of what was set outside, or removes, is not said any more.
func TestHandlerOverridesTheOutside(t *testing.T) {
	for name, handler := range map[string]func(h http.Header){
		"sets":    func(h http.Header) { h.Set("Cache-Control", "max-age=60") },
		"edits":   func(h http.Header) { h["Cache-Control"][0] = "max-age=60" },
		"removes": func(h http.Header) { h.Del("Cache-Control") },
	} {
		t.Run(name, func(t *testing.T) {
			h := setting(newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				handler(w.Header())
				fmt.Fprint(w, "for all")
			})), "Cache-Control", "no-store")
			get(h, "/")
			w := get(h, "/")
			if !keysHit(w) || strings.Contains(w.Header().Get("Cache-Control"), "no-store") {
				t.Errorf("%q", w.Header())
			}
		})
	}
	h := setting(newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Cache-Control", "max-age=60")
		fmt.Fprint(w, "for one")
	})), "Cache-Control", "private")
	get(h, "/")
	if w := get(h, "/"); keysHit(w) || !slices.Equal(w.Header()["Cache-Control"], []string{"private", "max-age=60"}) {
		t.Errorf("with a line added: %q", w.Header())
	}
}

// A field that the handler removes is not in the answers from the store either,
// nor is a type guessed where the handler wants none.
func TestRemovedFieldsStayRemoved(t *testing.T) {
	h := setting(newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("X-Frame-Options")
		w.Header()["Content-Type"] = nil
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "<html><script>")
	})), "X-Frame-Options", "DENY", "X-Other", "1")
	srv := httptest.NewServer(h)
	defer srv.Close()
	for i := range 3 {
		resp, _, err := fetch(srv.Client(), srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Header
		if got["X-Frame-Options"] != nil || got["Content-Type"] != nil || got.Get("X-Other") != "1" {
			t.Errorf("request %d: %q", i, got)
		}
	}
}

// What middleware adds to Vary for one client is there on a hit too, each name
// once.
func TestVaryOfTheOutsideIsOnHits(t *testing.T) {
	inner := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "x")
	}))
	get(inner, "/") // nothing is said outside
	for outer, want := range map[string][]string{
		"":                {"Accept-Encoding"},
		"Origin":          {"Origin", "Accept-Encoding"},
		"Accept-Encoding": {"Accept-Encoding"},
	} {
		h := inner
		if outer != "" {
			h = setting(inner, "Vary", outer)
		}
		w := get(h, "/")
		if !keysHit(w) || !slices.Equal(w.Header()["Vary"], want) {
			t.Errorf("%q outside: %q (%s)", outer, w.Header()["Vary"], w.Header().Get("Cache-Status"))
		}
	}
}

// A type that net/http guesses is guessed from the beginning of the body: for
// GET, for HEAD, and for a part of it.
func TestGuessedTypeIsThatOfTheWhole(t *testing.T) {
	body := "\x89PNG\x0D\x0A\x1A\x0A" + strings.Repeat("plain ascii pixels ", 50)
	srv := httptest.NewServer(newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, body)
	})))
	defer srv.Close()
	for i, row := range []struct{ method, part string }{{"GET", ""}, {"GET", ""}, {"HEAD", ""}, {"GET", "bytes=100-199"}} {
		req, _ := http.NewRequest(row.method, srv.URL, nil)
		if row.part != "" {
			req.Header.Set("Range", row.part)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != "image/png" {
			t.Errorf("request %d, %s %s: %q", i, row.method, row.part, got)
		}
	}
}
