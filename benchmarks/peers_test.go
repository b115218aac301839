package benchmarks

import (
	"context"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"
	"github.com/viccon/sturdyc"

	"github.com/freshet-go/freshet/cachefetch"
)

const peerKey = "user:12345678"

// peers are caches of strings that hold peerKey, each with what it does for a
// hit. Those with a loader use it: it is what the hit is compared with. Bare
// ristretto and golang-lru have none, and nothing expires in them.
var peers = []struct {
	name string
	open func(b *testing.B) (hit func() string)
}{
	{"cachefetch.Fetch", func(b *testing.B) func() string {
		c := peerCache(b, cachefetch.Options[string]{})
		return func() string { v, _ := c.Fetch(context.Background(), peerKey, peerLoad); return v }
	}},
	{"cachefetch.Fetch with EarlyRefresh", func(b *testing.B) func() string {
		c := peerCache(b, cachefetch.Options[string]{EarlyRefresh: 1})
		return func() string { v, _ := c.Fetch(context.Background(), peerKey, peerLoad); return v }
	}},
	{"cachefetch.FetchItem", func(b *testing.B) func() string {
		c := peerCache(b, cachefetch.Options[string]{})
		load := func(ctx context.Context, _ *cachefetch.Item[string]) (cachefetch.Item[string], error) {
			v, err := peerLoad(ctx)
			return cachefetch.Item[string]{Value: v}, err
		}
		return func() string { r, _ := c.FetchItem(context.Background(), peerKey, load); return r.Value }
	}},
	{"ristretto.Get", func(b *testing.B) func() string {
		c, err := ristretto.NewCache(&ristretto.Config[string, string]{NumCounters: 1e4, MaxCost: 1 << 20, BufferItems: 64})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		c.Set(peerKey, "value", 1)
		c.Wait()
		return func() string { v, _ := c.Get(peerKey); return v }
	}},
	{"otter.Get", func(b *testing.B) func() string {
		c := otter.Must(&otter.Options[string, string]{MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, string](time.Hour)})
		load := otter.LoaderFunc[string, string](func(ctx context.Context, _ string) (string, error) { return peerLoad(ctx) })
		return func() string { v, _ := c.Get(context.Background(), peerKey, load); return v }
	}},
	{"sturdyc.GetOrFetch", func(b *testing.B) func() string {
		c := sturdyc.New[string](10_000, 10, time.Hour, 10)
		return func() string { v, _ := c.GetOrFetch(context.Background(), peerKey, peerLoad); return v }
	}},
	{"golang-lru.Get", func(b *testing.B) func() string {
		c, err := lru.New[string, string](10_000)
		if err != nil {
			b.Fatal(err)
		}
		c.Add(peerKey, "value")
		return func() string { v, _ := c.Get(peerKey); return v }
	}},
}

func peerLoad(context.Context) (string, error) { return "value", nil }

func peerCache(b *testing.B, o cachefetch.Options[string]) *cachefetch.Cache[string] {
	b.Helper()
	o.MaxBytes, o.TTL = 1<<20, time.Hour
	c, err := cachefetch.New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// BenchmarkPeers is one hit, from one goroutine and from all.
func BenchmarkPeers(b *testing.B) {
	for _, p := range peers {
		hit := p.open(b)
		if v := hit(); v != "value" {
			b.Fatalf("%s: %q", p.name, v)
		}
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hit()
			}
		})
		b.Run(p.name+" parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					hit()
				}
			})
		})
	}
}
