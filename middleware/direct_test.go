package middleware

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// What a request's Cache-Control asks for, where the policy lets it count, and
// that it asks for nothing where it does not.
func TestRequestDirectives(t *testing.T) {
	const (
		hit      = "freshet; hit; ttl=30"
		stale    = "freshet; hit; ttl=-30"
		request  = "freshet; fwd=request; fwd-status=304; stored; ttl=60"
		expired  = "freshet; fwd=stale; fwd-status=304; stored; ttl=60"
		unstored = "freshet; fwd=uri-miss; detail=request_no_store"
	)
	for _, row := range []struct {
		control string // of the response
		age     int    // seconds after it was stored; -1 when nothing is
		request string
		code    int
		status  string
		calls   string
	}{
		{"max-age=60", 30, "no-cache", 200, request, "304"},
		{"max-age=60", 30, "max-age=30", 200, hit, ""},
		{"max-age=60", 30, "max-age=29", 200, request, "304"},
		{"max-age=60", 30, "min-fresh=30", 200, hit, ""},
		{"max-age=60", 30, "min-fresh=31", 200, request, "304"},
		{"max-age=60", 30, "no-store", 200, hit, ""},
		{"max-age=60", 30, "only-if-cached", 200, hit, ""},
		{"max-age=60", 30, "only-if-cached, max-age=10", 504, "freshet; fwd=request; detail=only_if_cached", ""},
		{"max-age=60", 90, "", 200, expired, "304"},
		{"max-age=60", 90, "max-stale", 200, stale, ""},
		{"max-age=60", 90, "max-stale=30", 200, stale, ""},
		{"max-age=60", 90, "max-stale=29", 200, expired, "304"},
		{"max-age=60, must-revalidate", 90, "max-stale", 200, expired, "304"},
		{"max-age=60, stale-while-revalidate=60", 90, "only-if-cached", 200, stale, "304"},
		{"max-age=60, stale-while-revalidate=60", 90, "max-age=120", 200, expired, "304"},
		{"max-age=60, stale-if-error=60", 90, "only-if-cached", 504, "freshet; fwd=uri-miss; detail=only_if_cached", ""},
		{"max-age=60", -1, "only-if-cached", 504, "freshet; fwd=uri-miss; detail=only_if_cached", ""},
		{"max-age=60", -1, "no-store", 200, unstored, "200"},
		{"max-age=60", -1, "no-cache", 200, "freshet; fwd=uri-miss; stored; ttl=60", "200"},
		{"no-cache", 0, "max-stale", 200, "freshet; fwd=stale; fwd-status=304; stored; ttl=0", "304"},
	} {
		for _, policy := range []RequestDirectives{HonourDirectives, ""} {
			t.Run(fmt.Sprint(row.control, " at ", row.age, " for ", row.request, " ", policy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newVersioned(row.control)
					h := newCache(t, Options{}).Handler(Policy{RequestDirectives: policy})(o)
					if row.age >= 0 {
						get(h, "/")
						time.Sleep(time.Duration(row.age) * time.Second)
						o.seen()
					}
					w := get(h, "/", "Cache-Control", row.request)
					synctest.Wait()
					if policy == "" {
						if w.Code != 200 || row.age == 30 && o.seen() != "" {
							t.Errorf("ignored: %d %q", w.Code, w.Header())
						}
						return
					}
					if got := w.Header().Get("Cache-Status"); w.Code != row.code || got != row.status {
						t.Errorf("%d %q, want %d %q", w.Code, got, row.code, row.status)
					}
					if got := o.seen(); got != row.calls {
						t.Errorf("answers %q, want %q", got, row.calls)
					}
				})
			})
		}
	}
}

// A client that wants the origin's word does not get the stored response when
// the origin fails, nor that of a run that had its response already.
func TestRequestNoCacheIsStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60, stale-if-error=600")
		h := newCache(t, Options{}).Handler(Policy{RequestDirectives: HonourDirectives})(o)
		get(h, "/")
		o.set(func(o *versioned) { o.failed = true })
		if w := get(h, "/", "Cache-Control", "no-cache"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d %q", w.Code, w.Header())
		}
		if w := get(h, "/"); w.Code != 200 || !keysHit(w) {
			t.Errorf("others: %d %q", w.Code, w.Header())
		}
	})
}

// A refresh that takes longer than SoftTimeout is answered from the stale
// response, for all who wait and all who come, and is stored when it is done.
func TestSoftTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &freshOrigin{header: freshControl("max-age=60, stale-if-error=600")}
		c := newCache(t, Options{})
		h := c.Handler(Policy{SoftTimeout: time.Second})(o)
		get(h, "/")
		time.Sleep(time.Minute)
		o.set(func(o *freshOrigin) { o.delay = 10 * time.Second })
		began := time.Now()
		freshWant(t, get(h, "/"), 200, "call 1", "freshet; fwd=stale; ttl=-1; detail=timeout")
		if d := time.Since(began); d != time.Second {
			t.Errorf("after %v", d)
		}
		freshWant(t, get(h, "/"), 200, "call 1", "freshet; hit; ttl=-1")
		if d := time.Since(began); d != time.Second {
			t.Errorf("the next one after %v", d)
		}
		time.Sleep(10 * time.Second) // it began 11 s ago, and is as old as the 10 it took
		freshWant(t, get(h, "/"), 200, "call 2", "freshet; hit; ttl=49")
		if n := o.count(); n != 2 {
			t.Errorf("%d calls", n)
		}
		// A quick one is waited for.
		time.Sleep(time.Minute)
		o.set(func(o *freshOrigin) { o.delay = time.Second / 2 })
		freshWant(t, get(h, "/"), 200, "call 3", "freshet; fwd=stale; stored; ttl=60")
		// Without a stale response that may be used there is nothing to answer.
		time.Sleep(time.Hour)
		o.set(func(o *freshOrigin) { o.delay = 10 * time.Second })
		freshWant(t, get(h, "/"), 200, "call 4", "freshet; fwd=stale; stored; ttl=50")
	})
}
