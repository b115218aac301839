package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A panic that no client's goroutine can take is counted, not lost.
func TestPanicAfterItsClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(2 * time.Second)
			panic("late")
		}))
		ctx, cancel := leaving(t, time.Second)
		defer cancel()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := c.Stats().Panics; got != 1 {
			t.Errorf("%d panics counted, want 1", got)
		}
	})
}

// A refresh that fails keeps the response that is being served meanwhile.
func TestFailedRefreshKeepsTheStaleResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		status := http.StatusOK
		h := c.Handler(Policy{TTL: time.Second, StaleWhileRevalidate: time.Minute})(http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write([]byte("good")) }))
		get(h, "/")
		status = http.StatusServiceUnavailable
		for range 5 {
			time.Sleep(5 * time.Second)
			if w := get(h, "/"); w.Code != 200 || w.Body.String() != "good" {
				t.Fatalf("got %d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
			}
			synctest.Wait()
		}
	})
}

// Middleware that wraps every request's body, as chi's RequestSize does, must
// not turn caching off.
func TestWrappedBodyIsNoBody(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, http.NoBody, 1<<20)
		h.ServeHTTP(w, r)
	})
	get(limited, "/")
	if got := get(limited, "/").Header().Get("Cache-Status"); got != "freshet; hit; ttl=60" {
		t.Errorf("Cache-Status %q", got)
	}
}
