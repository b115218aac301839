package benchmarks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func newCache(tb testing.TB, maxBytes int64) *cachemw.Cache {
	tb.Helper()
	c, err := cachemw.New(cachemw.Options{MaxBytes: maxBytes})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func BenchmarkHandler(b *testing.B) {
	targets, err := Hits(newCache(b, 64<<20))
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range append([]Target{Floor()}, targets...) {
		b.Run(t.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t.Do()
			}
		})
	}
}

func BenchmarkFetch(b *testing.B) {
	t, closeCache, err := Fetch()
	if err != nil {
		b.Fatal(err)
	}
	defer closeCache() //nolint:errcheck // nothing runs
	b.Run(t.Name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			t.Do()
		}
	})
	b.Run("ristretto.Get", func(b *testing.B) {
		c, err := ristretto.NewCache(&ristretto.Config[string, string]{NumCounters: 1e4, MaxCost: 1 << 20, BufferItems: 64})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		c.Set("user:12345678", "value", 1)
		c.Wait()
		b.ReportAllocs()
		for b.Loop() {
			c.Get("user:12345678")
		}
	})
}

// BenchmarkGrowth hits entries in turn, so that larger caches miss the
// processor's caches more often: the worst order there is. Every entry has
// been hit before, as in a cache that has been running for a while.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCache(b, 4<<30)
			h := c.Handler(cachemw.Policy{Name: "growth", TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(body[:64])
			}))
			w := &Writer{H: make(http.Header)}
			r := Request("GET")
			paths := make([]string, n)
			for i := range paths {
				paths[i] = fmt.Sprintf("/products/%d", i)
				r.URL.Path, r.RequestURI = paths[i], paths[i]+"?"+r.URL.RawQuery
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
			runtime.GC()
			uris := make([]string, n)
			for i := range uris {
				uris[i] = paths[i] + "?" + r.URL.RawQuery
			}
			for range 16 { // the first hits of an entry in a round are counted by the store
				for i := range paths {
					r.URL.Path, r.RequestURI = paths[i], uris[i]
					h.ServeHTTP(w, r)
				}
			}
			i := 0
			b.ResetTimer()
			for b.Loop() {
				if i++; i == n {
					i = 0
				}
				r.URL.Path, r.RequestURI = paths[i], uris[i]
				h.ServeHTTP(w, r)
			}
			if s := c.Stats(); s.OriginCalls != uint64(n) {
				b.Errorf("%d origin calls, want %d", s.OriginCalls, n)
			}
		})
	}
}
