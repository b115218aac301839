package middleware

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	chimw "github.com/go-chi/chi/v5/middleware"

	"github.com/freshet-go/freshet/cachefetch/fanout"
)

// within gives each request so long, as middleware outside of the cache does.
func within(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// A client whose context ends on the server's side before there is a header is
// told so, or gets what may be used instead: never a 200 with nothing. It holds
// for who began the run and for those who wait for it.
func TestContextThatEndsBeforeTheHeaderIsAnError(t *testing.T) {
	for _, row := range []struct {
		name   string
		late   bool // the context ends by its deadline
		stale  bool
		status int
	}{
		{"a deadline", true, false, http.StatusGatewayTimeout},
		{"a deadline, with a stale response", true, true, http.StatusOK},
		{"a shutdown", false, false, http.StatusServiceUnavailable},
	} {
		for _, private := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, " private ", private), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					took := time.Duration(0)
					h := newCache(t, Options{}).Handler(Policy{StaleIfError: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						time.Sleep(took)
						w.Header().Set("Cache-Control", "max-age=10")
						if private && took > 0 {
							w.Header().Set("Cache-Control", "private")
						}
						fmt.Fprint(w, "page")
					}))
					if row.stale {
						get(h, "/")
						time.Sleep(11 * time.Second)
					}
					took = 3 * time.Second
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					if row.late {
						h = within(time.Second, h)
					} else {
						time.AfterFunc(time.Second, leave)
					}
					var wg sync.WaitGroup
					for range 5 {
						wg.Go(func() {
							w := keysServe(h, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
							if w.Code != row.status || w.Body.Len() == 0 {
								t.Errorf("%d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
							}
							if w.Code != 200 && w.Header().Get("Cache-Control") != "no-store" {
								t.Errorf("%d with Cache-Control %q", w.Code, w.Header()["Cache-Control"])
							}
						})
						synctest.Wait()
					}
					wg.Wait()
					time.Sleep(time.Minute)
				})
			})
		}
	}
}

// wires are servers of both versions of HTTP.
var wires = []struct {
	name  string
	start func(*httptest.Server)
}{
	{"HTTP/1", func(s *httptest.Server) { s.Start() }},
	{"HTTP/2", func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }},
}

// Once a part of the body is out, a context that ends on the server's side ends
// the connection or the stream: no client takes the part for the whole. It holds
// for a response that is shared, and for one that the handler itself sends.
func TestContextThatEndsInTheBodyCutsIt(t *testing.T) {
	for _, wire := range wires {
		for _, control := range []string{"max-age=60", "private"} {
			for _, by := range []string{"a deadline", "chi's Timeout", "a shutdown"} {
				t.Run(fmt.Sprint(wire.name, " ", control, " ", by), func(t *testing.T) {
					release := make(chan struct{})
					h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Cache-Control", control)
						_, _ = io.WriteString(w, "first half, ")
						w.(http.Flusher).Flush()
						select {
						case <-release:
							_, _ = io.WriteString(w, "second half")
						case <-r.Context().Done():
						}
					}))
					base, shutDown := context.WithCancel(t.Context())
					switch by {
					case "a deadline":
						h = within(50*time.Millisecond, h)
					case "chi's Timeout":
						h = chimw.Timeout(50 * time.Millisecond)(h)
					}
					srv := httptest.NewUnstartedServer(h)
					srv.Config.ErrorLog = silent
					srv.Config.BaseContext = func(net.Listener) context.Context { return base }
					wire.start(srv)
					defer srv.Close()
					defer close(release)
					var wg sync.WaitGroup
					clients := 1
					if control != "private" {
						clients = 3 // the others wait for the first one's run
					}
					for range clients {
						wg.Go(func() {
							resp, err := srv.Client().Get(srv.URL)
							if err != nil {
								return // it was ended before its header: nothing to be mistaken
							}
							defer resp.Body.Close()
							if by == "a shutdown" {
								_, _ = io.ReadFull(resp.Body, make([]byte, 5))
								shutDown()
							}
							rest, err := io.ReadAll(resp.Body)
							if err == nil && resp.StatusCode == 200 {
								t.Errorf("%s: a clean 200 that ends in %q", resp.Proto, rest)
							}
						})
					}
					wg.Wait()
					shutDown()
				})
			}
		}
	}
}

// Over the wire too, what ends before the header is a status of its own.
func TestContextThatEndsBeforeTheHeaderOnTheWire(t *testing.T) {
	for _, wire := range wires {
		for by, status := range map[string]int{"a deadline": 504, "a shutdown": 503} {
			t.Run(wire.name+" "+by, func(t *testing.T) {
				began, release := make(chan struct{}), make(chan struct{})
				h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					close(began)
					<-release
					_, _ = io.WriteString(w, "page")
				}))
				if by == "a deadline" {
					h = within(50*time.Millisecond, h)
				}
				base, shutDown := context.WithCancel(t.Context())
				defer shutDown()
				srv := httptest.NewUnstartedServer(h)
				srv.Config.BaseContext = func(net.Listener) context.Context { return base }
				wire.start(srv)
				defer srv.Close()
				defer close(release)
				if by == "a shutdown" {
					go func() { <-began; shutDown() }()
				}
				resp, body, err := fetch(srv.Client(), srv.URL)
				if err != nil || resp.StatusCode != status || body == "" {
					t.Errorf("%v %q, %v", resp, body, err)
				}
			})
		}
	}
}

// A handler that returns without a word once its context has ended, as for a
// client that has left, has not answered: all who wait at FillTimeout get 504,
// and nothing is stored.
func TestSilenceAtFillTimeoutIs504(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		for _, prepared := range []string{"", "max-age=60"} {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				c := newCache(t, Options{})
				h := c.Handler(Policy{TTL: time.Minute, FillTimeout: time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if prepared != "" {
						w.Header().Set("Cache-Control", prepared)
					}
					if calls.Add(1) == 1 {
						<-r.Context().Done()
						return
					}
					fmt.Fprint(w, "page")
				}))
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						w := keysServe(h, httptest.NewRequest(method, "/", nil))
						if w.Code != http.StatusGatewayTimeout || w.Header().Get("Cache-Control") != "no-store" {
							t.Errorf("%s: %d %q %q", method, w.Code, w.Body, w.Header())
						}
					})
				}
				wg.Wait()
				if n := c.Stats().Entries; n != 0 || calls.Load() != 1 {
					t.Errorf("%s: %d entries after %d calls", method, n, calls.Load())
				}
				if w := get(h, "/"); w.Body.String() != "page" {
					t.Errorf("%s, then: %d %q", method, w.Code, w.Body)
				}
			})
		}
	}
}

// A handler that does not look at what Write returns, and goes on when its
// context has ended: nobody takes what it had written by then for the whole, and
// nothing of it is stored. Only where it said how long the whole is, and it is
// there, is it known to be that.
func TestWhatEndsAfterItsContextDoesNotPassForTheWhole(t *testing.T) {
	for _, row := range []struct {
		name   string
		length string
		policy Policy
		parts  int
	}{
		{"small", "", Policy{}, 2},
		{"of a known length", "200", Policy{}, 1},
		{"too large to be kept", "", Policy{MaxBodyBytes: 50}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := New(Options{MaxBytes: 16 << 20, Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				h := c.Handler(row.policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					if row.length != "" {
						w.Header().Set("Content-Length", row.length)
					}
					time.Sleep(time.Second) // until all wait
					_, _ = w.Write(make([]byte, 100))
					<-r.Context().Done()
					for range row.parts - 1 {
						time.Sleep(10 * time.Millisecond)
						_, _ = w.Write(make([]byte, 100))
					}
				}))
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						w := httptest.NewRecorder()
						got := raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)) })
						if got != http.ErrAbortHandler {
							t.Errorf("%d bytes, and %v", w.Body.Len(), got)
						}
					})
				}
				time.Sleep(2 * time.Second)
				_ = c.Close() // ends the runs' contexts
				wg.Wait()
			})
		})
	}
}

// Something around the handler that finds that it has failed, and says 500 when a
// part of the body is out, says that the part is not the whole: clients are cut
// off, nothing is stored, and what was stored stays.
func TestLateErrorStatusMeansIncomplete(t *testing.T) {
	failing := false
	origin := chimw.Recoverer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.Query().Get("control"))
		_, _ = io.WriteString(w, "first half, ")
		time.Sleep(time.Second)
		if failing {
			w.WriteHeader(http.StatusInternalServerError) // as chi's Recoverer does
			_, _ = io.WriteString(w, "oops")
			return
		}
		_, _ = io.WriteString(w, "second half")
	}))
	const whole = "first half, second half"
	ask := func(h http.Handler, target string) (*httptest.ResponseRecorder, any) {
		w := httptest.NewRecorder()
		return w, raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", target, nil)) })
	}
	for control, clients := range map[string]int{"max-age=60": 4, "private": 1} {
		t.Run(control, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newCache(t, Options{}).Handler(Policy{})(origin)
				failing = true
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						if w, got := ask(h, "/?control="+control); got != http.ErrAbortHandler {
							t.Errorf("%v after %d %q", got, w.Code, w.Body)
						}
					})
				}
				wg.Wait()
				failing = false
				if w, _ := ask(h, "/?control="+control); w.Body.String() != whole || keysHit(w) {
					t.Errorf("then %q (%s)", w.Body, w.Header()["Cache-Status"])
				}
			})
		})
	}
	t.Run("refresh", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const target = "/?control=max-age=10,stale-while-revalidate=600"
			h := newCache(t, Options{}).Handler(Policy{})(origin)
			failing = false
			get(h, target)
			time.Sleep(11 * time.Second)
			failing = true
			for range 5 {
				if w := get(h, target); w.Body.String() != whole {
					t.Errorf("%d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
				}
				time.Sleep(10 * time.Second)
			}
		})
	})
}

// A client that is given a part every ten seconds.
type slowWriter struct{ *httptest.ResponseRecorder }

func (w slowWriter) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	return w.ResponseRecorder.Write(p)
}

// What a goroutine of the handler does with the ResponseWriter when the handler
// has returned changes nothing, for who still reads or for who comes later, and
// what it takes of the budget it gives back.
func TestWhatComesAfterTheHandlerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{MaxBytes: 1 << 20})
		h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, "the whole")
			go func() {
				time.Sleep(time.Second)
				w.WriteHeader(http.StatusInternalServerError)
				if n, err := w.Write(make([]byte, 20<<10)); n != 0 || err == nil {
					t.Errorf("a late Write: %d, %v", n, err)
				}
				rc := http.NewResponseController(w)
				if rc.Flush() == nil {
					t.Error("a late Flush")
				}
				if _, _, err := rc.Hijack(); err == nil {
					t.Error("a late Hijack")
				}
			}()
		}))
		for i := range 20 {
			target := fmt.Sprint("/", i)
			w := slowWriter{httptest.NewRecorder()}
			h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
			again := get(h, target)
			if w.Body.String() != "the whole" || again.Body.String() != "the whole" || !keysHit(again) {
				t.Errorf("%d bytes, then %d (%s)", w.Body.Len(), again.Body.Len(), again.Header()["Cache-Status"])
			}
		}
		_ = c.Flush(t.Context(), Hard)
		get(h, "/")
		time.Sleep(time.Minute)
		if n := c.Stats().WindowBytes; n > 4<<10 {
			t.Errorf("%d bytes are in the window, with one response of nine", n)
		}
	})
}

// A response that is one client's alone has a deadline again once that client
// has all that it asked for: nobody reads on. The client has a whole answer.
func TestRunOfAServedClientHasADeadline(t *testing.T) {
	for _, row := range []struct {
		name   string
		asks   []string
		status int
		bytes  int
	}{
		{"a part of it", []string{"Range", "bytes=0-9"}, 206, 10},
		{"no part of it", []string{"Range", "bytes=5000-"}, 416, 0},
		{"what it has", []string{"If-None-Match", `"a"`}, 304, 0},
	} {
		for _, control := range []string{"no-store", "private", "max-age=60"} {
			t.Run(row.name+" of "+control, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := time.Duration(0)
					h := newCache(t, Options{}).Handler(Policy{FillTimeout: 4 * time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						begin := time.Now()
						w.Header().Set("Cache-Control", control)
						w.Header().Set("Etag", `"a"`)
						w.Header().Set("Content-Length", "3000")
						_, _ = w.Write(make([]byte, 1000))
						time.Sleep(time.Second)
						_, _ = w.Write(make([]byte, 1000))
						<-r.Context().Done()
						ended = time.Since(begin)
					}))
					w := get(h, "/", row.asks...)
					if w.Code != row.status || w.Body.Len() != row.bytes {
						t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
					}
					time.Sleep(5 * time.Second)
					synctest.Wait()
					if ended == 0 || ended > 4*time.Second {
						t.Errorf("the run's context ended after %v, 0 being never", ended)
					}
				})
			})
		}
	}
}

// What was asked for is the client's when it is there, and stays whole, although
// the handler goes on with the rest, and breaks off.
func TestServedClientDoesNotWaitForTheRest(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			goOn := make(chan struct{})
			h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "private")
				w.Header().Set("Etag", `"a"`)
				w.Header().Set("Content-Length", "3000")
				_, _ = w.Write(make([]byte, 1000))
				<-goOn
				panic(http.ErrAbortHandler) // as httputil.ReverseProxy does
			}))
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = http2
			srv.StartTLS()
			defer srv.Close()
			for _, row := range []struct {
				field, value  string
				status, bytes int
			}{{"Range", "bytes=0-9", 206, 10}, {"Range", "bytes=5000-", 416, 0}, {"If-None-Match", `"a"`, 304, 0}} {
				r, _ := http.NewRequest("GET", srv.URL+"/"+url.PathEscape(row.value), nil)
				r.Header.Set("Accept-Encoding", "identity")
				r.Header.Set(row.field, row.value)
				resp, err := srv.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				part := make([]byte, row.bytes)
				if _, err := io.ReadFull(resp.Body, part); err != nil || resp.StatusCode != row.status {
					t.Errorf("%s: %d, %v", row.value, resp.StatusCode, err)
				}
				goOn <- struct{}{}
				if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
					t.Errorf("%s: %d bytes more, %v", row.value, len(rest), err)
				}
				resp.Body.Close()
			}
		})
	}
}

// A round trip whose caller has its part does not fetch the rest.
func TestRoundTripOfAPartFetchesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan time.Time, 1)
		base := trip(func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			go func() {
				defer func() { closed <- time.Now() }()
				for range 1000 {
					if _, err := w.Write(make([]byte, 100)); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			return &http.Response{StatusCode: 200, ContentLength: 100_000, Body: body, Header: http.Header{
				"Cache-Control": {"private"}, "Etag": {`"a"`}, "Content-Length": {"100000"},
			}}, nil
		})
		begin := time.Now()
		r, _ := http.NewRequest("GET", "http://a.example/", nil)
		r.Header.Set("Range", "bytes=100-249")
		resp, err := newCache(t, Options{}).Transport(Policy{}, base).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(resp.Body)
		if err != nil || len(part) != 150 || resp.StatusCode != 206 {
			t.Errorf("%d with %d bytes, %v", resp.StatusCode, len(part), err)
		}
		resp.Body.Close()
		if took := (<-closed).Sub(begin); took > 5*time.Second {
			t.Errorf("base's body was read for %v", took)
		}
	})
}

// A handler can read how long its client waits, though a run lives longer, and
// a refresh, which nobody waits for, has no such deadline.
func TestInboundDeadlineInsideOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var left []time.Duration
		h := c.Handler(Policy{TTL: time.Second, StaleWhileRevalidate: time.Hour, FillTimeout: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, ok := fanout.InboundDeadline(r.Context())
			if !ok {
				d = time.Now().Add(-1)
			}
			left = append(left, time.Until(d))
			_, _ = io.WriteString(w, "x")
		}))
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		if len(left) != 2 || left[0] != 3*time.Second || left[1] != -1 {
			t.Errorf("%v left", left)
		}
	})
}
