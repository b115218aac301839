package cachefetch

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errUpstream = errors.New("upstream is down")

// newTest returns a cache that is closed at the end of t.
func newTest[V any](t testing.TB, o Options[V]) *Cache[V] {
	t.Helper()
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// bubble runs f in a synctest bubble with a cache of strings.
func bubble(t *testing.T, o Options[string], f func(t *testing.T, c *Cache[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newTest(t, o)) })
}

// A loader counts its loads.
type loader struct{ loads atomic.Int64 }

// returns makes a load that takes a while, unless its context ends before.
func (l *loader) returns(v string, err error, took time.Duration) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		l.loads.Add(1)
		if took == 0 {
			return v, err
		}
		select {
		case <-time.After(took):
			return v, err
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (l *loader) want(t *testing.T, n int64) {
	t.Helper()
	if got := l.loads.Load(); got != n {
		t.Errorf("%d loads, want %d", got, n)
	}
}

// wantFetch fetches key and checks the answer.
func wantFetch(t *testing.T, c *Cache[string], key string, load func(context.Context) (string, error), want string, wantErr error) {
	t.Helper()
	v, err := c.Fetch(t.Context(), key, load)
	if v != want || !errors.Is(err, wantErr) {
		t.Errorf("Fetch(%q) = %q, %v, want %q, %v", key, v, err, want, wantErr)
	}
}

func wantGet(t *testing.T, c *Cache[string], key, want string) {
	t.Helper()
	if v, ok := c.Get(key); v != want || ok != (want != "") {
		t.Errorf("Get(%q) = %q, %v, want %q", key, v, ok, want)
	}
}

func set(t *testing.T, c *Cache[string], key, v string) {
	t.Helper()
	if err := c.Set(t.Context(), key, v); err != nil {
		t.Errorf("Set(%q): %v", key, err)
	}
}

func hashOf(c *Cache[string], key string) uint64 { return maphash.String(c.seed, key) }
