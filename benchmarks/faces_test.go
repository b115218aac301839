package benchmarks

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// BenchmarkTransportHit is a hit of the cache as a round tripper, 1 KiB, read
// to its end.
func BenchmarkTransportHit(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<10))
	}))
	defer upstream.Close()
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	rt := cache.Transport(cachemw.Policy{TTL: time.Hour}, nil)
	r, err := http.NewRequest("GET", upstream.URL+"/a?b=1", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := rt.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if calls := cache.Stats().OriginCalls; calls != 1 {
		b.Errorf("%d upstream calls", calls)
	}
}

// BenchmarkPurgeTag purges ten and a hundred thousand responses of one tag.
func BenchmarkPurgeTag(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cache, err := cachemw.New(cachemw.Options{MaxBytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer cache.Close()
			h := cache.Handler(cachemw.Policy{TTL: time.Hour})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Surrogate-Key", "k")
				_, _ = io.WriteString(w, "x")
			}))
			for i := range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprint("/", i), nil))
			}
			for b.Loop() {
				if err := cache.PurgeTag(b.Context(), "k", cachemw.Hard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
