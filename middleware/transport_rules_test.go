package middleware

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// inMemory is a handler as the base of a Transport, without a network.
func inMemory(h http.Handler) trip {
	return func(r *http.Request) (*http.Response, error) {
		w := keysServe(h, r)
		resp := w.Result()
		resp.Request = r
		return resp, nil
	}
}

// The rules are the same behind the other face: ranges, validation, a stale
// answer while a slow run goes on.
func TestTransportRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &digits{control: "max-age=60", length: true}
		rt := newCache(t, Options{}).Transport(Policy{}, inMemory(o))
		for _, status := range []string{"freshet; fwd=uri-miss; stored; ttl=60", "freshet; hit; ttl=60"} {
			resp, body, err := ask(rt, "GET", "http://a.example/", "Range", "bytes=2-4")
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 206 || body != "234" || resp.ContentLength != 3 || resp.Header.Get("Content-Range") != "bytes 2-4/10" ||
				resp.Header.Get("Cache-Status") != status {
				t.Errorf("%d %q %d %q", resp.StatusCode, body, resp.ContentLength, resp.Header)
			}
			synctest.Wait() // until the whole is stored
		}
		if got := o.calls(); got != `[""]` {
			t.Errorf("asked for %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o := &digits{control: "private", length: true}
		rt := newCache(t, Options{}).Transport(Policy{}, inMemory(o))
		for range 2 {
			resp, body, err := ask(rt, "GET", "http://a.example/", "Range", "bytes=2-4")
			if err != nil || resp.StatusCode != 206 || body != "234" {
				t.Errorf("%v %q %v", resp, body, err)
			}
		}
		if got := o.calls(); got != `["" "bytes=2-4"]` {
			t.Errorf("asked for %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60, stale-if-error=600")
		rt := newCache(t, Options{}).Transport(Policy{SoftTimeout: time.Second}, inMemory(o))
		check := func(status string, fields ...string) {
			t.Helper()
			resp, body, err := ask(rt, "GET", "http://a.example/", fields...)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Cache-Status"); resp.StatusCode != 200 || body != `version "1"` || got != status {
				t.Errorf("%d %q %q, want %q", resp.StatusCode, body, got, status)
			}
		}
		check("freshet; fwd=uri-miss; stored; ttl=60")
		check("freshet; fwd=request; fwd-status=304; stored; ttl=60", "Cache-Control", "no-cache")
		time.Sleep(time.Minute)
		o.set(func(o *versioned) { o.delay = 10 * time.Second })
		check("freshet; fwd=stale; ttl=-1; detail=timeout")
		time.Sleep(10 * time.Second)
		check("freshet; hit; ttl=49")
		if got := o.seen(); got != "200 304 304" {
			t.Errorf("answers: %s", got)
		}
		if resp, _, err := ask(rt, "GET", "http://a.example/other", "Cache-Control", "only-if-cached"); err != nil || resp.StatusCode != 504 {
			t.Errorf("%v %v", resp, err)
		}
	})
}
