//go:build !race

package benchmarks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// Heap that a full cache really takes against what it counts.
func TestBudgetCountsWhatIsHeld(t *testing.T) {
	for _, size := range []int{200, 2 << 10, 50 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const budget = 64 << 20
			before := heap()
			c := newCache(t, budget)
			h := c.Handler(cachemw.Policy{Name: "memory", TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(make([]byte, size))
			}))
			for i := range 2 * budget / size {
				if i > 200_000 {
					break
				}
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprintf("/items/%d", i), nil))
			}
			used := heap() - before
			s := c.Stats()
			t.Logf("%d bytes a body: %d entries, %d MiB counted, %d MiB of heap, %.2f x", size, s.Entries, s.Bytes>>20, used>>20, float64(used)/float64(s.Bytes))
			if s.Bytes > budget {
				t.Errorf("%d bytes counted, budget %d", s.Bytes, budget)
			}
			if float64(used) > 1.3*budget {
				t.Errorf("%d bytes of heap for a budget of %d", used, budget)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
