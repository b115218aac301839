package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/upstream"
	"github.com/freshet-go/freshet/internal/limit"
	"github.com/freshet-go/freshet/internal/pipetest"
)

// busy answers after a second, and counts how many requests it served.
type busy struct{ calls atomic.Int64 }

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.calls.Add(1)
	select {
	case <-time.After(time.Second):
		fmt.Fprint(w, "made")
	case <-r.Context().Done():
	}
}

// The order under overload, per route: fresh, stale, join a run, a short
// queue, 503 with Retry-After.
func TestOverloadOrderOfARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		origin := new(busy)
		limiter, err := NewLimiter(LimitOptions{MaxInFlight: 1, MaxQueue: 1, QueueTimeout: 1500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		h := c.Handler(Policy{TTL: time.Minute, StaleIfError: time.Hour})(limiter.Handler(origin))

		get(h, "/stale")
		time.Sleep(time.Minute)
		get(h, "/fresh")

		begin := time.Now()
		var all sync.WaitGroup
		want := func(path string, code int, status string, after time.Duration) {
			all.Go(func() {
				w := get(h, path)
				if w.Code != code || !strings.Contains(w.Header().Get("Cache-Status"), status) || time.Since(begin) != after {
					t.Errorf("%s after %v: %d %q, want %d %q after %v", path, time.Since(begin), w.Code, w.Header(), code, status, after)
				}
				if refused := code == 503; refused != (w.Header().Get("Retry-After") == "2") || refused && w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %q", path, w.Header())
				}
			})
			synctest.Wait()
		}
		want("/running", 200, "stored", time.Second)               // takes the only place
		want("/queued", 200, "stored", 2*time.Second)              // takes the only place in the queue
		want("/fresh", 200, "hit", 0)                              // costs no place
		want("/stale", 200, "fwd=stale; fwd-status=503; ttl=-", 0) // would need one, and has an old response
		want("/running", 200, "collapsed", time.Second)            // joins
		want("/queued", 200, "collapsed", 2*time.Second)           // joins one that waits itself
		want("/other", 503, "detail=error", 0)
		all.Wait()
		if n := origin.calls.Load(); n != 4 {
			t.Errorf("%d calls", n)
		}
		if s := c.Stats(); s.Hits != 1 || s.Stale != 1 || s.Coalesced != 2 || s.Refused != 1 || s.Errors != 0 {
			t.Errorf("%+v", s)
		}
		if s := limiter.Stats(); s != (LimitStats{Refused: 2, Places: 1}) {
			t.Errorf("%+v", s)
		}
	})
}

// The same order on the other face, where the limit is the upstream's.
func TestOverloadOrderOfATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := pipetest.New()
		srv := &http.Server{Handler: new(busy)}
		go srv.Serve(network)
		defer srv.Close()
		pool, err := upstream.New(upstream.Options{
			MaxInFlight: 1, MaxQueue: 1, QueueTimeout: 1500 * time.Millisecond, DialContext: network.Dial,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		c := newCache(t, Options{})
		rt := c.Transport(Policy{TTL: time.Minute, StaleIfError: time.Hour}, pool)
		client := func(path string) (*http.Response, string, error) { return ask(rt, "GET", "http://upstream.test"+path) }

		client("/stale")
		time.Sleep(time.Minute)
		client("/fresh")

		begin := time.Now()
		var all sync.WaitGroup
		want := func(path, status string, after time.Duration) {
			all.Go(func() {
				resp, body, err := client(path)
				if took := time.Since(begin); took != after {
					t.Errorf("%s after %v, want %v", path, took, after)
				}
				if status == "" {
					var refused *upstream.RefusedError
					if !errors.As(err, &refused) || refused.Reason != upstream.RefusedQueueFull || refused.RetryAfter != 2*time.Second {
						t.Errorf("%s: %v, want it refused", path, err)
					}
				} else if err != nil || body != "made" || !strings.Contains(resp.Header.Get("Cache-Status"), status) {
					t.Errorf("%s: %v, %q, want %q", path, resp, err, status)
				}
			})
			synctest.Wait()
		}
		want("/running", "stored", time.Second)
		want("/queued", "stored", 2*time.Second)
		want("/fresh", "hit", 0)
		want("/stale", "ttl=-", 0)
		want("/running", "collapsed", time.Second)
		want("/queued", "collapsed", 2*time.Second)
		want("/other", "", 0)
		all.Wait()
		if s := pool.Stats(); s.Requests != 6 || s.Refused != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// What waits for another request's run is bounded too, and room is made by who
// leaves, and by the response header.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{TTL: time.Minute, MaxWaiting: 3})(new(busy))
		for round := range 2 {
			path := fmt.Sprint("/", round)
			ctx, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			var good, refused atomic.Int64
			for range 6 { // one runs the handler, three wait
				all.Go(func() {
					switch w := get(h, path); {
					case w.Code == 200:
						good.Add(1)
					case w.Code == 503 && w.Header().Get("Retry-After") == "1" && strings.HasSuffix(w.Header().Get("Cache-Status"), "detail=crowded"):
						refused.Add(1)
					default:
						t.Errorf("%d %q", w.Code, w.Header())
					}
				})
			}
			synctest.Wait()
			if refused.Load() != 2 || good.Load() != 0 {
				t.Errorf("%d refused at once", refused.Load())
			}
			all.Wait()
			go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path+"/left", nil))
			synctest.Wait()
			go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path+"/left", nil))
			synctest.Wait()
			leave()
			synctest.Wait()
			if good.Load() != 4 {
				t.Errorf("%d good", good.Load())
			}
		}
		time.Sleep(time.Minute)
		if n := c.Stats(); n.Refused != 4 {
			t.Errorf("%+v", n)
		}
	})
}

// A run that is refused is refused for all who wait for it, and for nobody
// after: what could be shared before is not forgotten because of it.
func TestRefusalIsForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var calls atomic.Int64
		refuse := true
		h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			time.Sleep(time.Second)
			if refuse {
				Fail(w, &upstream.RefusedError{RetryAfter: 7 * time.Second})
				return
			}
			fmt.Fprint(w, "made")
		}))
		for round, code := range []int{503, 200} {
			refuse = code == 503
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					w := get(h, "/")
					if w.Code != code || (w.Header().Get("Retry-After") == "7") != refuse {
						t.Errorf("%d %q", w.Code, w.Header())
					}
				})
			}
			all.Wait()
			if n := calls.Load(); n != int64(round+1) {
				t.Errorf("round %d: %d calls for 20 clients", round, n)
			}
		}
	})
}

// wrapper is what a logging middleware puts around a ResponseWriter.
type wrapper struct {
	http.ResponseWriter
	status int
}

func (w *wrapper) WriteHeader(status int)      { w.status = status; w.ResponseWriter.WriteHeader(status) }
func (w *wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestFail(t *testing.T) {
	refused := &upstream.RefusedError{Upstream: "app", Reason: upstream.RefusedQueueFull, RetryAfter: 3 * time.Second}
	for _, tt := range []struct {
		name       string
		err        error
		code       int
		retryAfter string
	}{
		{"no place", fmt.Errorf("user: %w", refused), 503, "3"},
		{"timeout", &upstream.Error{Err: context.DeadlineExceeded}, 504, ""},
		{"lost", &upstream.Error{Err: io.EOF}, 502, ""},
		{"waited too long", fmt.Errorf("user: %w", cachefetch.ErrWaitTimeout), 503, "1"},
		{"own timeout", context.DeadlineExceeded, 504, ""},
		{"broken", errors.New("reset"), 502, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			seen := 0
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x := &wrapper{ResponseWriter: w}
				w.Header().Set("ETag", `"1"`)
				if got := Fail(x, tt.err); got != tt.code || x.status != tt.code {
					t.Errorf("Fail returned %d, a wrapper saw %d", got, x.status)
				}
				seen++
			})
			c := newCache(t, Options{})
			for name, h := range map[string]http.Handler{"direct": h, "cached": c.Handler(Policy{TTL: time.Minute})(h)} {
				w := get(h, "/")
				if w.Code != tt.code || w.Header().Get("Retry-After") != tt.retryAfter || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("ETag") != "" {
					t.Errorf("%s, %s: %d %q", tt.name, name, w.Code, w.Header())
				}
			}
			synctest.Wait() // the run ends after its clients were answered
			if s := c.Stats(); seen != 2 || s.OriginCalls != 1 || s.Entries != 0 || (s.Refused == 1) != (tt.code == 503) {
				t.Errorf("%s: %d calls, %+v", tt.name, seen, s)
			}
		})
	}
}

// That there is no such thing is no failure: it is an answer like one that the
// handler writes, and does not give way to a stale response.
func TestFailNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		gone := false
		h := c.Handler(Policy{TTL: time.Minute, StaleIfError: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !gone {
				fmt.Fprint(w, "made")
				return
			}
			w.Header().Set("ETag", `"1"`)
			if got := Fail(w, fmt.Errorf("user: %w", cachefetch.ErrNotFound)); got != 404 {
				t.Errorf("Fail returned %d", got)
			}
		}))
		get(h, "/")
		time.Sleep(2 * time.Minute)
		gone = true
		if w := get(h, "/"); w.Code != 404 || w.Header().Get("ETag") != "" {
			t.Errorf("%d %q", w.Code, w.Header())
		}
	})
}

// A stale response comes before any failure of the handler's.
func TestFailGivesWayToStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		var err error
		h := c.Handler(Policy{TTL: time.Minute, StaleIfError: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err != nil {
				Fail(w, err)
				return
			}
			fmt.Fprint(w, "made")
		}))
		get(h, "/")
		for _, err = range []error{&upstream.RefusedError{RetryAfter: time.Second}, context.DeadlineExceeded, errors.New("reset")} {
			time.Sleep(2 * time.Minute) // beyond the backoff of the failure before
			if w := get(h, "/"); w.Code != 200 || w.Body.String() != "made" || w.Header().Get("Retry-After") != "" {
				t.Errorf("%v: %d %q", err, w.Code, w.Header())
			}
		}
		time.Sleep(time.Hour)
		if w := get(h, "/"); w.Code != 502 {
			t.Errorf("too old: %d", w.Code)
		}
	})
}

// A client that leaves the queue makes room in it, and one that leaves the
// handler makes room there as soon as the handler returns.
func TestLimitClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLimiter(LimitOptions{MaxInFlight: 1, MaxQueue: 1, QueueTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		h := l.Handler(new(busy))
		ctx, leave := context.WithCancel(t.Context())
		for range 2 {
			go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			synctest.Wait()
		}
		if w := get(h, "/"); w.Code != 503 || w.Header().Get("Retry-After") != "60" {
			t.Errorf("%d %q", w.Code, w.Header())
		}
		leave()
		synctest.Wait()
		if s := l.Stats(); s.InFlight != 0 || s.Queued != 0 || s.Refused != 1 {
			t.Errorf("%+v", s)
		}
		begin := time.Now()
		if w := get(h, "/"); w.Code != 200 || time.Since(begin) != time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(begin))
		}
	})
}

// An adaptive limit in front of a handler that works on ten requests at once gives
// out about as many places, and those who are refused are refused soon.
func TestAdaptiveLimitFindsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLimiter(LimitOptions{MinInFlight: 2, MaxInFlight: 500})
		if err != nil {
			t.Fatal(err)
		}
		// What this machine's scheduler does is no matter of the bubble's time.
		l.processor = limit.NewProcessor(500, func() time.Duration { return 0 })
		at := make(chan struct{}, 10)
		h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			at <- struct{}{}
			time.Sleep(100 * time.Millisecond)
			<-at
		}))
		var good, refused atomic.Int64
		var all sync.WaitGroup
		offer := func(d, every time.Duration) {
			for range int(d / every) {
				all.Go(func() {
					began := time.Now()
					if w := get(h, "/"); w.Code == 200 {
						good.Add(1)
					} else if refused.Add(1); time.Since(began) > 250*time.Millisecond { // a tenth of a second, and until the next one ends
						t.Errorf("%d after %v", w.Code, time.Since(began))
					}
				})
				time.Sleep(every)
			}
		}
		offer(5*time.Second, 20*time.Millisecond) // half of what it can do
		if s := l.Stats(); refused.Load() > 0 || s.Places != 500 {
			t.Errorf("%+v at half of what the handler can do", s)
		}
		offer(20*time.Second, 2*time.Millisecond) // five times that
		good.Store(0)
		offer(10*time.Second, 2*time.Millisecond)
		if s := l.Stats(); good.Load() < 850 || s.Places > 40 {
			t.Errorf("%+v, %d of 1000 are served", s, good.Load())
		}
		all.Wait()
	})
}

// A panic gives the place back.
func TestLimitPanic(t *testing.T) {
	l, err := NewLimiter(LimitOptions{MaxInFlight: 1, MaxQueue: -1})
	if err != nil {
		t.Fatal(err)
	}
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	for range 2 {
		if v := raised(func() { get(h, "/") }); v != "boom" {
			t.Errorf("raised %v", v)
		}
	}
}

func TestLimitOptionsErrorsNameFieldAndValue(t *testing.T) {
	for want, o := range map[string]LimitOptions{
		"MaxInFlight: 0: ":    {},
		"MaxInFlight: -1: ":   {MaxInFlight: -1},
		"QueueTimeout: -1s: ": {MaxInFlight: 1, QueueTimeout: -time.Second},
		"MinInFlight: -1: ":   {MaxInFlight: 1, MinInFlight: -1},
		"MinInFlight: 2: ":    {MaxInFlight: 1, MinInFlight: 2},
		"QueueTimeout: 1s: ":  {MaxInFlight: 1, MaxQueue: -1, QueueTimeout: time.Second},
	} {
		want = "middleware: LimitOptions." + want
		if _, err := NewLimiter(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if v := raised(func() { Limit(o) }); v == nil {
			t.Errorf("Limit took %+v", o)
		}
	}
}

func TestLimitMetrics(t *testing.T) {
	l, err := NewLimiter(LimitOptions{Name: "products", MaxInFlight: 3})
	if err != nil {
		t.Fatal(err)
	}
	get(l.Handler(http.NotFoundHandler()), "/")
	var b strings.Builder
	l.WriteMetrics(&b)
	for _, want := range []string{
		"# TYPE freshet_limit_wait_seconds histogram\n", `freshet_limit_wait_seconds_count{route="products"} 1` + "\n",
		`freshet_limit_refused_total{route="products",reason="queue_full"} 0` + "\n", `freshet_limit_max_in_flight{route="products"} 3` + "\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %s", want)
		}
	}
}

// For a minute at four times what the route can carry, with a different URL
// each time, the goroutines stay bounded, memory flat, and everyone is
// answered in time.
func TestOverloadForAMinuteIsFlat(t *testing.T) {
	const (
		inFlight, queue = 5, 5
		offered         = 4 * inFlight // a second, and the handler takes one
	)
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{MaxBytes: 256 << 10})
		limit := Limit(LimitOptions{MaxInFlight: inFlight, MaxQueue: queue, QueueTimeout: 500 * time.Millisecond})
		h := c.Handler(Policy{TTL: time.Hour})(limit(new(busy)))
		var answered, good atomic.Int64
		idle := goroutines()
		var before, after runtime.MemStats
		for i := range 60 * offered {
			go func() {
				begin := time.Now()
				w := get(h, fmt.Sprint("/", i))
				if took := time.Since(begin); took > 1500*time.Millisecond {
					t.Errorf("answered after %v", took)
				}
				if w.Code == 200 {
					good.Add(1)
				}
				answered.Add(1)
			}()
			time.Sleep(time.Second / offered)
			synctest.Wait() // for those who were woken at the same time
			// One goroutine for each client, and three for its run.
			if n := goroutines() - idle; n > 4*(inFlight+queue)+4 {
				t.Fatalf("%d goroutines", n)
			}
			if i == 15*offered {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		time.Sleep(2 * time.Second)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 512<<10 {
			t.Errorf("the heap grew by %d bytes in 45 seconds", grown)
		}
		if n := answered.Load(); n != 60*offered {
			t.Errorf("%d of %d answered", n, 60*offered)
		}
		if n := good.Load(); n < 60*inFlight*9/10 {
			t.Errorf("%d good answers, where %d could be given", n, 60*inFlight)
		}
	})
}

// goroutines counts goroutines while the world is stopped, which a profile with
// too little room does. runtime.NumGoroutine adds up lists that change
// meanwhile, and can be off by dozens.
func goroutines() int {
	n, _ := runtime.GoroutineProfile(make([]runtime.StackRecord, 1))
	return n
}
