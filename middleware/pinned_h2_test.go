package middleware

import (
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// Streams that may send nothing do not hold bodies beyond the budget that the
// store has let go of. The same clients of the bare handler are the measure.
// Sockets, and net/http's flow control, need a real clock.
func TestStreamsThatReadNothingStayInTheBudget(t *testing.T) {
	const budget, body, conns, streams = 4 << 20, 60 << 10, 8, 100
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	measure := func(h http.Handler, begun *atomic.Int64) int64 {
		before := heap()
		srv := serveH2(t, h)
		addr := srv.Listener.Addr().String()
		for i := range conns {
			c := dialH2(t, addr, 0)
			defer c.Close()
			for j := range streams {
				before := begun.Load()
				c.get(addr, fmt.Sprintf("/%d/%d", i, j))
				// One after the other, so that nearly each is stored.
				for end := time.Now().Add(100 * time.Millisecond); begun.Load() == before && time.Now().Before(end); {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}
		for deadline := time.Now().Add(5 * time.Second); begun.Load() < conns*streams && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond)
		t.Logf("%d begun", begun.Load())
		return heap() - before
	}
	page := make([]byte, body) // the bare handler has its body from elsewhere
	var bare, cached atomic.Int64
	floor := measure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bare.Add(1)
		_, _ = w.Write(page)
	}), &bare)
	c := newCache(t, Options{MaxBytes: budget})
	used := measure(c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Content-Length", fmt.Sprint(len(page)))
		_, _ = w.Write(page)
		cached.Add(1)
	})), &cached)
	t.Logf("budget %d KiB, the cache counts %d KiB, heap: %d KiB, of these without a cache %d KiB", budget>>10, c.Stats().Bytes>>10, used>>10, floor>>10)
	if over := used - floor; over > budget*3/2 {
		t.Errorf("%d KiB of heap for a budget of %d KiB", over>>10, budget>>10)
	}
}

// Nor do clients that do not read hold bodies beyond it that were shared and are
// not stored in the end. By a real clock, for the same reason.
func TestBodiesThatAreNotStoredStayInTheBudget(t *testing.T) {
	const budget, body, clients = 8 << 20, 1<<20 - 200, 60
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	page := make([]byte, body)
	for _, row := range []struct {
		name    string
		policy  Policy
		control string
		takes   time.Duration
		purge   bool
	}{
		{name: "stored", control: "max-age=600"}, // for comparison
		{name: "stale on arrival", control: "max-age=1", takes: 1100 * time.Millisecond},
		{name: "larger than its share", policy: Policy{MaxBytes: 1 << 20}, control: "max-age=600"},
		{name: "purged meanwhile", control: "max-age=600", purge: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := heap()
			var done atomic.Int64
			c := newCache(t, Options{MaxBytes: budget})
			srv := serveH2(t, c.Handler(row.policy)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(row.takes)
				w.Header().Set("Cache-Control", row.control)
				w.Header().Set("Content-Length", fmt.Sprint(body))
				_, _ = w.Write(page[:body/2])
				if row.purge {
					_ = c.Flush(t.Context(), Hard)
				}
				_, _ = w.Write(page[body/2:])
				done.Add(1)
			})))
			evil := dialH2(t, srv.Listener.Addr().String(), 0)
			defer evil.Close()
			for i := range clients {
				evil.get("a", fmt.Sprint("/", i))
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(row.takes + 300*time.Millisecond)
			used := heap() - before
			t.Logf("%d handlers done, the cache counts %d KiB, heap %d KiB, budget %d KiB", done.Load(), c.Stats().Bytes>>10, used>>10, budget>>10)
			if used > budget*3/2 {
				t.Errorf("%d KiB of heap for a budget of %d KiB", used>>10, budget>>10)
			}
		})
	}
}
