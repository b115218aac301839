package cachefetch

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// BenchmarkBackendRead is what a load pays for asking a backend that answers
// at once, against a load without one.
func BenchmarkBackendRead(b *testing.B) {
	for _, bm := range []struct {
		name    string
		backend backend.Backend
	}{{"none", nil}, {"hit", new(backendtest.Memory)}} {
		b.Run(bm.name, func(b *testing.B) {
			c := newTest(b, Options[string]{MaxBytes: 1 << 20, TTL: time.Hour, Backend: bm.backend})
			load := func(context.Context) (string, error) { return "Alice", nil }
			for b.Loop() {
				c.store.Forget()
				if _, err := c.Fetch(b.Context(), "a", load); err != nil {
					b.Fatal(err)
				}
			}
			s := c.Stats()
			b.ReportMetric(float64(s.Backend.Hits)/float64(b.N), "backend-hits/op")
		})
	}
}
