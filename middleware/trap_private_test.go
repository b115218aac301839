package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// privateRows are responses for one client alone, each with the reason that is
// told. All of them look fresh apart from that.
var privateRows = []struct {
	name   string
	fields []string // of the response
	detail string
}{
	{"private", []string{"Cache-Control", "private, max-age=60"}, "private"},
	{"private in capitals", []string{"Cache-Control", "max-age=60, PRIVATE"}, "private"},
	{"private on a second line", []string{"Cache-Control", "max-age=60", "Cache-Control", "private"}, "private"},
	{"private in lower-case field", []string{"cache-control", "private, max-age=60"}, "private"},
	{"private beside public", []string{"Cache-Control", "public, private, max-age=60"}, "private"},
	{"no-store", []string{"Cache-Control", "no-store, max-age=60"}, "no_store"},
	{"No-Store", []string{"Cache-Control", "max-age=60,No-Store"}, "no_store"},
	{"no-store after empty members", []string{"Cache-Control", ",, max-age=60,, ,no-store"}, "no_store"},
	{"no-cache", []string{"Cache-Control", "no-cache, max-age=60"}, "no_cache"},
	{"Set-Cookie", []string{"Cache-Control", "max-age=60", "Set-Cookie", "s=1"}, "set_cookie"},
	{"Set-Cookie beside public", []string{"Cache-Control", "public, s-maxage=60", "Set-Cookie", "s=1"}, "set_cookie"},
	{"set-cookie in lower case", []string{"Cache-Control", "max-age=60", "set-cookie", "s=1"}, "set_cookie"},
	{"Set-Cookie2", []string{"Cache-Control", "max-age=60", "Set-Cookie2", "s=1"}, "set_cookie"},
	{"Vary: *", []string{"Cache-Control", "max-age=60", "Vary", "*"}, "vary_star"},
	{"Vary: * in a list", []string{"Cache-Control", "max-age=60", "Vary", "Accept, *"}, "vary_star"},
	{"Vary: * on a second line", []string{"Cache-Control", "max-age=60", "Vary", "Accept", "Vary", " * "}, "vary_star"},
	{"Vary that names no field", []string{"Cache-Control", "max-age=60", "Vary", "a b"}, "vary_star"},
	{"vary in lower case", []string{"Cache-Control", "max-age=60", "vary", "*"}, "vary_star"},
}

// H3: what is meant for one client is stored for nobody, whatever the policy.
func TestPrivateNeverStored(t *testing.T) {
	for _, row := range privateRows {
		for _, p := range []Policy{{}, {TTL: time.Hour, StatusTTL: map[int]time.Duration{200: time.Hour}, StaleIfError: time.Hour}} {
			t.Run(fmt.Sprint(row.name, " TTL ", p.TTL), func(t *testing.T) {
				c := newCache(t, Options{})
				var calls int
				h := c.Handler(p)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls++
					privateSet(w.Header(), row.fields)
					fmt.Fprint(w, "for call ", calls)
				}))
				for i := 1; i <= 3; i++ {
					w := get(h, "/")
					if want := fmt.Sprint("for call ", i); w.Body.String() != want {
						t.Errorf("request %d: got %q", i, w.Body.String())
					}
					if got := w.Header().Get("Cache-Status"); got != "freshet; fwd=uri-miss; detail="+row.detail {
						t.Errorf("request %d: Cache-Status %q", i, got)
					}
					for j := 0; j < len(row.fields); j += 2 {
						if w.Header()[row.fields[j]] == nil {
							t.Errorf("request %d: the client's own %s is missing", i, row.fields[j])
						}
					}
				}
				if s := c.Stats(); s.Hits+s.Coalesced+s.Stale != 0 || s.OriginCalls != 3 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// privateSet sets fields as they are written, as a handler may.
func privateSet(h http.Header, fields []string) {
	for i := 0; i < len(fields); i += 2 {
		h[fields[i]] = append(h[fields[i]], fields[i+1])
	}
}

// H3: what a request with Authorization gets is for nobody else, nor does it
// get what others may have, unless the response says so (RFC 9111 3.5).
func TestPrivateAuthorization(t *testing.T) {
	const forAlice, shared, passed = "for alice", "freshet; hit; ttl=60", "freshet; fwd=uri-miss; detail=authorization"
	for _, row := range []struct {
		control string
		policy  Policy
		want    []string // body and Cache-Status for alice, bob, nobody, alice, nobody
	}{
		{"max-age=60", Policy{TTL: time.Hour}, []string{
			forAlice, passed, "for bob", passed, "for ", "freshet; fwd=uri-miss; stored; ttl=60",
			forAlice, "freshet; fwd=bypass; detail=authorization", "for ", shared,
		}},
		{"", Policy{TTL: time.Minute}, []string{
			forAlice, passed, "for bob", passed, "for ", "freshet; fwd=uri-miss; stored; ttl=60",
			forAlice, "freshet; fwd=bypass; detail=authorization", "for ", shared,
		}},
		{"", Policy{TTL: time.Minute, Headers: []string{"authorization"}}, []string{
			forAlice, "freshet; fwd=uri-miss; stored; ttl=60", "for bob", "freshet; fwd=uri-miss; stored; ttl=60", "for ", "freshet; fwd=uri-miss; stored; ttl=60",
			forAlice, shared, "for ", shared,
		}},
		{"public, max-age=60", Policy{}, []string{
			forAlice, "freshet; fwd=uri-miss; stored; ttl=60", forAlice, shared, forAlice, shared, forAlice, shared, forAlice, shared,
		}},
		{"s-maxage=60", Policy{}, []string{
			forAlice, "freshet; fwd=uri-miss; stored; ttl=60", forAlice, shared, forAlice, shared, forAlice, shared, forAlice, shared,
		}},
		{"max-age=60, must-revalidate", Policy{}, []string{
			forAlice, "freshet; fwd=uri-miss; stored; ttl=60", forAlice, shared, forAlice, shared, forAlice, shared, forAlice, shared,
		}},
	} {
		h := newCache(t, Options{}).Handler(row.policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if row.control != "" {
				w.Header().Set("Cache-Control", row.control)
			}
			fmt.Fprint(w, "for ", r.Header.Get("Authorization"))
		}))
		for i, user := range []string{"alice", "bob", "", "alice", ""} {
			var fields []string
			if user != "" {
				fields = []string{"Authorization", user}
			}
			w := get(h, "/", fields...)
			if got := w.Header().Get("Cache-Status"); w.Body.String() != row.want[2*i] || got != row.want[2*i+1] {
				t.Errorf("%q %v, request %d of %q: %q %q, want %q", row.control, row.policy.Headers, i, user, w.Body, got, row.want[2*i:2*i+2])
			}
		}
	}
}

// Who waits for the run of somebody with Authorization gets its response only
// if that says so, and the other way round.
func TestPrivateAuthorizationCoalesced(t *testing.T) {
	for _, row := range []struct {
		control string
		calls   int64
	}{
		{"max-age=60", 3}, {"public, max-age=60", 1},
	} {
		for _, first := range []string{"alice", ""} {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					time.Sleep(time.Second)
					w.Header().Set("Cache-Control", row.control)
					fmt.Fprint(w, "for ", r.Header.Get("Authorization"))
				}))
				var wg sync.WaitGroup
				ask := func(user string) {
					wg.Go(func() {
						var fields []string
						if user != "" {
							fields = []string{"Authorization", user}
						}
						if got := get(h, "/", fields...).Body.String(); row.calls > 1 && got != "for "+user {
							t.Errorf("%s after %q: %q got %q", row.control, first, user, got)
						}
					})
				}
				ask(first)
				synctest.Wait()
				for _, user := range []string{"bob", "carol"} {
					ask(user)
				}
				wg.Wait()
				if got := calls.Load(); got != row.calls {
					t.Errorf("%s after %q: %d calls, want %d", row.control, first, got, row.calls)
				}
			})
		}
	}
}

// A policy's TTL does not reach requests with a Cookie: nothing says that what
// they get is meant for others. A response's own freshness does say so.
func TestPrivateCookieUnderPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := ""
		var calls int
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls++
			if control != "" {
				w.Header().Set("Cache-Control", control)
			}
			fmt.Fprint(w, "for ", r.Header.Get("Cookie"))
		}))
		request := func(target, cookie, want, status string) {
			t.Helper()
			var fields []string
			if cookie != "" {
				fields = []string{"Cookie", cookie}
			}
			w := get(h, target, fields...)
			if got := w.Header().Get("Cache-Status"); w.Body.String() != want || got != status {
				t.Errorf("%s %q: %q, %q; want %q, %q", target, cookie, w.Body.String(), got, want, status)
			}
		}
		request("/a", "alice", "for alice", "freshet; fwd=uri-miss; detail=cookie")
		request("/a", "bob", "for bob", "freshet; fwd=uri-miss; detail=cookie")
		// Clients with cookies do not spoil the cache for those without.
		request("/a", "", "for ", "freshet; fwd=uri-miss; stored; ttl=60")
		request("/a", "", "for ", "freshet; hit; ttl=60")
		request("/a", "alice", "for alice", "freshet; fwd=bypass; detail=cookie")
		request("/a", "", "for ", "freshet; hit; ttl=60")

		control, calls = "max-age=60", 0
		request("/b", "alice", "for alice", "freshet; fwd=uri-miss; stored; ttl=60")
		request("/b", "bob", "for alice", "freshet; hit; ttl=60")
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}

// H4: who waits for another's run gets nothing that is not for everyone.
func TestPrivateCoalesced(t *testing.T) {
	const clients = 50
	for _, row := range privateRows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running, most atomic.Int64
				c := newCache(t, Options{})
				h := c.Handler(Policy{TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					raise(&most, running.Add(1))
					defer running.Add(-1)
					id := r.Header.Get("X-Id")
					time.Sleep(100 * time.Millisecond)
					privateSet(w.Header(), row.fields)
					w.Header().Add("Set-Cookie", "session="+id)
					w.Header().Set("X-For", id)
					_, _ = io.WriteString(w, "first half for "+id)
					time.Sleep(100 * time.Millisecond)
					_, _ = io.WriteString(w, ", second half for "+id)
				}))
				began := time.Now()
				var wg sync.WaitGroup
				for i := range clients {
					wg.Go(func() {
						id := fmt.Sprint("client", i)
						w := get(h, "/mine", "X-Id", id)
						cookies := w.Header()["Set-Cookie"]
						if n := len(cookies); n == 0 || cookies[n-1] != "session="+id || w.Header().Get("X-For") != id {
							t.Errorf("%s got %q", id, w.Header())
						}
						if want := "first half for " + id + ", second half for " + id; w.Body.String() != want {
							t.Errorf("%s got %q", id, w.Body.String())
						}
					})
				}
				wg.Wait()
				// One finds out, the others then run side by side (S12).
				if d := time.Since(began); d != 300*time.Millisecond {
					t.Errorf("all took %v", d)
				}
				if s := c.Stats(); s.OriginCalls != clients || most.Load() != clients || s.Coalesced != 0 {
					t.Errorf("most at once %d; %+v", most.Load(), s)
				}
			})
		})
	}
}

// raise makes most at least n. To load it and store the larger of the two
// would lose one of two numbers that are stored at the same time.
func raise(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
}

// S12: that a key's responses are not shared is remembered for five seconds,
// and then looked at anew by one request, which keeps no other waiting.
func TestPrivateRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := "private"
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", control)
			_, _ = io.WriteString(w, "body")
		}))
		round := func(what string, wantCalls int64, want time.Duration) {
			t.Helper()
			calls.Store(0)
			began := time.Now()
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { get(h, "/") })
			}
			wg.Wait()
			if d := time.Since(began); d != want || calls.Load() != wantCalls {
				t.Errorf("%s: %d calls in %v, want %d in %v", what, calls.Load(), d, wantCalls, want)
			}
		}
		round("cold: one finds out", 10, 2*time.Second)
		round("remembered: nobody waits", 10, time.Second)
		control = "max-age=60"
		time.Sleep(passFor - 2*time.Second - time.Nanosecond) // the first one was over a second before its round
		round("remembered to the end", 10, time.Second)
		round("doubted: one finds out, nobody waits", 10, time.Second)
		round("stored", 0, 0)
		control = "private"
		time.Sleep(time.Minute)
		round("cold again", 10, 2*time.Second)
		time.Sleep(passFor + passMore)
		control = "max-age=60"
		round("forgotten: one for all", 1, time.Second)
	})
}

// A response that turns out private is the leader's own: untouched, streamed
// on its own ResponseWriter, and its context is the leader's.
func TestPrivateEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		h := newCache(t, Options{}).Handler(Policy{FillTimeout: time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private")
			_, _ = io.WriteString(w, "x")
			<-r.Context().Done()
			ended <- r.Context().Err()
		}))
		r := httptest.NewRequest("GET", "/", nil)
		ctx, cancel := leaving(t, time.Hour)
		defer cancel()
		began := time.Now()
		if w := keysServe(h, r.WithContext(ctx)); !strings.HasPrefix(w.Body.String(), "x") {
			t.Errorf("got %q", w.Body.String())
		}
		if err := <-ended; err == nil || time.Since(began) != time.Hour {
			t.Errorf("ended after %v with %v", time.Since(began), err)
		}
	})
}
