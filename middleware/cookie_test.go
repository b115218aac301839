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
