package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A toldWriter keeps interim responses.
type toldWriter struct {
	*httptest.ResponseRecorder
	told []string
}

func (w *toldWriter) WriteHeader(status int) {
	if status < 200 {
		w.told = append(w.told, fmt.Sprint(status, w.Header()))
		return
	}
	w.ResponseRecorder.WriteHeader(status)
}

func told(h http.Handler, user string) string {
	w := &toldWriter{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-User", user)
	h.ServeHTTP(w, r)
	return fmt.Sprint(w.told, w.Header())
}

// Interim responses and trailers go to the client that the handler runs for, and
// to nobody else: nothing has judged them.
func TestInterimAndTrailersAreOfOneClient(t *testing.T) {
	for _, control := range []string{"private", "max-age=60", "no-cache", `max-age=60, private="Link"`} {
		for _, vary := range []string{"", "X-User"} {
			t.Run(control+" "+vary, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						user := r.Header.Get("X-User")
						time.Sleep(time.Second)
						w.Header().Set("Link", "hint of "+user)
						w.Header().Set("Set-Cookie", "early="+user)
						w.WriteHeader(http.StatusEarlyHints)
						w.Header().Del("Link")
						w.Header().Del("Set-Cookie")
						w.Header().Set("Cache-Control", control)
						if vary != "" {
							w.Header().Set("Vary", vary)
						}
						time.Sleep(time.Second)
						fmt.Fprint(w, "body")
						w.Header().Set(http.TrailerPrefix+"Set-Cookie", "late="+user)
					}))
					var wg sync.WaitGroup
					wg.Go(func() {
						got := told(h, "alice")
						for _, want := range []string{"hint of alice", "early=alice", "late=alice"} {
							if !strings.Contains(got, want) {
								t.Errorf("alice misses %q: %s", want, got)
							}
						}
					})
					synctest.Wait()
					for range 2 {
						wg.Go(func() {
							if got := told(h, "bob"); strings.Contains(got, "alice") {
								t.Errorf("bob was told %s", got)
							}
						})
					}
					time.Sleep(1500 * time.Millisecond) // after the interim response
					wg.Go(func() {
						if got := told(h, "carol"); strings.Contains(got, "alice") {
							t.Errorf("carol was told %s", got)
						}
					})
					wg.Wait()
					if got := told(h, "dave"); strings.Contains(got, "alice") {
						t.Errorf("dave was told %s", got)
					}
				})
			})
		}
	}
}

// A handler that sends interim responses without end costs no memory: not
// while its client does not read, and not when it has left.
func TestInterimResponsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held int64
		before := heapInUse()
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", strings.Repeat("x", 3<<10))
			for range 20_000 { // 60 MB
				w.WriteHeader(http.StatusEarlyHints)
			}
			held = heapInUse() - before
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, "body")
		}))
		blocked := make(chan struct{})
		go h.ServeHTTP(blockingWriter{httptest.NewRecorder(), blocked}, httptest.NewRequest("GET", "/", nil))
		synctest.Wait()
		if held > 4<<20 {
			t.Errorf("%d KiB are held for a client that does not read", held>>10)
		}
		close(blocked)
		synctest.Wait()
	})
}

// A blockingWriter is of a client that does not read.
type blockingWriter struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (w blockingWriter) WriteHeader(status int) { <-w.until }
