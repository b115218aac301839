package cachefetch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backendtest"
)

var errUpstream = errors.New("upstream is down")

// node returns one of several caches that share b.
func node(t *testing.T, b cachefetch.Backend, change ...func(*cachefetch.Options[string])) *cachefetch.Cache[string] {
	t.Helper()
	o := cachefetch.Options[string]{MaxBytes: 1 << 20, Backend: b, TTL: time.Minute}
	for _, f := range change {
		f(&o)
	}
	c, err := cachefetch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantLoad fetches key and checks the answer, and whether it was loaded.
func wantLoad(t *testing.T, c *cachefetch.Cache[string], key, upstream string, upstreamErr error, want string, wantLoaded bool) {
	t.Helper()
	loaded := false
	v, err := c.Fetch(t.Context(), key, func(context.Context) (string, error) {
		loaded = true
		return upstream, upstreamErr
	})
	if v != want || err != nil && want != "" || loaded != wantLoaded {
		t.Errorf("Fetch(%q) = %q, %v, loaded: %v, want %q, loaded: %v", key, v, err, loaded, want, wantLoaded)
	}
}

// What one process has loaded, another one need not load.
func TestBackendSharesLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		first, second := node(t, b), node(t, b)
		wantLoad(t, first, "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		wantLoad(t, second, "a", "Bob", nil, "Alice", false)
		time.Sleep(time.Minute) // the copy is no longer fresh than the original
		wantLoad(t, second, "a", "Carol", nil, "Carol", true)
		if s := second.Stats(); s.Backend.Hits != 1 || s.Backend.Misses != 1 || s.Loads != 1 {
			t.Errorf("%+v", s)
		}
	})
}
