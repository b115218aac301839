package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkTransport compares a request through a Transport with one through
// the net/http transport underneath.
func BenchmarkTransport(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer srv.Close()
	tr := newTestTransport(b, Options{})
	for _, t := range []struct {
		name string
		http.RoundTripper
	}{{"pool alone", tr.pool.Load()}, {"Transport", tr}} {
		b.Run(t.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := get(b.Context(), t, srv.URL); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
