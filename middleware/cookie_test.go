package middleware

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a policy makes of responses that set cookies: as a miss, shared with
// those who wait, stored, and validated.
func TestSetCookie(t *testing.T) {
	for _, row := range []struct {
		policy SetCookie
		calls  int
		others string // the cookie that the other clients get, "own" for each its own
	}{
		{"", 5, "own"},
		{RefuseSetCookie, 5, "own"},
		{StripSetCookie, 2, ""},
		{StoreSetCookie, 2, "1"},
	} {
		t.Run(string(row.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				calls := 0
				h := newCache(t, Options{}).Handler(Policy{SetCookie: row.policy})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					calls++
					n := fmt.Sprint(calls)
					mu.Unlock()
					time.Sleep(time.Second)
					w.Header().Set("Cache-Control", "max-age=60")
					w.Header().Set("Etag", `"1"`)
					w.Header().Set("set-cookie", n)
					if r.Header.Get("If-None-Match") != "" {
						w.WriteHeader(304)
						return
					}
					fmt.Fprint(w, "body")
				}))
				var wg sync.WaitGroup
				check := func() {
					w := get(h, "/")
					got, status := w.Header().Get("Set-Cookie"), w.Header().Get("Cache-Status")
					want := row.others
					if !strings.Contains(status, "hit") && !strings.Contains(status, "collapsed") {
						want = "own"
					}
					if want == "own" && got == "" || want != "own" && got != want || w.Body.String() != "body" {
						t.Errorf("cookie %q, want %q: %q (%s)", got, want, w.Body, status)
					}
				}
				for range 3 {
					wg.Go(check)
				}
				wg.Wait()
				check()
				time.Sleep(time.Minute)
				check()
				if calls != row.calls {
					t.Errorf("%d calls, want %d", calls, row.calls)
				}
			})
		})
	}
}

// What is only assumed to be fresh answers nobody with a Cookie, unless the key
// has it.
func TestCookieAssumed(t *testing.T) {
	modified := time.Now().Add(-24 * time.Hour).UTC().Format(http.TimeFormat)
	for _, row := range []struct {
		policy Policy
		want   []string // for alice, bob, nobody, alice
	}{
		{Policy{HeuristicLimit: time.Hour}, []string{"alice", "bob", "", "alice"}},
		{Policy{TTL: time.Hour}, []string{"alice", "bob", "", "alice"}},
		{Policy{TTL: time.Hour, Headers: []string{"Cookie"}}, []string{"alice", "bob", "", "alice stored"}},
	} {
		served := map[string]int{}
		h := newCache(t, Options{}).Handler(row.policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user := r.Header.Get("Cookie")
			served[user]++
			w.Header().Set("Last-Modified", modified)
			fmt.Fprint(w, user)
		}))
		for i, user := range []string{"alice", "bob", "", "alice"} {
			var fields []string
			if user != "" {
				fields = []string{"Cookie", user}
			}
			w := get(h, "/", fields...)
			got := w.Body.String()
			if keysHit(w) {
				got += " stored"
			}
			if got != row.want[i] {
				t.Errorf("%+v, request %d: %q, want %q", row.policy, i, got, row.want[i])
			}
		}
	}
}
