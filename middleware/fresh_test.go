package middleware

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
)

// A freshOrigin answers with the number of the call, as it is told to.
type freshOrigin struct {
	mu     sync.Mutex
	calls  int
	status int
	header http.Header
	delay  time.Duration
	panic  any
}

func (o *freshOrigin) set(change func(o *freshOrigin)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *freshOrigin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls
}

func (o *freshOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.calls++
	n, status, header, delay, crash := o.calls, o.status, o.header.Clone(), o.delay, o.panic
	o.mu.Unlock()
	time.Sleep(delay)
	if crash != nil {
		panic(crash)
	}
	maps.Copy(w.Header(), header)
	if status != 0 {
		w.WriteHeader(status)
	}
	fmt.Fprint(w, "call ", n)
}

func freshControl(control string) http.Header {
	return http.Header{"Cache-Control": {control}}
}

// freshWant checks the body and the Cache-Status of an answer.
func freshWant(t *testing.T, w *httptest.ResponseRecorder, code int, body, status string) {
	t.Helper()
	if got := w.Header().Get("Cache-Status"); w.Code != code || strings.TrimSpace(w.Body.String()) != body || got != status {
		t.Errorf("got %d %q %q, want %d %q %q", w.Code, w.Body.String(), got, code, body, status)
	}
}

// How long responses are fresh, under policies, to the nanosecond.
func TestFreshLifetime(t *testing.T) {
	at := func(d time.Duration) string {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d).Format(http.TimeFormat) // a bubble's first instant
	}
	for _, row := range []struct {
		name   string
		policy Policy
		status int
		header http.Header
		want   time.Duration // zero: not stored
	}{
		{"nothing said", Policy{}, 200, nil, 0},
		{"no heuristics", Policy{}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}}, 0},
		{"public is not freshness", Policy{}, 200, freshControl("public"), 0},
		{"max-age", Policy{}, 200, freshControl("max-age=60"), time.Minute},
		{"max-age=0", Policy{}, 200, freshControl("max-age=0"), 0},
		{"max-age of any status", Policy{}, 500, freshControl("max-age=60"), time.Minute},
		{"s-maxage wins", Policy{}, 200, freshControl("max-age=60, s-maxage=10"), 10 * time.Second},
		{"s-maxage=0 wins", Policy{TTL: time.Hour}, 200, freshControl("max-age=60, s-maxage=0"), 0},
		{"Expires", Policy{}, 200, http.Header{"Expires": {at(90 * time.Second)}}, 90 * time.Second},
		{"Expires counts from Date", Policy{}, 200, http.Header{"Expires": {at(90 * time.Second)}, "Date": {at(30 * time.Second)}}, time.Minute},
		{"Expires in the past", Policy{TTL: time.Hour}, 200, http.Header{"Expires": {at(-time.Second)}}, 0},
		{"Expires: 0", Policy{TTL: time.Hour}, 200, http.Header{"Expires": {"0"}}, 0},
		{"max-age wins over Expires", Policy{}, 200, http.Header{"Expires": {"0"}, "Cache-Control": {"max-age=5"}}, 5 * time.Second},
		{"Age counts", Policy{}, 200, http.Header{"Age": {"50"}, "Cache-Control": {"max-age=60"}}, 10 * time.Second},
		{"Date in the past counts", Policy{}, 200, http.Header{"Date": {at(-20 * time.Second)}, "Cache-Control": {"max-age=60"}}, 40 * time.Second},
		{"older than its lifetime", Policy{}, 200, http.Header{"Age": {"60"}, "Cache-Control": {"max-age=60"}}, 0},
		{"TTL", Policy{TTL: time.Minute}, 200, nil, time.Minute},
		{"TTL does not replace max-age", Policy{TTL: time.Hour}, 200, freshControl("max-age=60"), time.Minute},
		{"TTL of a status that may be assumed fresh", Policy{TTL: time.Minute}, 404, nil, time.Minute},
		{"TTL of a status that may not", Policy{TTL: time.Minute}, 403, nil, 0},
		{"TTL of an error", Policy{TTL: time.Minute}, 500, nil, 0},
		{"TTL of a redirect that is not permanent", Policy{TTL: time.Minute}, 302, nil, 0},
		{"StatusTTL replaces TTL", Policy{TTL: time.Hour, StatusTTL: map[int]time.Duration{404: 5 * time.Second}}, 404, nil, 5 * time.Second},
		{"StatusTTL alone", Policy{StatusTTL: map[int]time.Duration{503: time.Second}}, 503, nil, time.Second},
		{"StatusTTL of zero", Policy{TTL: time.Hour, StatusTTL: map[int]time.Duration{404: 0}}, 404, nil, 0},
		{"StatusTTL of another status", Policy{StatusTTL: map[int]time.Duration{404: time.Second}}, 200, nil, 0},
		{"StatusTTL does not replace max-age", Policy{StatusTTL: map[int]time.Duration{404: time.Second}}, 404, freshControl("max-age=60"), time.Minute},
		{"heuristic: a tenth of its age", Policy{HeuristicLimit: 48 * time.Hour}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}}, 24 * time.Hour},
		{"heuristic: capped", Policy{HeuristicLimit: time.Hour}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}}, time.Hour},
		{"heuristic: Age counts", Policy{HeuristicLimit: time.Hour}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}, "Age": {"600"}}, 50 * time.Minute},
		{"heuristic: nothing to go by", Policy{HeuristicLimit: time.Hour}, 200, nil, 0},
		{"heuristic: an error", Policy{HeuristicLimit: time.Hour}, 500, http.Header{"Last-Modified": {at(-240 * time.Hour)}}, 0},
		{"heuristic: public", Policy{HeuristicLimit: time.Hour}, 599, http.Header{"Last-Modified": {at(-240 * time.Hour)}, "Cache-Control": {"public"}}, time.Hour},
		{"heuristic: max-age wins", Policy{HeuristicLimit: time.Hour}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}, "Cache-Control": {"max-age=5"}}, 5 * time.Second},
		{"heuristic: TTL wins", Policy{HeuristicLimit: time.Hour, TTL: time.Minute}, 200, http.Header{"Last-Modified": {at(-240 * time.Hour)}}, time.Minute},
		{"targeted wins", Policy{}, 200, http.Header{"Cdn-Cache-Control": {"max-age=5"}, "Cache-Control": {"no-store"}}, 5 * time.Second},
		{"targeted: Expires does not count", Policy{}, 200, http.Header{"Cdn-Cache-Control": {"public"}, "Expires": {at(time.Minute)}}, 0},
		{"targeted: no-store", Policy{}, 200, http.Header{"Cdn-Cache-Control": {"no-store"}, "Cache-Control": {"max-age=60"}}, 0},
		{"targeted: invalid", Policy{}, 200, http.Header{"Cdn-Cache-Control": {"max-age=5,"}, "Cache-Control": {"max-age=60"}}, time.Minute},
		{"targeted: own field", Policy{TargetedFields: []string{"own-control"}}, 200, http.Header{"Own-Control": {"max-age=5"}, "Cdn-Cache-Control": {"max-age=7"}}, 5 * time.Second},
		{"targeted: none", Policy{TargetedFields: []string{}}, 200, http.Header{"Cdn-Cache-Control": {"max-age=7"}}, 0},
		{"partial content", Policy{TTL: time.Minute}, 206, freshControl("max-age=60"), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &freshOrigin{status: row.status, header: row.header}
				h := newCache(t, Options{}).Handler(row.policy)(o)
				if w := get(h, "/"); w.Code != row.status || w.Body.String() != "call 1" {
					t.Fatalf("first: %d %q", w.Code, w.Body.String())
				}
				if row.want == 0 {
					if w := get(h, "/"); w.Body.String() != "call 2" {
						t.Errorf("stored: %q", w.Header())
					}
					return
				}
				time.Sleep(row.want - time.Nanosecond)
				if w := get(h, "/"); w.Code != row.status || w.Body.String() != "call 1" || !keysHit(w) {
					t.Errorf("at the end: %d %q %q", w.Code, w.Body.String(), w.Header())
				}
				time.Sleep(time.Nanosecond)
				if w := get(h, "/"); w.Body.String() != "call 2" {
					t.Errorf("after the end: %q %q", w.Body.String(), w.Header())
				}
			})
		})
	}
}

// Age and the remaining lifetime tick; Date and Content-Length are added.
func TestFreshFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().UTC().Format(http.TimeFormat)
		o := &freshOrigin{header: http.Header{"Cache-Control": {"max-age=60"}, "Age": {"5"}}}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		for i, row := range []struct{ age, status string }{
			{"5", "freshet; fwd=uri-miss; stored; ttl=55"},
			{"5", "freshet; hit; ttl=55"},
			{"6", "freshet; hit; ttl=54"},
			{"7", "freshet; hit; ttl=53"},
		} {
			w := get(h, "/")
			freshWant(t, w, 200, "call 1", row.status)
			if got := w.Header()["Age"]; len(got) != 1 || got[0] != row.age {
				t.Errorf("%d: Age %q, want %s", i, got, row.age)
			}
			if got := w.Header().Get("Date"); got != date {
				t.Errorf("%d: Date %q, want %q", i, got, date)
			}
			if got := w.Header().Get("Content-Length"); i > 0 && got != "6" {
				t.Errorf("%d: Content-Length %q", i, got)
			}
			if i > 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Second / 2) // half a second is no second
		if got := get(h, "/").Header().Get("Age"); got != "8" {
			t.Errorf("Age %q", got)
		}
	})
}

func TestFreshHideStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &freshOrigin{header: freshControl("max-age=60, stale-while-revalidate=60")}
		h := newCache(t, Options{}).Handler(Policy{HideStatus: true})(o)
		private := newCache(t, Options{}).Handler(Policy{HideStatus: true})(&freshOrigin{header: freshControl("private")})
		for _, w := range []*httptest.ResponseRecorder{
			get(h, "/"), get(h, "/"), get(h, "/", "Authorization", "x"), get(private, "/"), get(private, "/"),
		} {
			freshWant(t, w, 200, w.Body.String(), "")
		}
		time.Sleep(90 * time.Second)
		freshWant(t, get(h, "/"), 200, "call 1", "")
		synctest.Wait()
	})
}

// Caches before this one have had their say in Cache-Status (RFC 9211 2).
func TestFreshCacheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &freshOrigin{header: http.Header{"Cache-Control": {"max-age=60"}, "Cache-Status": {"upstream; hit"}}, delay: time.Second}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		var wg sync.WaitGroup
		got := make(chan string, 2)
		for range 2 {
			wg.Go(func() { got <- strings.Join(get(h, "/").Header()["Cache-Status"], ", ") })
		}
		wg.Wait()
		a, b := <-got, <-got
		const stored, collapsed = "upstream; hit, freshet; fwd=uri-miss; stored; ttl=59", "upstream; hit, freshet; fwd=uri-miss; collapsed"
		if a > b {
			a, b = b, a
		}
		if a != collapsed || b != stored {
			t.Errorf("%q, %q", a, b)
		}
		if got := strings.Join(get(h, "/").Header()["Cache-Status"], ", "); got != "upstream; hit, freshet; hit; ttl=59" {
			t.Errorf("hit: %q", got)
		}
		time.Sleep(time.Minute)
		if got := strings.Join(get(h, "/").Header()["Cache-Status"], ", "); got != "upstream; hit, freshet; fwd=stale; stored; ttl=59" {
			t.Errorf("after it expired: %q", got)
		}
	})
}

// RFC 5861 3: stale responses are served at once, and one refresh runs behind.
func TestFreshStaleWhileRevalidate(t *testing.T) {
	for name, row := range map[string]struct {
		policy  Policy
		control string
	}{
		"policy":                   {Policy{StaleWhileRevalidate: 30 * time.Second}, "max-age=60"},
		"response":                 {Policy{}, "max-age=60, stale-while-revalidate=30"},
		"response wins":            {Policy{StaleWhileRevalidate: time.Hour}, "max-age=60, stale-while-revalidate=30"},
		"with s-maxage of its own": {Policy{}, "s-maxage=60, stale-while-revalidate=30"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				o := &freshOrigin{header: freshControl(row.control)}
				h := c.Handler(row.policy)(o)
				get(h, "/")
				o.set(func(o *freshOrigin) { o.delay = time.Second })
				time.Sleep(90*time.Second - time.Nanosecond)
				began := time.Now()
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { freshWant(t, get(h, "/"), 200, "call 1", "freshet; hit; ttl=-29") })
				}
				wg.Wait()
				if d := time.Since(began); d != 0 {
					t.Errorf("stale answers took %v", d)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				freshWant(t, get(h, "/"), 200, "call 2", "freshet; hit; ttl=59")
				if s := c.Stats(); s.Refreshes != 1 || s.Stale != 100 || o.count() != 2 {
					t.Errorf("%d calls, %+v", o.count(), s)
				}
				time.Sleep(90 * time.Second) // and beyond the window nobody gets it
				freshWant(t, get(h, "/"), 200, "call 3", "freshet; fwd=stale; stored; ttl=59")
			})
		})
	}
}

// What forbids stale use is obeyed, whatever the policy says.
func TestFreshStaleForbidden(t *testing.T) {
	for _, control := range []string{
		"max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60",
		"max-age=60, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
		"max-age=60, stale-while-revalidate=0, stale-if-error=0",
	} {
		t.Run(control, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &freshOrigin{header: freshControl(control)}
				h := newCache(t, Options{}).Handler(Policy{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour})(o)
				get(h, "/")
				time.Sleep(time.Minute)
				o.set(func(o *freshOrigin) { o.status, o.header = 503, nil })
				freshWant(t, get(h, "/"), 503, "call 2", "freshet; fwd=stale; detail=no_freshness")
			})
		})
	}
}

// RFC 5861 4: a handler that fails is answered for, in whatever way it fails,
// and is not asked again at once.
func TestFreshStaleIfError(t *testing.T) {
	fail := func(status int) func(o *freshOrigin) {
		return func(o *freshOrigin) { o.status, o.header = status, nil }
	}
	for name, row := range map[string]struct {
		broken func(o *freshOrigin)
		stale  bool
		status string // in Cache-Status
	}{
		"500":                    {fail(500), true, "fwd-status=500; "},
		"502":                    {fail(502), true, "fwd-status=502; "},
		"503":                    {fail(503), true, "fwd-status=503; "},
		"504":                    {fail(504), true, "fwd-status=504; "},
		"503 that may be cached": {func(o *freshOrigin) { o.status = 503 }, true, "fwd-status=503; "},
		"panic":                  {func(o *freshOrigin) { o.panic = "broken" }, true, ""},
		"abort":                  {func(o *freshOrigin) { o.panic = http.ErrAbortHandler }, true, ""},
		"too slow":               {func(o *freshOrigin) { o.delay = time.Minute }, true, ""},
		"501 is an answer":       {fail(501), false, ""},
		"404 is an answer":       {fail(404), false, ""},
		"429 is an answer":       {fail(429), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				o := &freshOrigin{header: freshControl("max-age=60")}
				h := c.Handler(Policy{StaleIfError: time.Hour, FillTimeout: 10 * time.Second})(o)
				get(h, "/")
				time.Sleep(2 * time.Minute)
				o.set(row.broken)
				w := get(h, "/")
				if !row.stale {
					if w.Body.String() != "call 2" || w.Code == 200 {
						t.Errorf("%d %q", w.Code, w.Body.String())
					}
					return
				}
				if w.Code != 200 || w.Body.String() != "call 1" || !strings.Contains(w.Header().Get("Cache-Status"), "fwd=stale; "+row.status+"ttl=-") {
					t.Fatalf("%d %q %q", w.Code, w.Body.String(), w.Header())
				}
				time.Sleep(2 * time.Minute) // the slow one has returned, backoff is over
				if o.count() != 2 {
					t.Fatalf("%d calls", o.count())
				}
				// L2: during an outage few requests ask.
				o.set(func(o *freshOrigin) { o.delay = 0; o.status, o.header = 503, nil })
				for range 1000 {
					if w := get(h, "/"); w.Code != 200 || w.Body.String() != "call 1" {
						t.Errorf("%d %q", w.Code, w.Body)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := o.count(); n < 4 || n > 14 {
					t.Errorf("%d calls in 100 s of an outage", n)
				}
				o.set(func(o *freshOrigin) { o.status, o.panic, o.header = 0, nil, freshControl("max-age=60") })
				time.Sleep(backoffLimit)
				if w := get(h, "/"); w.Code != 200 || w.Body.String() != fmt.Sprint("call ", o.count()) {
					t.Errorf("recovered: %d %q", w.Code, w.Body.String())
				}
				time.Sleep(61 * time.Minute)
				o.set(fail(503))
				if w := get(h, "/"); w.Code != 503 {
					t.Errorf("beyond the window: %d %q", w.Code, w.Body.String())
				}
			})
		})
	}
}

// A refresh that fails leaves what is there, and waits before the next try.
func TestFreshRefreshFails(t *testing.T) {
	for name, broken := range map[string]func(o *freshOrigin){
		"503":      func(o *freshOrigin) { o.status = 503 },
		"panic":    func(o *freshOrigin) { o.panic = "broken" },
		"too slow": func(o *freshOrigin) { o.delay = 20 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				o := &freshOrigin{header: freshControl("max-age=60")}
				h := c.Handler(Policy{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour, FillTimeout: 10 * time.Second})(o)
				get(h, "/")
				time.Sleep(time.Minute)
				o.set(broken)
				for range 1000 {
					if w := get(h, "/"); w.Code != 200 || w.Body.String() != "call 1" {
						t.Fatalf("%d %q", w.Code, w.Body.String())
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := o.count(); n < 3 || n > 14 {
					t.Errorf("%d calls in 100 s of an outage", n)
				}
				if s := c.Stats(); (s.Panics > 0) != (name == "panic") {
					t.Errorf("%+v", s)
				}
				o.set(func(o *freshOrigin) { o.status, o.panic, o.delay = 0, nil, 0 })
				time.Sleep(2 * backoffLimit)
				get(h, "/")
				synctest.Wait()
				if w := get(h, "/"); w.Body.String() == "call 1" {
					t.Error("never refreshed again")
				}
			})
		})
	}
}

// H7: a refresh runs on a context of its own, which keeps what the request's
// held, chi's route too, after chi has taken that back for other requests.
func TestFreshRefreshContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pages = 200
		c := newCache(t, Options{RefreshWorkers: pages})
		type userKey struct{}
		var wrong, cancelled atomic.Int64
		mux := chi.NewRouter()
		mux.With(c.Handler(Policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour})).Get("/page/{id}", func(w http.ResponseWriter, r *http.Request) {
			before := chi.URLParam(r, "id")
			time.Sleep(time.Second) // the request is over by now
			want := strings.TrimPrefix(r.URL.Path, "/page/")
			if before != want || chi.URLParam(r, "id") != want || r.Context().Value(userKey{}) != "user" {
				wrong.Add(1)
			}
			if r.Context().Err() != nil {
				cancelled.Add(1)
			}
			_, _ = io.WriteString(w, want)
		})
		var wg sync.WaitGroup
		round := func() {
			for i := range pages {
				wg.Go(func() {
					r := httptest.NewRequest("GET", fmt.Sprint("/page/", i), nil)
					ctx, cancel := context.WithCancel(context.WithValue(r.Context(), userKey{}, "user"))
					defer cancel()
					if got := keysServe(mux, r.WithContext(ctx)).Body.String(); got != fmt.Sprint(i) {
						t.Errorf("page %d is %q", i, got)
					}
				})
			}
			wg.Wait()
		}
		round()
		time.Sleep(2 * time.Minute)
		round() // stale
		round() // while the refreshes run
		time.Sleep(2 * time.Second)
		if s := c.Stats(); s.Refreshes != pages || s.OriginCalls != 2*pages || wrong.Load() != 0 || cancelled.Load() != 0 {
			t.Errorf("%d handlers saw another request, %d an ended context; %+v", wrong.Load(), cancelled.Load(), s)
		}
		round()
		if s := c.Stats(); s.Hits != pages {
			t.Errorf("%+v", s)
		}
	})
}

// L3: when all workers are busy a refresh is left to a later request.
func TestFreshRefreshPoolFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{RefreshWorkers: 2})
		o := &freshOrigin{header: freshControl("max-age=60, stale-while-revalidate=600")}
		h := c.Handler(Policy{})(o)
		for i := range 10 {
			get(h, fmt.Sprint("/", i))
		}
		time.Sleep(time.Minute)
		o.set(func(o *freshOrigin) { o.delay = time.Second })
		for round := range 5 {
			for i := range 10 {
				get(h, fmt.Sprint("/", i))
			}
			time.Sleep(2 * time.Second)
			if s := c.Stats(); s.Refreshes != uint64(2*round+2) || s.OriginCalls != 10+s.Refreshes {
				t.Errorf("round %d: %+v", round, s)
			}
		}
		if s := c.Stats(); s.RefreshSkips != 8+6+4+2 {
			t.Errorf("%+v", s)
		}
	})
}

// A request waits for another's run no longer than WaitTimeout.
func TestFreshWaitTimeout(t *testing.T) {
	for _, stale := range []bool{false, true} {
		t.Run(fmt.Sprint("stale ", stale), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				o := &freshOrigin{header: freshControl("max-age=60, stale-if-error=600")}
				h := c.Handler(Policy{WaitTimeout: time.Second})(o)
				if stale {
					get(h, "/")
					time.Sleep(time.Minute)
				}
				o.set(func(o *freshOrigin) { o.delay = 5 * time.Second })
				var wg sync.WaitGroup
				began := time.Now()
				wg.Go(func() { // its own run, it waits for as long as it takes
					w := get(h, "/")
					if w.Code != 200 || w.Body.String() != fmt.Sprint("call ", o.count()) || time.Since(began) != 5*time.Second {
						t.Errorf("leader: %d %q after %v", w.Code, w.Body.String(), time.Since(began))
					}
				})
				synctest.Wait()
				for range 10 {
					wg.Go(func() {
						w := get(h, "/")
						if d := time.Since(began); d != time.Second {
							t.Errorf("follower waited %v", d)
						}
						if stale {
							freshWant(t, w, 200, "call 1", "freshet; fwd=stale; ttl=-1; detail=timeout")
							return
						}
						freshWant(t, w, 503, "Service Unavailable", "freshet; fwd=uri-miss; detail=timeout")
						if w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" {
							t.Errorf("%q", w.Header())
						}
					})
				}
				wg.Wait()
				if s := c.Stats(); s.OriginCalls > 2 || !stale && s.Refused != 10 || stale && s.Stale != 10 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A run ends at FillTimeout, and all who wait for it get 504.
func TestFreshFillTimeout(t *testing.T) {
	for name, wait := range map[string]func(r *http.Request){
		"handler that listens":      func(r *http.Request) { <-r.Context().Done() },
		"handler that does not":     func(r *http.Request) { time.Sleep(time.Minute) },
		"handler that panics at it": func(r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				var calls atomic.Int64
				h := c.Handler(Policy{FillTimeout: 2 * time.Second, TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if calls.Add(1) == 1 {
						wait(r)
						if r.Context().Err() == nil {
							t.Error("the context has not ended")
						}
						w.WriteHeader(504)
						_, _ = io.WriteString(w, "Gateway Timeout")
						return
					}
					_, _ = io.WriteString(w, "late")
				}))
				began := time.Now()
				var wg sync.WaitGroup
				var aborted atomic.Int64
				for range 5 {
					wg.Go(func() {
						defer func() {
							if recover() != nil {
								aborted.Add(1)
							}
						}()
						w := get(h, "/")
						// A 504 of the handler's own is for the client that began
						// the run; the others then ask for themselves.
						own := name == "handler that listens" && w.Code == 200 && w.Body.String() == "late"
						if w.Code != 504 && w.Code != 502 && !own || time.Since(began) > 3*time.Second {
							t.Errorf("%d after %v", w.Code, time.Since(began))
						}
					})
				}
				wg.Wait()
				// The panic is the first client's, even so late.
				if n := aborted.Load(); n > 1 || (n == 1) != (name == "handler that panics at it") {
					t.Errorf("%d panics", n)
				}
				time.Sleep(2 * time.Minute) // nothing of it is ever stored
				if w := get(h, "/"); w.Body.String() != "late" || keysHit(w) {
					t.Errorf("afterwards: %d %q", w.Code, w.Body.String())
				}
			})
		})
	}
}
