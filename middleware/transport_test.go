package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A trip is a function as a round tripper.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// response makes what a round tripper returns.
func respond(r *http.Request, body string, fields ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return &http.Response{StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// ask makes a request through rt and reads the response.
func ask(rt http.RoundTripper, method, url string, fields ...string) (*http.Response, string, error) {
	return askContext(context.Background(), rt, method, url, fields...)
}

func askContext(ctx context.Context, rt http.RoundTripper, method, url string, fields ...string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestTransportHit(t *testing.T) {
	var calls atomic.Int64
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("X-Call", fmt.Sprint(calls.Add(1)))
		fmt.Fprint(w, "hello")
	}))
	c := newCache(t, Options{})
	rt := c.Transport(Policy{}, srv.Client().Transport)
	for i, want := range []string{"freshet; fwd=uri-miss; stored; ttl=60", "freshet; hit; ttl=60", "freshet; hit; ttl=60"} {
		resp, body, err := ask(rt, "GET", srv.URL+"/a")
		if err != nil {
			t.Fatal(err)
		}
		if body != "hello" || resp.StatusCode != 200 || resp.Status != "200 OK" || resp.ContentLength != 5 ||
			resp.Header.Get("X-Call") != "1" || resp.Header.Get("Cache-Status") != want ||
			resp.Request == nil || resp.Request.URL.Path != "/a" {
			t.Errorf("request %d: %q, %+v", i, body, resp)
		}
	}
	resp, body, err := ask(rt, "HEAD", srv.URL+"/a")
	if err != nil || body != "" || resp.ContentLength != 5 || resp.Header.Get("Cache-Status") != "freshet; hit; ttl=60" {
		t.Errorf("HEAD: %v, %q, %+v", err, body, resp)
	}
	if s := c.Stats(); s.Hits != 3 || s.OriginCalls != 1 {
		t.Errorf("%+v", s)
	}
	if m := metricsOf(c); !strings.Contains(m, `freshet_origin_calls_total{cache="default",route="transport"} 1`) {
		t.Errorf("metrics lack the route:\n%s", m)
	}
}

// The caller's request is not changed, and its response is for that request.
func TestTransportLeavesRequest(t *testing.T) {
	rt := newCache(t, Options{}).Transport(Policy{TTL: time.Minute}, trip(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("X-Base", "1") // a base that is not as careful
		return respond(r, "ok", "ETag", `"1"`), nil
	}))
	for range 3 {
		r, _ := http.NewRequest("GET", "http://a.example?q=1", nil)
		r.Header.Set("If-None-Match", `"0"`)
		before := fmt.Sprintf("%+v", *r)
		resp, err := rt.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
		if after := fmt.Sprintf("%+v", *r); after != before || resp.Request != r {
			t.Errorf("request was\n%s\nand is\n%s", before, after)
		}
	}
}

// A request that no cache can answer reaches base as the very same value, and
// so does the response the caller.
func TestTransportPassesWhole(t *testing.T) {
	for name, change := range map[string]func(r *http.Request){
		"method": func(r *http.Request) {
			r.Method = "POST"
			r.Body = io.NopCloser(strings.NewReader("b"))
			r.ContentLength = 1
		},
		"body": func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("b")) },
		"upgrade": func(r *http.Request) {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		},
		"opaque URL": func(r *http.Request) { r.URL.Opaque = "//a.example/x" },
	} {
		t.Run(name, func(t *testing.T) {
			var got *http.Request
			given := respond(nil, "ok", "Cache-Control", "private", "Cache-Status", "up; hit")
			body := given.Body
			rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
				got = r
				return given, nil
			}))
			r, _ := http.NewRequest("GET", "http://a.example/", nil)
			change(r)
			resp, err := rt.RoundTrip(r)
			if err != nil || got != r || resp != given || resp.Body != body {
				t.Errorf("request the same %v, response the same %v, body the same %v, error %v", got == r, resp == given, resp.Body == body, err)
			}
			if lines := resp.Header["Cache-Status"]; r.URL.Opaque == "" && (len(lines) != 2 || lines[0] != "up; hit" || !strings.HasPrefix(lines[1], "freshet; fwd=")) {
				t.Errorf("Cache-Status %q", lines)
			}
		})
	}
}

// A failed round trip is the caller's error as it was, for all who waited.
func TestTransportError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		failure := errors.New("no route to host")
		c := newCache(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		rt := c.Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return nil, failure
		}))
		var wg sync.WaitGroup
		for _, method := range []string{"GET", "GET", "GET", "POST", "HEAD"} {
			wg.Go(func() {
				if _, _, err := ask(rt, method, "http://a.example/"); err != failure {
					t.Errorf("%s: error %v, want base's", method, err)
				}
			})
		}
		wg.Wait()
		if s := c.Stats(); s.OriginCalls != 3 || s.Errors != 4 {
			t.Errorf("%+v", s)
		}
		if log.Len() > 0 {
			t.Errorf("logged: %s", &log)
		}
	})
}

// A stale response that may be used is used instead of the error.
func TestTransportStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		failure := errors.New("connection refused")
		rt := newCache(t, Options{}).Transport(Policy{StaleIfError: time.Hour}, trip(func(r *http.Request) (*http.Response, error) {
			if down.Load() {
				return nil, failure
			}
			return respond(r, "good", "Cache-Control", "max-age=60"), nil
		}))
		_, _, _ = ask(rt, "GET", "http://a.example/")
		down.Store(true)
		time.Sleep(2 * time.Minute)
		if resp, body, err := ask(rt, "GET", "http://a.example/"); err != nil || body != "good" || resp.StatusCode != 200 {
			t.Errorf("inside the window: %v, %q", err, body)
		}
		time.Sleep(2 * time.Hour)
		if _, _, err := ask(rt, "GET", "http://a.example/"); err != failure {
			t.Errorf("after it: %v", err)
		}
	})
}

// A body that breaks off is no clean end for anyone, and is not stored.
func TestTransportBodyError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("connection reset")
		c := newCache(t, Options{})
		rt := c.Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			resp := respond(r, "", "Cache-Control", "max-age=60")
			resp.ContentLength = -1
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), &failing{failure}))
			return resp, nil
		}))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				resp, body, err := ask(rt, "GET", "http://a.example/")
				if resp == nil || body != "half" || !errors.Is(err, failure) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%q, error %v", body, err)
				}
			})
		}
		wg.Wait()
		if s := c.Stats(); s.Entries != 0 || s.OriginCalls != 1 {
			t.Errorf("%+v", s)
		}
	})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { time.Sleep(time.Second); return 0, f.err }

// A caller that goes away, by its context, by the old Cancel channel or by
// closing the body, leaves the others alone.
func TestTransportLeaving(t *testing.T) {
	for _, how := range []string{"context", "Cancel", "Close"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
					time.Sleep(time.Second)
					resp := respond(r, "", "Cache-Control", "max-age=60")
					resp.ContentLength = -1
					pr, pw := io.Pipe()
					resp.Body = pr
					go func() {
						for range 3 {
							time.Sleep(time.Second)
							_, _ = io.WriteString(pw, "part ")
						}
						_ = pw.Close()
					}()
					return resp, nil
				}))
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://a.example/", nil)
				abort := make(chan struct{})
				//lint:ignore SA1019 http.Client uses it
				r.Cancel = abort
				resp, err := rt.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				gone := errors.New("gone")
				switch how {
				case "context":
					cancel(gone)
				case "Cancel":
					close(abort)
				default:
					resp.Body.Close()
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, body, err := ask(rt, "GET", "http://a.example/"); err != nil || body != "part part part " {
						t.Errorf("the other caller: %q, %v", body, err)
					}
				})
				synctest.Wait()
				if body, err := io.ReadAll(resp.Body); err == nil || how == "context" && !errors.Is(err, gone) {
					t.Errorf("the one that left read %q and got error %v", body, err)
				}
				resp.Body.Close()
				wg.Wait()
			})
		})
	}
}

// Before the header a caller's context ends its waiting at once, with the
// cause; the run goes on and is stored.
func TestTransportContextBeforeHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			if err := r.Context().Err(); err != nil {
				return nil, err
			}
			return respond(r, "ok", "Cache-Control", "max-age=60"), nil
		}))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
		defer cancel()
		if _, _, err := askContext(ctx, rt, "GET", "http://a.example/"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Second)
		if resp, _, err := ask(rt, "GET", "http://a.example/"); err != nil || !strings.HasPrefix(resp.Header.Get("Cache-Status"), "freshet; hit") {
			t.Errorf("afterwards: %v, %v", resp, err)
		}
	})
}

// An http.Client with a Timeout, which uses the Cancel channel for round
// trippers that it does not know.
func TestTransportClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(30 * time.Second)
			return respond(r, "ok", "Cache-Control", "max-age=600"), nil
		}))
		client := &http.Client{Transport: rt, Timeout: time.Second}
		begin := time.Now()
		_, err := client.Get("http://a.example/")
		if timeout, ok := err.(interface{ Timeout() bool }); !ok || !timeout.Timeout() || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		time.Sleep(time.Minute)
		if _, body, err := fetch(client, "http://a.example/"); err != nil || body != "ok" {
			t.Errorf("afterwards: %q, %v", body, err)
		}
	})
}

// A panic of base reaches the caller that caused the run; the others get an
// error.
func TestTransportPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			panic("bug")
		}))
		var raisedBy, failed atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				var err error
				if v := raised(func() { _, _, err = ask(rt, "GET", "http://a.example/") }); v == "bug" {
					raisedBy.Add(1)
				} else if v == nil && err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if raisedBy.Load() != 1 || failed.Load() != 2 {
			t.Errorf("%d callers saw the panic, %d an error", raisedBy.Load(), failed.Load())
		}
	})
}

// What one Transport fetched is not what a Handler of the same cache serves,
// whatever Host a client sends.
func TestTransportApartFromHandler(t *testing.T) {
	c := newCache(t, Options{})
	rt := c.Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
		return respond(r, "internal", "Cache-Control", "max-age=60"), nil
	}))
	h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "public")
	}))
	for range 2 {
		if _, body, err := ask(rt, "GET", "http://api.internal/a"); body != "internal" || err != nil {
			t.Errorf("transport: %q, %v", body, err)
		}
		if got := get(h, "http://api.internal/a").Body.String(); got != "public" {
			t.Errorf("handler: %q", got)
		}
		if got := keysServe(h, func() *http.Request { r := httptest.NewRequest("GET", "/a", nil); r.Host = "api.internal"; return r }()).Body.String(); got != "public" {
			t.Errorf("handler: %q", got)
		}
	}
	if s := c.Stats(); s.Hits < 2 {
		t.Errorf("%+v", s)
	}
	if err := c.PurgeURL(t.Context(), "http://api.internal/a", Hard); err != nil {
		t.Fatal(err)
	}
	if resp, _, _ := ask(rt, "GET", "http://api.internal/a"); resp.Header.Get("Cache-Status") != "freshet; fwd=uri-miss; stored; ttl=60" {
		t.Errorf("after the purge: %q", resp.Header)
	}
}

// The server that a request is sent to counts, also where a proxy keeps the
// client's Host.
func TestTransportHostAndServer(t *testing.T) {
	rt := newCache(t, Options{}).Transport(Policy{TTL: time.Minute}, trip(func(r *http.Request) (*http.Response, error) {
		return respond(r, r.URL.Scheme+" "+r.URL.Host+" "+r.Host+" "+r.RequestURI), nil
	}))
	for range 2 {
		for _, q := range []struct{ url, host, want string }{
			{"http://one.example/", "", "http one.example one.example "},
			{"http://two.example/", "", "http two.example two.example "},
			{"http://one.example/", "shop.example", "http one.example shop.example "},
			{"http://two.example/", "shop.example", "http two.example shop.example "},
			{"https://two.example/", "shop.example", "https two.example shop.example "},
			{"https://one.example/", "", "https one.example one.example "},
		} {
			r, _ := http.NewRequest("GET", q.url, nil)
			r.Host = q.host
			resp, err := rt.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if q.host == "" {
				q.want = strings.TrimSuffix(q.want, " ")
				body = bytes.TrimSuffix(body, []byte(" "))
			}
			if string(body) != q.want {
				t.Errorf("%s as %q: %q, want %q", q.url, q.host, body, q.want)
			}
		}
	}
}

// Interim responses reach every caller's trace once, live.
func TestTransportInterim(t *testing.T) {
	begun := make(chan struct{})
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		if r.URL.Path != "/pass" {
			<-begun
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "ok")
	}))
	rt := newCache(t, Options{}).Transport(Policy{}, srv.Client().Transport)
	hints := func(path string, fields ...string) (n int) {
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code != http.StatusEarlyHints || h.Get("Link") != "</a.css>" {
					t.Errorf("interim %d %v", code, h)
				}
				n++
				if path != "/pass" {
					begun <- struct{}{}
				}
				return nil
			},
		})
		resp, body, err := askContext(ctx, rt, "GET", srv.URL+path, fields...)
		if err != nil || body != "ok" || resp.StatusCode != 200 {
			t.Errorf("%v, %q", err, body)
		}
		return n
	}
	if n := hints("/pass", "Authorization", "x"); n != 1 {
		t.Errorf("passed: %d interim responses", n)
	}
	if n := hints("/shared"); n != 1 {
		t.Errorf("leader: %d interim responses", n)
	}
	if n := hints("/shared"); n != 0 {
		t.Errorf("hit: %d interim responses", n)
	}
}

// Trailers arrive where a caller looks for them, announced or not.
func TestTransportTrailers(t *testing.T) {
	for _, control := range []string{"private", "max-age=60"} {
		for _, announced := range []bool{true, false} {
			t.Run(fmt.Sprint(control, " announced ", announced), func(t *testing.T) {
				srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", control)
					name := http.TrailerPrefix + "X-Sum"
					if announced {
						w.Header().Set("Trailer", "X-Sum")
						name = "X-Sum"
					}
					fmt.Fprint(w, "body")
					_ = http.NewResponseController(w).Flush()
					w.Header().Set(name, "42")
				}))
				rt := newCache(t, Options{}).Transport(Policy{}, srv.Client().Transport)
				for i := range 3 {
					resp, body, err := ask(rt, "GET", srv.URL)
					if err != nil || body != "body" || resp.Trailer.Get("X-Sum") != "42" {
						t.Errorf("request %d: %q, %v, trailers %q", i, body, err, resp.Trailer)
					}
				}
			})
		}
	}
}

// Callers may write to their own header as soon as they have closed the body,
// and to the response's at any time.
func TestTransportRaces(t *testing.T) {
	var n atomic.Int64
	rt := newCache(t, Options{}).Transport(Policy{}, trip(func(r *http.Request) (*http.Response, error) {
		control := "max-age=60"
		if n.Add(1)%3 == 0 {
			control = "private"
		}
		return respond(r, strings.Repeat("x", 5000), "Cache-Control", control, "Vary", "X-N"), nil
	}))
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r, _ := http.NewRequest("GET", "http://a.example/", nil)
			for i := range 50 {
				r.Header.Set("X-N", fmt.Sprint(i))
				resp, err := rt.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Header.Set("X-Mine", fmt.Sprint(g))
				resp.Header.Add("Vary", "mine")
				if i%2 == 0 {
					if body, err := io.ReadAll(resp.Body); len(body) != 5000 || err != nil {
						t.Errorf("%d bytes, %v", len(body), err)
					}
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}

func TestTransportBadPolicy(t *testing.T) {
	c := newCache(t, Options{})
	if v := raised(func() { c.Transport(Policy{TTL: -1}, nil) }); v == nil {
		t.Error("a bad policy was accepted")
	}
	if rt := c.Transport(Policy{}, nil).(*transport); rt.base != http.DefaultTransport {
		t.Errorf("nil base is %T", rt.base)
	}
}
