package middleware

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A deadWriter is of a client that does not read: a write ends when a deadline
// has passed.
type deadWriter struct {
	h       http.Header
	once    sync.Once
	cut     chan struct{}
	writing atomic.Bool
}

func (w *deadWriter) Header() http.Header { return w.h }
func (w *deadWriter) WriteHeader(int)     {}
func (w *deadWriter) Write([]byte) (int, error) {
	w.writing.Store(true)
	<-w.cut
	return 0, net.ErrClosed
}

func (w *deadWriter) SetWriteDeadline(t time.Time) error {
	if time.Until(t) < 0 {
		w.once.Do(func() { close(w.cut) })
	}
	return nil
}

// Clients that do not read what they are sent, from the store or from a run,
// keep at most a share of the budget beyond what is stored: those who have read
// for the longest time are cut off, and nobody else.
func TestClientsThatDoNotReadPinAShareOfTheBudget(t *testing.T) {
	for _, from := range []string{"store", "run"} {
		t.Run(from, func(t *testing.T) {
			const budget, size, clients = 32 << 20, 2 << 20, 64
			c := newCache(t, Options{MaxBytes: budget})
			c.pinned.every = 0
			h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, _ = w.Write(make([]byte, size))
			}))
			before := heapInUse()
			var wg sync.WaitGroup
			writers := make([]*deadWriter, clients)
			for i := range clients {
				target := fmt.Sprint("/", i)
				if from == "store" {
					get(h, target)
				}
				w := &deadWriter{h: make(http.Header), cut: make(chan struct{})}
				writers[i] = w
				wg.Go(func() {
					_ = raised(func() { h.ServeHTTP(w, httptest.NewRequest("GET", target, nil)) })
				})
				// A real clock, since nothing tells that a goroutine is blocked in a write.
				for range 1000 {
					time.Sleep(time.Millisecond)
					if s := c.Stats(); w.writing.Load() && s.WindowBytes < budget/8 && s.Entries+int64(s.Evictions+s.Refusals) > int64(i) {
						break
					}
				}
				if from == "store" {
					get(h, fmt.Sprint("/other", i))
				}
			}
			if held := heapInUse() - before; held > budget*13/10 {
				t.Errorf("%d KiB are held at a budget of %d", held>>10, budget>>10)
			}
			cut := 0
			for _, w := range writers {
				select {
				case <-w.cut:
					cut++
				default:
				}
			}
			if cut == 0 || cut == clients {
				t.Errorf("%d of %d clients were cut", cut, clients)
			}
			for _, w := range writers {
				_ = w.SetWriteDeadline(time.Unix(1, 0))
			}
			wg.Wait()
			if n := c.pinned.count.Load(); n != 0 {
				t.Errorf("%d bodies are still watched", n)
			}
		})
	}
}
