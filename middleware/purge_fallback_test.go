package middleware

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// removals are all ways to remove what is stored for http://example.com/.
var removals = map[string]func(c *Cache, h http.Handler) error{
	"URL": func(c *Cache, _ http.Handler) error {
		return c.PurgeURL(context.Background(), "http://example.com/", Hard)
	},
	"prefix": func(c *Cache, _ http.Handler) error {
		return c.PurgePrefix(context.Background(), "http://example.com/", Hard)
	},
	"tag":   func(c *Cache, _ http.Handler) error { return c.PurgeTag(context.Background(), "news", Hard) },
	"flush": func(c *Cache, _ http.Handler) error { return c.Flush(context.Background(), Hard) },
	"unsafe method": func(_ *Cache, h http.Handler) error {
		keysServe(h, httptest.NewRequest("DELETE", "/", nil))
		return nil
	},
}

// After a removal has returned, what it removed is not used in place of an
// answer either: not for those whose run fails, nor takes longer than they
// wait, nor brings a 304 about it.
func TestRemovedIsNoFallback(t *testing.T) {
	for how, remove := range removals {
		for _, vary := range []string{"", "X-V"} {
			for name, p := range map[string]Policy{
				"fails":        {StaleIfError: time.Hour},
				"soft timeout": {StaleIfError: time.Hour, SoftTimeout: 2 * time.Second},
				"wait timeout": {StaleIfError: time.Hour, WaitTimeout: 2 * time.Second},
			} {
				t.Run(fmt.Sprintf("%s %s %s", how, name, vary), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newCache(t, Options{})
						fails := false
						h := c.Handler(p)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if r.Method == "DELETE" {
								return
							}
							if fails {
								time.Sleep(30 * time.Second)
								w.WriteHeader(500)
								return
							}
							w.Header().Set("Cache-Control", "max-age=10")
							w.Header().Set("Surrogate-Key", "news")
							if vary != "" {
								w.Header().Set("Vary", vary)
							}
							fmt.Fprint(w, "recalled")
						}))
						get(h, "/")
						time.Sleep(11 * time.Second)
						fails = true
						var wg sync.WaitGroup
						for range 3 {
							wg.Go(func() {
								if w := get(h, "/"); w.Body.String() == "recalled" {
									t.Errorf("served after its removal: %q", w.Header().Get("Cache-Status"))
								}
							})
						}
						time.Sleep(time.Second)
						if err := remove(c, h); err != nil {
							t.Fatal(err)
						}
						wg.Wait()
						time.Sleep(time.Minute)
					})
				})
			}
		}
	}
}

// Readers never get a version older than the newest removal that had returned
// before they asked, whatever runs, replays, refreshes and validations are under
// way meanwhile.
func TestNothingOlderThanARemovalIsServed(t *testing.T) {
	for how, remove := range removals {
		for _, vary := range []string{"", "X-V"} {
			t.Run(how+" "+vary, func(t *testing.T) {
				var version, removed atomic.Int64
				version.Store(1)
				c := newCache(t, Options{})
				h := c.Handler(Policy{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "DELETE" {
						return
					}
					v := version.Load()
					if r.Header.Get("X-Slow") != "" {
						time.Sleep(100 * time.Microsecond)
					}
					w.Header().Set("Cache-Control", "max-age=1")
					w.Header().Set("Surrogate-Key", "news")
					w.Header().Set("Etag", fmt.Sprintf(`"%d"`, v))
					if vary != "" {
						w.Header().Set("Vary", vary)
					}
					if r.Header.Get("If-None-Match") == fmt.Sprintf(`"%d"`, v) {
						w.WriteHeader(304)
						return
					}
					if v%7 == 0 {
						w.WriteHeader(503)
					}
					fmt.Fprint(w, v)
				}))
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for g := range 4 {
					wg.Go(func() {
						fields := []string{"X-V", fmt.Sprint(g % 2)}
						if g > 1 {
							fields = append(fields, "X-Slow", "1")
						}
						for {
							select {
							case <-stop:
								return
							default:
							}
							least := removed.Load()
							w := get(h, "/", fields...)
							var got int64
							if _, err := fmt.Sscan(w.Body.String(), &got); err == nil && got < least {
								t.Errorf("version %d after the removal of %d: %s", got, least, w.Header()["Cache-Status"])
								return
							}
						}
					})
				}
				for range 500 {
					v := version.Add(1)
					if err := remove(c, h); err != nil {
						t.Error(err)
					}
					removed.Store(v) // all of before are removed
					time.Sleep(200 * time.Microsecond)
				}
				close(stop)
				wg.Wait()
			})
		}
	}
}

// A run that plays what another one has just stored is not joined after a purge
// by a tag of that.
func TestReplayIsNotJoinedAfterAPurgeOfItsTag(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Surrogate-Key", "news")
		fmt.Fprint(w, "body")
	})).(*route)
	get(h, "/")
	ask := func() *exchange {
		r := httptest.NewRequest("GET", "/", nil)
		x := &exchange{route: h, w: httptest.NewRecorder(), r: r, began: c.store.Now(), reason: "uri-miss"}
		x.key.Set(r, &h.rules)
		x.hash = x.key.Hash(c.seed)
		return x
	}
	ticket, err := ask().join(nil) // as one that had found nothing before
	if err != nil {
		t.Fatal(err)
	}
	defer ticket.Leave()
	<-ticket.Over()
	if reason := runOf(ticket.Flight).fill.Reason(); reason != replayed || !ask().mayJoin(ticket.Flight, nil) {
		t.Fatalf("%s, or not joined without a purge", reason)
	}
	if err := c.PurgeTag(t.Context(), "news", Hard); err != nil {
		t.Fatal(err)
	}
	if ask().mayJoin(ticket.Flight, nil) {
		t.Error("joined")
	}
	if got := get(h, "/").Header().Get("Cache-Status"); strings.Contains(got, "hit") {
		t.Error(got)
	}
}
