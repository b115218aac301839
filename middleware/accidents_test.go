package middleware

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A hooked is the ResponseWriter of middleware outside, which does something of
// its own when the header is asked for or written.
type hooked struct {
	http.ResponseWriter
	inHeader func()
	inWrite  func(status int)
}

func (w *hooked) Header() http.Header {
	if w.inHeader != nil {
		w.inHeader()
	}
	return w.ResponseWriter.Header()
}

func (w *hooked) WriteHeader(status int) {
	if w.inWrite != nil {
		w.inWrite(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Runs whose clients have been answered do not count as ones whose clients have
// left.
func TestAnsweredRunsAreNoOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		rt := c.Handler(Policy{MaxOrphans: 3, TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("x"))
		})).(*route)
		for i := range 10 {
			get(rt, "/"+string(rune('a'+i)))
		}
		synctest.Wait()
		if n := rt.orphans.Load(); n != 0 {
			t.Errorf("orphans %d", n)
		}
	})
}

// A panic outside, at an interim response, reaches the client's own goroutine.
func TestPanicAtAnInterimResponseIsTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			time.Sleep(10 * time.Millisecond)
			w.Write([]byte("x"))
		}))
		v := raised(func() {
			h.ServeHTTP(&hooked{ResponseWriter: httptest.NewRecorder(), inWrite: func(s int) {
				if s == 103 {
					panic("outer")
				}
			}}, httptest.NewRequest("GET", "/", nil))
		})
		if v != "outer" {
			t.Errorf("the client's goroutine got %v", v)
		}
		time.Sleep(time.Second) // the run goes on without its client
	})
}

// A panic outside, before a run has begun, leaves no run behind.
func TestPanicBeforeARunLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute, FillTimeout: time.Second})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("x"))
		}))
		v := raised(func() {
			h.ServeHTTP(&hooked{ResponseWriter: httptest.NewRecorder(), inHeader: func() { panic("outer") }}, httptest.NewRequest("GET", "/", nil))
		})
		if v != "outer" {
			t.Errorf("the client's goroutine got %v", v)
		}
		time.Sleep(3 * time.Second) // until FillTimeout has passed
	})
}

// A panic outside, when the handler has returned, leaves nobody waiting.
func TestPanicAtTheEndOfARunEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute, FillTimeout: 300 * time.Millisecond})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
		done := make(chan any, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			done <- raised(func() {
				h.ServeHTTP(&hooked{ResponseWriter: httptest.NewRecorder(), inWrite: func(int) { panic(http.ErrAbortHandler) }}, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			})
		}()
		select {
		case v := <-done:
			if v != http.ErrAbortHandler {
				t.Errorf("the client's goroutine got %v", v)
			}
		case <-time.After(5 * time.Second):
			t.Error("leader hangs for ever, though its client has left")
		}
	})
}

// A handler whose Hijack fails answers as it would without a cache.
func TestFailedHijackLeavesTheHandlerItsAnswer(t *testing.T) {
	c := newCache(t, Options{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hj, ok := w.(http.Hijacker)
		if !ok {
			http.Error(w, "no hijack", 500)
			return
		}
		_, _, err := hj.Hijack()
		if err != nil {
			http.Error(w, "failed "+err.Error(), 500)
		}
	})
	w := httptest.NewRecorder()
	v := raised(func() {
		c.Handler(Policy{TTL: time.Minute})(handler).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	})
	if w.Code != 500 || v != nil {
		t.Errorf("%d %q, panic %v", w.Code, w.Body, v)
	}
	srv := httptest.NewUnstartedServer(c.Handler(Policy{TTL: time.Minute})(handler))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = silent
	srv.StartTLS()
	defer srv.Close()
	resp, body, err := fetch(srv.Client(), srv.URL+"/x")
	if resp == nil || resp.StatusCode != 500 || err != nil {
		t.Errorf("%v %q %v", resp, body, err)
	}
}

// A handler that asks for its own URL is given an answer, also when its response
// has turned out to vary.
func TestRunThatAsksForItsOwnURLDoesNotWaitForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var h http.Handler
		var ended atomic.Bool
		h = c.Handler(Policy{TTL: time.Minute, FillTimeout: time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Inner") != "" {
				w.Write([]byte("inner"))
				return
			}
			w.Header().Set("Vary", "Accept-Language")
			w.WriteHeader(200)
			in := r.Clone(r.Context())
			in.Header.Set("X-Inner", "1")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, in)
			w.Write(rec.Body.Bytes())
			ended.Store(true)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() {
			raised(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil)) })
		}()
		time.Sleep(10 * time.Minute)
		if !ended.Load() {
			t.Error("run waits for itself for ever")
			c.Close()
		}
	})
}

// What was purged by a tag is not brought back by a 304 that names others.
func TestPurgeByTagHoldsAgainstA304WithOtherTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var n atomic.Int64
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			run := n.Add(1)
			w.Header().Set("Cache-Control", "max-age=1")
			w.Header().Set("Etag", `"a"`)
			if r.Header.Get("If-None-Match") != "" {
				w.Header().Set("Surrogate-Key", "new")
				time.Sleep(2 * time.Second)
				w.Header().Set("Cache-Control", "max-age=60")
				w.WriteHeader(304)
				return
			}
			w.Header().Set("Surrogate-Key", "old")
			w.Write([]byte(fmt.Sprint("body", run)))
		}))
		get(h, "/")
		time.Sleep(2 * time.Second)
		go get(h, "/")
		time.Sleep(time.Second)
		c.PurgeTag(t.Context(), "old", Hard)
		w := get(h, "/")
		time.Sleep(10 * time.Second)
		w2 := get(h, "/")
		if w.Body.String() == "body1" {
			t.Error("purged body served to one that came after the purge")
		}
		if w2.Body.String() == "body1" {
			t.Error("purged body stored by a 304")
		}
	})
}

// A HEAD whose answer may not be stored leaves the stale response of GET in place.
func TestHeadTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		fail := false
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "HEAD" {
				w.WriteHeader(200)
				return
			}
			if fail {
				w.WriteHeader(503)
				return
			}
			w.Header().Set("Cache-Control", "max-age=1, stale-if-error=600")
			w.Write([]byte("good"))
		}))
		get(h, "/")
		time.Sleep(2 * time.Second)
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest("HEAD", "/", nil))
		fail = true
		w := get(h, "/")
		if w.Code != 200 {
			t.Errorf("stale response lost by HEAD: %d %v", w.Code, w.Header())
		}
	})
}

// A HEAD whose answer may not be stored says nothing of GET.
func TestHeadKeepsNothingUncached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		n := 0
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "HEAD" {
				w.WriteHeader(200)
				return
			}
			n++
			w.Header().Set("Cache-Control", "max-age=600")
			w.Write([]byte("good"))
		}))
		for range 100 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("HEAD", "/", nil))
			get(h, "/")
			time.Sleep(100 * time.Millisecond)
		}
		if n > 1 {
			t.Errorf("%d GET runs", n)
		}
	})
}

// Middleware outside that takes its time to write the header is heard.
func TestSlowOutsideIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("page of " + r.Header.Get("X-User")))
		}))
		one := func(user string) *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-User", user)
			h.ServeHTTP(&hooked{ResponseWriter: rec, inWrite: func(int) {
				time.Sleep(1100 * time.Millisecond) // session store
				rec.Header().Add("Set-Cookie", "s="+user)
			}}, r)
			return rec
		}
		a := one("alice")
		b := one("bob")
		if b.Body.String() != "page of bob" {
			t.Errorf("bob got %q %v, alice %v", b.Body, b.Header()["Cache-Status"], a.Header())
		}
	})
}

// What middleware outside says at the answer to a client that has left holds for
// the response.
func TestOutsideOfALeaderThatLeftIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2 * time.Second)
			w.Write([]byte("page of " + r.Header.Get("X-User")))
		}))
		one := func(ctx context.Context, user string) *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
			r.Header.Set("X-User", user)
			h.ServeHTTP(&hooked{ResponseWriter: rec, inWrite: func(int) {
				rec.Header().Add("Set-Cookie", "s="+user)
			}}, r)
			return rec
		}
		ctx, cancel := leaving(t, time.Second)
		defer cancel()
		go one(ctx, "alice")
		synctest.Wait()
		b := one(t.Context(), "bob")
		if b.Body.String() != "page of bob" {
			t.Errorf("bob got %q %v", b.Body, b.Header()["Cache-Status"])
		}
		if b := one(t.Context(), "carol"); b.Body.String() != "page of carol" {
			t.Errorf("carol got %q %v", b.Body, b.Header()["Cache-Status"])
		}
	})
}

// Whom one slow URL keeps waiting, another one does not.
func TestTurnsAreOfOneURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{WaitTimeout: 5 * time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private")
			if r.URL.Path == "/slow" {
				time.Sleep(4 * time.Second)
			} else {
				time.Sleep(100 * time.Millisecond)
			}
			w.Write([]byte("x"))
		}))
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { get(h, "/slow") })
		}
		time.Sleep(5 * time.Second)
		for range 2 {
			wg.Go(func() {
				began := time.Now()
				w := get(h, "/me")
				if d := time.Since(began); w.Code != 200 || d > time.Second {
					t.Errorf("/me: %d after %v %v", w.Code, d, w.Header()["Cache-Status"])
				}
			})
		}
		wg.Wait()
	})
}

// Clients that do not read large bodies neither take stale responses away nor keep
// others from being stored.
func TestWhoDoesNotReadTakesNothingFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{MaxBytes: 1 << 20})
		big := bytes.Repeat([]byte("x"), 300<<10)
		var fail atomic.Bool
		var runs atomic.Int64
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/big" {
				w.Header().Set("Cache-Control", "max-age=60")
				for i := 0; i < len(big); i += 1024 {
					if _, err := w.Write(big[i : i+1024]); err != nil {
						return
					}
				}
				return
			}
			runs.Add(1)
			if fail.Load() {
				w.WriteHeader(503)
				return
			}
			w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=600, stale-if-error=600")
			w.Write(big[:8<<10])
		}))
		get(h, "/page")
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				raised(func() {
					h.ServeHTTP(&stuck{httptest.NewRecorder(), ctx}, httptest.NewRequestWithContext(ctx, "GET", fmt.Sprintf("/big?%d", i), nil))
				})
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Minute)
		get(h, "/page")
		time.Sleep(time.Second)
		fail.Store(true)
		w := get(h, "/page")
		if w.Code != 200 {
			t.Error("a usable stale response was taken away by the shortage of bytes")
		}
		fail.Store(false)
		runs.Store(0)
		for range 100 {
			get(h, "/other")
			time.Sleep(10 * time.Millisecond)
		}
		if n := runs.Load(); n > 2 { // one refreshes it
			t.Errorf("%d runs for what may be stored", n)
		}
		cancel()
		wg.Wait()
		time.Sleep(time.Minute)
	})
}

// A stuck is the ResponseWriter of a client that does not read.
type stuck struct {
	http.ResponseWriter
	ctx context.Context
}

func (s *stuck) Write(p []byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
