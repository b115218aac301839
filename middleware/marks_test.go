package middleware

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	chimw "github.com/go-chi/chi/v5/middleware"
)

// A handler that does all that RFC 9111 asks: pages of who has a session are
// private, others' are public, and both vary by Cookie. A stranger with a made-up
// session who comes first takes nothing from those without one (invariant 14).
func TestPrivateAnswerToAStrangerTakesNothing(t *testing.T) {
	for _, row := range []struct {
		name, vary, field string
		status            int
		control           string // for who sends the field
	}{
		{"Vary says so", "Cookie", "Cookie", 200, "private"},
		{"Vary says so of a field that is no credential", "X-Tenant", "X-Tenant", 200, "no-store"},
		{"a bad token", "", "Authorization", 401, "no-store"},
		{"a bad cookie, without Vary", "", "Cookie", 200, "private"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					time.Sleep(time.Second)
					if row.vary != "" {
						w.Header().Set("Vary", row.vary)
					}
					if r.Header[row.field] != nil {
						w.Header().Set("Cache-Control", row.control)
						w.WriteHeader(row.status)
						fmt.Fprint(w, "hello ", r.Header.Get(row.field))
						return
					}
					forAll("public, max-age=600")(w, r)
				}))
				go get(h, "/", row.field, "session=stranger")
				synctest.Wait()
				var wg sync.WaitGroup
				for range 3 { // three crowds, one after the other
					for range 50 {
						wg.Go(func() {
							if w := get(h, "/"); w.Body.String() != "for all" {
								t.Errorf("%q", w.Body)
							}
						})
					}
					wg.Wait()
				}
				if n := calls.Load(); n > 2 {
					t.Errorf("%d runs for one page: want that of the stranger and one for the others", n)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// The same where the responses are there, and a variant is private: nobody else
// is concerned.
func TestPrivateVariantBesideStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			time.Sleep(time.Second)
			w.Header().Set("Vary", "Cookie")
			if r.Header["Cookie"] != nil {
				w.Header().Set("Cache-Control", "private")
				return
			}
			forAll("public, max-age=10")(w, r)
		}))
		get(h, "/")
		time.Sleep(11 * time.Second)
		get(h, "/", "Cookie", "session=stranger")
		calls.Store(0)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { get(h, "/") })
		}
		wg.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d runs", n)
		}
		time.Sleep(time.Minute)
	})
}

// The stranger asks where a response that may be validated has expired: it
// is still there for the next plain request.
func TestPrivateAnswerToAStrangerLeavesTheValidator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var whole, confirmed atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			if r.Header["Cookie"] != nil {
				w.Header().Set("Cache-Control", "private")
				fmt.Fprint(w, "hello")
				return
			}
			w.Header().Set("Cache-Control", "max-age=10")
			if r.Header.Get("If-None-Match") == `"1"` {
				confirmed.Add(1)
				w.WriteHeader(304)
				return
			}
			whole.Add(1)
			fmt.Fprint(w, "for all")
		}))
		get(h, "/")
		for range 5 {
			time.Sleep(11 * time.Second)
			get(h, "/", "Cookie", "made=up")
			time.Sleep(time.Second)
			for range 3 {
				get(h, "/")
			}
		}
		if whole.Load() != 1 || confirmed.Load() != 5 {
			t.Errorf("%d whole responses and %d validations, want 1 and 5", whole.Load(), confirmed.Load())
		}
		time.Sleep(time.Minute)
	})
}

// chi's Timeout outside, whose client does not read: answered 504 or stale.
func TestTimeoutOutsideOfLeader(t *testing.T) {
	var calls atomic.Int64
	c := newCache(t, Options{})
	h := chimw.Timeout(100 * time.Millisecond)(c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		time.Sleep(300 * time.Millisecond)
		forAll("max-age=600")(w, r)
	})))
	srv := httptest.NewServer(h)
	defer srv.Close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _, _, _ = fetch(srv.Client(), srv.URL) })
	}
	wg.Wait()
	time.Sleep(400 * time.Millisecond)
	resp, body, _ := fetch(srv.Client(), srv.URL)
	if calls.Load() != 1 || !strings.Contains(body, "for all") {
		t.Errorf("%d runs, %q %v", calls.Load(), body, resp.Header["Cache-Status"])
	}
}

// A wrapper outside that ends the leader's goroutine by a panic while interim
// responses are written.
func TestPageOfALeaderWhoseInterimPanickedIsNobodyElses(t *testing.T) {
	var calls atomic.Int64
	user := atomic.Pointer[string]{}
	alice, bob := "alice", "bob"
	user.Store(&alice)
	cached := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := *user.Load()
		calls.Add(1)
		w.WriteHeader(103)
		time.Sleep(300 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "hello ", name)
	}))
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cached.ServeHTTP(&session{w, *user.Load(), *user.Load() == alice}, r)
	}))
	_, _, _ = fetch(srv.Client(), srv.URL)
	user.Store(&bob)
	_, body, err := fetch(srv.Client(), srv.URL)
	if err != nil || strings.Contains(body, "alice") {
		t.Errorf("bob got %q %v", body, err)
	}
}

// A response that varies by X-Forwarded-For is one client's: a proxy behind the
// cache makes the field anew of the client's address, which no key has (judge.go,
// against). It is so too where the response is stale on arrival.
func TestWhatVariesByForwardedForIsNotForThoseWhoWaited(t *testing.T) {
	for _, row := range []struct {
		control string
		status  int
	}{{"max-age=60", 200}, {"max-age=1", 200}, {"max-age=60", 503}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			cached := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(1300 * time.Millisecond)
				ip, _, _ := net.SplitHostPort(r.RemoteAddr) // as a proxy would tell its origin
				w.Header().Set("Vary", "X-Forwarded-For")
				w.Header().Set("Cache-Control", row.control)
				w.WriteHeader(row.status)
				fmt.Fprint(w, "for ", ip)
			}))
			srv := serve(t, cached)
			var wg sync.WaitGroup
			for _, ip := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
				wg.Go(func() {
					client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).DialContext}}
					defer client.CloseIdleConnections()
					resp, body, err := fetch(client, srv.URL)
					if err != nil {
						t.Error(err)
					} else if body != "for "+ip {
						t.Errorf("%s got %q (%q)", ip, body, resp.Header["Cache-Status"])
					}
				})
			}
			wg.Wait()
		})
	}
}
