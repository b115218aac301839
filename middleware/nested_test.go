package middleware

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
)

// One cache around another: one run for all, and both have it afterwards.
func TestNestedCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer, inner := newCache(t, Options{}), newCache(t, Options{})
		var calls atomic.Int64
		p := Policy{TTL: time.Minute}
		h := outer.Handler(p)(inner.Handler(p)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, "body")
		})))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if w := get(h, "/"); w.Code != 200 || w.Body.String() != "body" {
					t.Errorf("got %d %q", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if w := get(h, "/"); w.Body.String() != "body" || calls.Load() != 1 {
			t.Errorf("afterwards %q after %d calls", w.Body, calls.Load())
		}
		if o, i := outer.Stats().Entries, inner.Stats().Entries; o != 1 || i != 1 {
			t.Errorf("%d and %d entries, want 1 each", o, i)
		}
	})
}

// The same cache twice on one route is a mistake, but must not make a run
// wait for itself.
func TestNestedSameCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var calls atomic.Int64
		p := Policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute}
		h := c.Handler(p)(c.Handler(p)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "body ", calls.Add(1))
		})))
		start := time.Now()
		if w := get(h, "/"); w.Code != 200 || w.Body.String() != "body 1" {
			t.Errorf("cold: %d %q", w.Code, w.Body)
		}
		if w := get(h, "/"); w.Code != 200 || w.Body.String() != "body 1" {
			t.Errorf("warm: %d %q", w.Code, w.Body)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(90 * time.Second) // stale: the refresh passes both too
		get(h, "/")
		synctest.Wait()
		if w := get(h, "/"); w.Body.String() != "body 2" {
			t.Errorf("after the refresh: %q", w.Body)
		}
	})
}

// H7: a run that outlives its request keeps the request's URL parameters,
// however the route was mounted, while chi uses its context for others.
func TestH7URLParamsAfterReturn(t *testing.T) {
	mounts := map[string]func(r chi.Router, mw func(http.Handler) http.Handler, h http.HandlerFunc){
		"with": func(r chi.Router, mw func(http.Handler) http.Handler, h http.HandlerFunc) {
			r.With(mw).Get("/item/{id}", h)
		},
		"group": func(r chi.Router, mw func(http.Handler) http.Handler, h http.HandlerFunc) {
			r.Group(func(r chi.Router) { r.Use(mw); r.Get("/item/{id}", h) })
		},
		"route": func(r chi.Router, mw func(http.Handler) http.Handler, h http.HandlerFunc) {
			r.Route("/item", func(r chi.Router) { r.Use(mw); r.Get("/{id}", h) })
		},
		"mount": func(r chi.Router, mw func(http.Handler) http.Handler, h http.HandlerFunc) {
			sub := chi.NewRouter()
			sub.Get("/{id}", h)
			r.With(mw).Mount("/item", sub)
		},
	}
	for name, mount := range mounts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 50
				var wrong atomic.Int64
				r := chi.NewRouter()
				c := newCache(t, Options{RefreshWorkers: n})
				mount(r, c.Handler(Policy{TTL: time.Second, StaleWhileRevalidate: time.Hour}), func(w http.ResponseWriter, r *http.Request) {
					before := chi.URLParam(r, "id")
					time.Sleep(time.Second) // in a refresh, its request is over by then
					if after := chi.URLParam(r, "id"); before != after || r.URL.Path != "/item/"+after {
						wrong.Add(1)
					}
					_, _ = io.WriteString(w, chi.URLParam(r, "id"))
				})
				r.Get("/other/{id}", func(http.ResponseWriter, *http.Request) {})
				for range 3 {
					var wg sync.WaitGroup
					for i := range n {
						wg.Go(func() {
							if w := get(r, fmt.Sprint("/item/", i)); w.Body.String() != fmt.Sprint(i) {
								wrong.Add(1)
							}
							get(r, fmt.Sprint("/other/", i+n))
						})
					}
					wg.Wait()
					time.Sleep(5 * time.Second) // stale from now on
				}
				if wrong.Load() != 0 {
					t.Errorf("%d wrong parameters or bodies", wrong.Load())
				}
			})
		})
	}
}

// http.TimeoutHandler outside answers its client; the run goes on and is
// stored. Inside, its own 503 is the response.
func TestTimeoutHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			select {
			case <-time.After(3 * time.Second):
				_, _ = io.WriteString(w, "slow")
			case <-r.Context().Done():
			}
		})
		outside := http.TimeoutHandler(newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(slow), time.Second, "too slow")
		if w := get(outside, "/"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "too slow" {
			t.Errorf("outside: %d %q", w.Code, w.Body)
		}
		time.Sleep(5 * time.Second)
		if w := get(outside, "/"); w.Code != 200 || w.Body.String() != "slow" || calls.Load() != 1 {
			t.Errorf("outside, later: %d %q after %d calls", w.Code, w.Body, calls.Load())
		}
		inside := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.TimeoutHandler(slow, time.Second, "too slow"))
		for range 2 {
			if w := get(inside, "/"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "too slow" {
				t.Errorf("inside: %d %q", w.Code, w.Body)
			}
		}
		if calls.Load() != 3 {
			t.Errorf("%d calls, want 3: a 503 is not stored", calls.Load())
		}
	})
}
