package middleware

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func hints(calls *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		time.Sleep(200 * time.Millisecond)
		forAll("max-age=600")(w, r)
	}
}

// stuckHints takes no interim response until its client reads.
type stuckHints struct {
	http.ResponseWriter
	reads chan struct{}
}

func (w stuckHints) WriteHeader(status int) {
	if status < 200 {
		<-w.reads
	}
	w.ResponseWriter.WriteHeader(status)
}

// One client that does not read its connection is the first to ask for a page
// whose handler sends early hints. Invariants 5 and 14: the others have one run
// and a stored page all the same.
func TestLeaderThatReadsNothingTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{})(hints(&calls))
		reads := make(chan struct{})
		evil := httptest.NewRecorder()
		var wg sync.WaitGroup
		wg.Go(func() { h.ServeHTTP(stuckHints{evil, reads}, httptest.NewRequest("GET", "/", nil)) })
		synctest.Wait()
		for range 2 {
			var others sync.WaitGroup
			for range 20 {
				others.Go(func() {
					if w := get(h, "/"); w.Body.String() != "for all" {
						t.Errorf("%d %q", w.Code, w.Body)
					}
				})
			}
			others.Wait()
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d runs for one page, want one for the stranger and one for the others", n)
		}
		close(reads)
		wg.Wait()
		if evil.Body.String() != "for all" {
			t.Errorf("the stranger got %q when it read", evil.Body)
		}
	})
}

type slowHints struct{ http.ResponseWriter }

func (w slowHints) WriteHeader(status int) {
	if status < 200 {
		time.Sleep(1500 * time.Millisecond)
	}
	w.ResponseWriter.WriteHeader(status)
}
func (w slowHints) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The connection of the leader takes 1.5 seconds for the early hints, longer than
// others wait for its header. It gets its response all the same (invariant 8).
func TestLeaderIsAnsweredAfterSlowHints(t *testing.T) {
	var calls atomic.Int64
	c := newCache(t, Options{})
	cached := c.Handler(Policy{FillTimeout: 2 * time.Second})(hints(&calls))
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cached.ServeHTTP(slowHints{w}, r)
	}))
	client := &http.Client{Timeout: 6 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	began := time.Now()
	resp, body, err := fetch(client, srv.URL+"/")
	if err != nil {
		t.Fatalf("no answer after %v: %v", time.Since(began), err)
	}
	if resp.StatusCode != 200 || body != "for all" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// On a route with a soft timeout a client that does not read is the first to ask
// after a response has become stale. It is answered with the stale one, which it
// does not take. The others get the new one, stored (invariants 5 and 14).
func TestLeaderThatReadsNoStaleAnswerTakesNothing(t *testing.T) {
	var calls atomic.Int64
	body := strings.Repeat("x", 7<<20)
	c := newCache(t, Options{MaxBytes: 256 << 20})
	srv := serve(t, c.Handler(Policy{SoftTimeout: 100 * time.Millisecond})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			time.Sleep(500 * time.Millisecond)
		}
		w.Header().Set("Cache-Control", "max-age=1, stale-if-error=600")
		if calls.Load() > 1 {
			w.Header().Set("Cache-Control", "max-age=600, stale-if-error=600")
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		fmt.Fprint(w, body)
	})))
	_, _, _ = fetch(srv.Client(), srv.URL+"/")
	time.Sleep(1100 * time.Millisecond)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: "+srv.Listener.Addr().String()+"\r\n\r\n")
	time.Sleep(2500 * time.Millisecond)
	for range 5 {
		resp, got, err := fetch(srv.Client(), srv.URL+"/")
		if err != nil || len(got) != len(body) {
			t.Fatal(len(got), err)
		}
		t.Logf("%q", resp.Header["Cache-Status"])
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d runs, want 2: the second one's response is for everyone", n)
	}
}

type session struct {
	http.ResponseWriter
	id    string
	fails bool
}

func (w *session) WriteHeader(status int) {
	w.Header().Add("Set-Cookie", "session="+w.id)
	if w.fails {
		panic("the session store is down")
	}
	w.ResponseWriter.WriteHeader(status)
}
func (w *session) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	return w.ResponseWriter.Write(p)
}
func (w *session) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Session middleware outside begins a session for a visitor without a cookie,
// the handler greets him, and where the header is written the session store
// fails with a panic. The page was never given to anyone; it is his (0020,
// invariant 12): nobody else gets it.
func TestPageOfALeaderWhoseHeaderPanickedIsNobodyElses(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			first := make(chan bool, 1)
			first <- fails
			cached := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=600")
				fmt.Fprint(w, "hello ", r.Header.Get("X-Name"))
			}))
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case failing := <-first:
					r.Header.Set("X-Name", "alice")
					cached.ServeHTTP(&session{w, "alice", failing}, r)
				default:
					r.Header.Set("X-Name", "bob")
					cached.ServeHTTP(&session{w, "bob", false}, r)
				}
			}))
			_, _, _ = fetch(srv.Client(), srv.URL)
			_, body, err := fetch(srv.Client(), srv.URL)
			if err != nil || strings.Contains(body, "alice") {
				t.Errorf("bob got %q %v", body, err)
			}
		})
	}
}

// panicky panics where an interim response is written.
type panicky struct{ http.ResponseWriter }

func (w panicky) WriteHeader(status int) {
	if status < 200 {
		panic("the client's writer is broken")
	}
	w.ResponseWriter.WriteHeader(status)
}

// A leader that is not heard since its writer has panicked leaves no mark: those
// who come next have one run together, and its response is stored.
func TestLeaderThatPanicsLeavesNoMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := newCache(t, Options{}).Handler(Policy{})(hints(&calls))
		var all sync.WaitGroup
		all.Go(func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(panicky{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
		})
		time.Sleep(time.Second) // its run is over
		for range 2 {
			for range 20 {
				all.Go(func() {
					if w := get(h, "/"); w.Body.String() != "for all" {
						t.Errorf("%d %q", w.Code, w.Body)
					}
				})
			}
			all.Wait()
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d runs, want that of the leader and one for the others", n)
		}
	})
}
