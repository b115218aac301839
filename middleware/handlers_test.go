package middleware

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// explode is a function to be found in a stack.
func explode() { panic("the reason") }

// Frameworks ask for http.CloseNotifier, whatever the method, and whether the
// response is shared or streams. The channel gets a value when the run's context
// ends, and keeps no goroutine.
func TestCloseNotifier(t *testing.T) {
	stream := func(w http.ResponseWriter, r *http.Request) {
		//lint:ignore SA1019 it is what frameworks ask for
		gone := w.(http.CloseNotifier).CloseNotify()
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		for i := range 3 {
			select {
			case <-gone:
				return
			default:
			}
			fmt.Fprintf(w, "data: %d\n", i)
			w.(http.Flusher).Flush()
		}
	}
	srv := serve(t, newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(stream)))
	for _, method := range []string{"GET", "POST"} {
		for _, mime := range []string{"text/event-stream", "text/plain"} {
			req, _ := http.NewRequest(method, srv.URL+"/?type="+mime, nil)
			resp, body, err := fetchWith(srv.Client(), req)
			if err != nil || body != "data: 0\ndata: 1\ndata: 2\n" {
				t.Errorf("%s %s: %v %q, %v", method, mime, resp, body, err)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		told := make(chan time.Time, 1)
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private")
			w.WriteHeader(200)
			//lint:ignore SA1019 it is what frameworks ask for
			<-w.(http.CloseNotifier).CloseNotify()
			told <- time.Now()
		}))
		ctx, leave := leaving(t, time.Second)
		defer leave()
		began := time.Now()
		raised(func() { keysServe(h, httptest.NewRequestWithContext(ctx, "GET", "/", nil)) })
		if took := (<-told).Sub(began); took != time.Second {
			t.Errorf("told after %v that the client left after 1s", took)
		}
	})
}

// In a run without a client there is nothing that could be late: a deadline that
// the handler sets is set.
func TestDeadlinesAreSetInARefresh(t *testing.T) {
	for name, set := range map[string]func(rc *http.ResponseController) error{
		"write":  func(rc *http.ResponseController) error { return rc.SetWriteDeadline(time.Now().Add(time.Minute)) },
		"read":   func(rc *http.ResponseController) error { return rc.SetReadDeadline(time.Now().Add(time.Minute)) },
		"duplex": func(rc *http.ResponseController) error { return rc.EnableFullDuplex() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refreshing atomic.Bool
				var version atomic.Int64
				h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if refreshing.Load() {
						if err := set(http.NewResponseController(w)); err != nil {
							http.Error(w, err.Error(), 500)
							return
						}
					}
					w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=600")
					fmt.Fprint(w, version.Add(1))
				}))
				get(h, "/")
				refreshing.Store(true)
				time.Sleep(11 * time.Second)
				get(h, "/")
				synctest.Wait()
				if w := get(h, "/"); w.Body.String() != "2" {
					t.Errorf("%d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
				}
			})
		})
	}
}

// The error of a run's context is one of the two that a context may have.
func TestErrorOfARunsContext(t *testing.T) {
	for name, row := range map[string]struct {
		control string
		path    string
		leaves  bool
		want    error
	}{
		"the client has left, in its own response": {"private", "/", true, context.Canceled},
		"the client had left before the header":    {"private", "/late", true, context.Canceled},
		"FillTimeout":                              {"", "/silent", false, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := make(chan error, 1)
				h := newCache(t, Options{}).Handler(Policy{FillTimeout: 5 * time.Second})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/late" {
						time.Sleep(2 * time.Second)
					}
					if r.URL.Path != "/silent" {
						w.Header().Set("Cache-Control", row.control)
						w.WriteHeader(200)
					}
					<-r.Context().Done()
					got <- r.Context().Err()
				}))
				ctx := t.Context()
				if row.leaves {
					left, leave := leaving(t, time.Second)
					defer leave()
					ctx = left
				}
				raised(func() { keysServe(h, httptest.NewRequestWithContext(ctx, "GET", row.path, nil)) })
				if err := <-got; err != row.want {
					t.Errorf("%v, want %v", err, row.want)
				}
			})
		})
	}
}

// The stack of a panic is logged, wherever it is raised again: what is raised
// has another one. An http.ErrAbortHandler is no news.
func TestPanicIsLoggedWithItsStack(t *testing.T) {
	for _, row := range []struct {
		name   string
		stage  string // whose run it is
		aborts bool
	}{
		{"of the client", "first", false}, {"of a client that has left", "left", false}, {"of a refresh", "refresh", false},
		{"an abort", "first", true}, {"an abort of a refresh", "refresh", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var log bytes.Buffer
				c := newCache(t, Options{Logger: slog.New(slog.NewTextHandler(writing(func(p []byte) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					return log.Write(p)
				}), nil))})
				var broken atomic.Bool
				h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if broken.Load() {
						time.Sleep(2 * time.Second)
						if row.aborts {
							panic(http.ErrAbortHandler)
						}
						explode()
					}
					forAll("max-age=10, stale-while-revalidate=600")(w, nil)
				}))
				ctx := t.Context()
				switch row.stage {
				case "refresh":
					get(h, "/page")
					time.Sleep(11 * time.Second)
				case "left":
					left, leave := leaving(t, time.Second)
					defer leave()
					ctx = left
				}
				broken.Store(true)
				got := raised(func() { keysServe(h, httptest.NewRequestWithContext(ctx, "GET", "/page", nil)) })
				time.Sleep(10 * time.Second)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				text := log.String()
				logged := strings.Contains(text, "the reason") && strings.Contains(text, "/page") && strings.Contains(text, "middleware.explode")
				if n := strings.Count(text, "\n"); logged == row.aborts || row.aborts && n > 0 || !row.aborts && n != 1 {
					t.Errorf("%d lines: %s", n, text)
				}
				if (got != nil) != (row.stage == "first") {
					t.Errorf("raised %v", got)
				}
			})
		})
	}
}

// writing makes a function an io.Writer.
type writing func([]byte) (int, error)

func (f writing) Write(p []byte) (int, error) { return f(p) }
