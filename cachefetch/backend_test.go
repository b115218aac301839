package cachefetch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

var errUpstream = errors.New("upstream is down")

// node returns one of several caches that share b.
func node(t *testing.T, b backend.Backend, change ...func(*cachefetch.Options[string])) *cachefetch.Cache[string] {
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

// Without messages, and without anything but Get, Set and Delete.
func TestBackendPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		plain := struct{ backend.Backend }{b}
		first, second := node(t, plain), node(t, plain)
		wantLoad(t, first, "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		wantLoad(t, second, "a", "Bob", nil, "Alice", false)
		if err := first.Delete(t.Context(), "a"); err != nil || b.Len() != 0 {
			t.Errorf("Delete: %v, %d values left", err, b.Len())
		}
		wantLoad(t, second, "a", "Bob", nil, "Alice", false) // has not heard of it
		wantLoad(t, first, "a", "Carol", nil, "Carol", true)
	})
}

// A Delete or Set in one process is one in all.
func TestBackendTellsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		first, second := node(t, b), node(t, b)
		synctest.Wait()
		wantLoad(t, first, "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		wantLoad(t, second, "a", "", nil, "Alice", false)
		if err := second.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v, ok := first.Get("a"); ok {
			t.Errorf("deleted elsewhere, and still %q", v)
		}
		time.Sleep(2 * time.Second)
		wantLoad(t, first, "a", "Bob", nil, "Bob", true)
		synctest.Wait()
		wantLoad(t, second, "a", "", nil, "Bob", false)
		if err := first.Set(t.Context(), "a", "Carol"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v, _ := first.Get("a"); v != "Carol" {
			t.Errorf("the process that set it has %q: it has heard itself", v)
		}
		wantLoad(t, second, "a", "", nil, "Carol", false)
		if s := first.Stats().Backend; s.Received != 1 || s.Resyncs != 0 {
			t.Errorf("%+v, want one message of the other process", s)
		}
	})
}

// Two kinds of things in one backend do not meet, nor do their messages.
func TestBackendPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		prefix := func(p string) func(*cachefetch.Options[string]) {
			return func(o *cachefetch.Options[string]) { o.BackendPrefix = p }
		}
		users, orders := node(t, b, prefix("users:")), node(t, b, prefix("orders:"))
		synctest.Wait()
		wantLoad(t, users, "7", "Alice", nil, "Alice", true)
		synctest.Wait()
		wantLoad(t, orders, "7", "shoes", nil, "shoes", true)
		if err := users.Delete(t.Context(), "7"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v, _ := orders.Get("7"); v != "shoes" {
			t.Errorf("got %q", v)
		}
	})
}

// A process that may have missed messages looks everything up again, in the
// backend, not upstream.
func TestBackendResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		lossy := &loses{Memory: b}
		first, second := node(t, lossy), node(t, b)
		time.Sleep(2 * time.Second) // until what is read is kept for longer
		for _, key := range []string{"kept", "deleted"} {
			wantLoad(t, first, key, "Alice", nil, "Alice", true)
			synctest.Wait()
			wantLoad(t, second, key, "", nil, "Alice", false)
		}
		time.Sleep(2 * time.Second)
		if err := first.Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantLoad(t, second, "deleted", "", nil, "Alice", false) // the message is lost
		b.Disconnect()
		synctest.Wait()
		wantLoad(t, second, "kept", "", nil, "Alice", false)
		wantLoad(t, second, "deleted", "Bob", nil, "Bob", true)
		if s := second.Stats().Backend; s.Resyncs != 1 {
			t.Errorf("%d resyncs, want 1", s.Resyncs)
		}
	})
}

// loses has messages that reach nobody.
type loses struct{ *backendtest.Memory }

func (loses) Publish(context.Context, []byte) error { return nil }

// A subscription that fails is made again, ever more rarely.
func TestBackendSubscribesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &unsubscribed{}
		c := node(t, b)
		time.Sleep(10 * time.Minute)
		if n := b.calls.Load(); n < 15 || n > 50 {
			t.Errorf("%d calls of Subscribe in ten minutes", n)
		}
		wantLoad(t, c, "a", "Alice", nil, "Alice", true)
	})
}

type unsubscribed struct {
	backendtest.Memory
	calls atomic.Int32
}

func (u *unsubscribed) Subscribe(context.Context, func([]byte), func()) error {
	if u.calls.Add(1)%2 == 0 {
		panic("no channel")
	}
	return errUpstream
}

// A backend that does not let go of a subscription does not hold Close for long.
func TestBackendCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 1 << 20, Backend: new(clinging)})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("Close took %v", took)
		}
		time.Sleep(time.Hour)
	})
}

type clinging struct{ backendtest.Memory }

func (*clinging) Subscribe(context.Context, func([]byte), func()) error {
	time.Sleep(time.Hour)
	return nil
}

// A load that was under way when its key was deleted is not written.
func TestBackendDeleteDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		first, second := node(t, b), node(t, b)
		go first.Fetch(t.Context(), "a", func(context.Context) (string, error) {
			time.Sleep(3 * time.Second)
			return "old", nil
		})
		go second.Fetch(t.Context(), "a", func(context.Context) (string, error) {
			time.Sleep(3 * time.Second)
			return "old", nil
		})
		time.Sleep(time.Second)
		if err := first.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if n := b.Len(); n != 0 {
			t.Errorf("%d values in the backend, want none", n)
		}
		for _, c := range []*cachefetch.Cache[string]{first, second} {
			if v, ok := c.Get("a"); ok {
				t.Errorf("got %q, loaded before the delete", v)
			}
		}
	})
}

// "Not found" takes away what the backend has.
func TestBackendNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		c := node(t, b)
		if err := c.Set(t.Context(), "a", "Alice"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		_, err := c.Fetch(t.Context(), "a", func(context.Context) (string, error) { return "", cachefetch.ErrNotFound })
		synctest.Wait()
		if n := b.Len(); !errors.Is(err, cachefetch.ErrNotFound) || n != 0 {
			t.Errorf("%v, %d values in the backend", err, n)
		}
	})
}

// A value that is too large to be kept here takes away the one before it.
func TestBackendSetTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		c, other := node(t, b), node(t, b)
		synctest.Wait()
		wantLoad(t, other, "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		if err := c.Set(t.Context(), "a", string(make([]byte, 1<<20))); !errors.Is(err, cachefetch.ErrTooLarge) {
			t.Errorf("Set: %v, want ErrTooLarge", err)
		}
		synctest.Wait()
		if v, ok := other.Get("a"); ok || b.Len() != 0 {
			t.Errorf("the other process has %q, the backend %d values", v, b.Len())
		}
	})
}

// What is kept longer in the backend than here is read from there again.
func TestBackendTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		longer := func(o *cachefetch.Options[string]) { o.TTL, o.BackendTTL = time.Second, time.Minute }
		plain := struct{ backend.Backend }{b} // does not hear of the Set
		first, second := node(t, plain, longer), node(t, plain, longer)
		wantLoad(t, first, "a", "Alice", nil, "Alice", true)
		for range 5 {
			time.Sleep(2 * time.Second)
			wantLoad(t, first, "a", "", nil, "Alice", false)
			wantLoad(t, second, "a", "", nil, "Alice", false)
		}
		if err := second.Set(t.Context(), "a", "Bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantLoad(t, first, "a", "", nil, "Bob", false)
		time.Sleep(time.Minute)
		wantLoad(t, first, "a", "Carol", nil, "Carol", true)
	})
}

// A stale value of the backend is returned when loading fails, inside its
// window, and the failure is not repeated at once.
func TestBackendStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		stale := func(o *cachefetch.Options[string]) { o.StaleIfError = time.Hour }
		first := node(t, b, stale)
		wantLoad(t, first, "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		time.Sleep(30 * time.Minute)
		second := node(t, b, stale)
		wantLoad(t, second, "a", "", errUpstream, "Alice", true)
		wantLoad(t, second, "a", "", errUpstream, "Alice", false) // backs off
		time.Sleep(2 * time.Second)
		wantLoad(t, second, "a", "Bob", nil, "Bob", true)
		time.Sleep(2 * time.Hour)
		third := node(t, b, stale)
		wantLoad(t, third, "a", "", errUpstream, "", true)
	})
}

// A value that may be returned while it is revalidated is, also when it comes
// from the backend; the next Fetch has it refreshed.
func TestBackendStaleWhileRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		stale := func(o *cachefetch.Options[string]) { o.StaleWhileRevalidate = time.Hour }
		wantLoad(t, node(t, b, stale), "a", "Alice", nil, "Alice", true)
		synctest.Wait()
		time.Sleep(30 * time.Minute)
		c := node(t, b, stale)
		synctest.Wait() // it subscribes
		wantLoad(t, c, "a", "Bob", nil, "Alice", false)
		v, err := c.Fetch(t.Context(), "a", func(context.Context) (string, error) { return "Carol", nil })
		synctest.Wait()
		if v != "Alice" || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
		if v, _ := c.Get("a"); v != "Carol" {
			t.Errorf("got %q after the refresh", v)
		}
	})
}

// What is held here is not replaced by something older from the backend.
func TestBackendNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		plain := struct{ backend.Backend }{b}
		o := func(o *cachefetch.Options[string]) { o.StaleIfError, o.BackendTTL = time.Hour, time.Hour }
		old, c := node(t, plain, o), node(t, &readOnly{plain}, o)
		wantLoad(t, old, "a", "old", nil, "old", true)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		if err := c.Set(t.Context(), "a", "new"); err != nil { // and it is not written
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantLoad(t, c, "a", "", errUpstream, "new", true)
		time.Sleep(time.Minute)
		wantLoad(t, c, "a", "newer", nil, "newer", true)
	})
}

// readOnly says that it has written.
type readOnly struct{ backend.Backend }

func (readOnly) Set(context.Context, string, []byte, time.Duration) error { return nil }

// A load can validate what only the backend still has.
func TestBackendValidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, validated := new(backendtest.Memory), 0
		load := func(c *cachefetch.Cache[string]) cachefetch.Result[string] {
			r, err := c.FetchItem(t.Context(), "a", func(_ context.Context, old *cachefetch.Item[string]) (cachefetch.Item[string], error) {
				if old != nil && old.ETag == `"1"` {
					validated++
					return cachefetch.Item[string]{NotModified: true}, nil
				}
				return cachefetch.Item[string]{Value: "Alice", ETag: `"1"`, Tags: []string{"users"}}, nil
			})
			if err != nil {
				t.Error(err)
			}
			return r
		}
		load(node(t, b))
		synctest.Wait()
		time.Sleep(10 * time.Minute) // it may not be returned any more
		c := node(t, b)
		if r := load(c); r.Value != "Alice" || validated != 1 {
			t.Errorf("%+v, validated %d times, want once", r, validated)
		}
		if err := c.PurgeTag(t.Context(), "users", cachefetch.Hard); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get("a"); ok {
			t.Error("the tags were lost on the way")
		}
	})
}

// A purge holds in processes that have been told, in those that have not, and
// in those that are started after it.
func TestBackendPurges(t *testing.T) {
	for name, purge := range map[string]func(*cachefetch.Cache[string], context.Context) error{
		"tag": func(c *cachefetch.Cache[string], ctx context.Context) error {
			return c.PurgeTag(ctx, "users", cachefetch.Hard)
		},
		"prefix": func(c *cachefetch.Cache[string], ctx context.Context) error {
			return c.PurgePrefix(ctx, "user ", cachefetch.Hard)
		},
		"flush": func(c *cachefetch.Cache[string], ctx context.Context) error {
			return c.Flush(ctx, cachefetch.Hard)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(backendtest.Memory)
				c, told := node(t, b), node(t, b)
				plain := struct{ backend.Backend }{b}
				synctest.Wait()
				fetch := func(c *cachefetch.Cache[string], key, tag, v string) string {
					r, err := c.FetchItem(t.Context(), key, func(context.Context, *cachefetch.Item[string]) (cachefetch.Item[string], error) {
						return cachefetch.Item[string]{Value: v, Tags: []string{tag}}, nil
					})
					if err != nil {
						t.Error(err)
					}
					synctest.Wait()
					return r.Value
				}
				fetch(c, "user 7", "users", "old")
				fetch(told, "user 7", "users", "")
				fetch(c, "order 7", "orders", "shoes")
				time.Sleep(2 * time.Second)
				if err := purge(c, t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for who, c := range map[string]*cachefetch.Cache[string]{
					"that purged": c, "that was told": told,
					"that was started later": node(t, b), "that hears nothing": node(t, plain),
				} {
					if got := fetch(c, "user 7", "users", "new"); got != "new" {
						t.Errorf("the process %s returns %q", who, got)
					}
				}
				if name == "tag" {
					if got := fetch(node(t, b), "order 7", "orders", "boots"); got != "shoes" {
						t.Errorf("what does not have the tag was purged: got %q", got)
					}
				}
			})
		})
	}
}

// A soft purge leaves others what they have as stale.
func TestBackendSoftPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		stale := func(o *cachefetch.Options[string]) { o.StaleIfError = time.Hour }
		c, told := node(t, b, stale), node(t, b, stale)
		time.Sleep(2 * time.Second) // until what is read is kept for longer
		wantLoad(t, c, "user 7", "Alice", nil, "Alice", true)
		synctest.Wait()
		wantLoad(t, told, "user 7", "", nil, "Alice", false)
		time.Sleep(2 * time.Second)
		if err := c.PurgePrefix(t.Context(), "user ", cachefetch.Soft); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantLoad(t, told, "user 7", "", errUpstream, "Alice", true)
		wantLoad(t, c, "user 7", "Bob", nil, "Bob", true)
	})
}

// FetchMany reads each key from the backend, all side by side.
func TestBackendFetchMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := backendtest.NewFaulty(new(backendtest.Memory), 1)
		var keys []string
		for i := range 400 { // more than are read at a time
			keys = append(keys, fmt.Sprint(i))
		}
		load := func(_ context.Context, keys []string) (map[string]string, error) {
			values := make(map[string]string)
			for _, key := range keys {
				values[key] = "value of " + key
			}
			return values, nil
		}
		room := func(o *cachefetch.Options[string]) { o.MaxBytes = 64 << 20 } // for the queue too
		if _, err := node(t, f, room).FetchMany(t.Context(), keys, load); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		f.Misbehave(backendtest.Faults{Slow: 1, SlowFor: time.Millisecond})
		c := node(t, f, room)
		start := time.Now()
		results, err := c.FetchMany(t.Context(), keys, load)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Value != "value of "+keys[i] {
				t.Fatalf("key %q: %+v", keys[i], r)
			}
		}
		if s := c.Stats(); s.Loads != 0 || s.Backend.Hits != 400 {
			t.Errorf("%d loads, %d hits of the backend, want 0, 400", s.Loads, s.Backend.Hits)
		}
		if took := time.Since(start); took > 20*time.Millisecond {
			t.Errorf("took %v for reads of a millisecond", took)
		}
	})
}

// Very many purges of other tags do not make what the backend has unused.
func TestBackendManyPurges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := node(t, new(backendtest.Memory), func(o *cachefetch.Options[string]) { o.TTL, o.BackendTTL = time.Second, time.Hour })
		for _, tag := range []string{"kept", "purged"} {
			if err := c.SetItem(t.Context(), tag, cachefetch.Item[string]{Value: "old", Tags: []string{tag}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if err := c.PurgeTag(t.Context(), "purged", cachefetch.Hard); err != nil {
			t.Fatal(err)
		}
		for i := range 10_001 { // it forgets the one above
			if err := c.PurgeTag(t.Context(), fmt.Sprint(i), cachefetch.Hard); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		wantLoad(t, c, "kept", "new", nil, "old", false)
		wantLoad(t, c, "purged", "new", nil, "new", true)
	})
}

// A lifetime without end has none in the backend either.
func TestBackendForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backendtest.Memory)
		first := node(t, b)
		it := cachefetch.Item[string]{Value: "v", TTL: math.MaxInt64, StaleWhileRevalidate: math.MaxInt64, StaleIfError: math.MaxInt64, ETag: "1"}
		if err := first.SetItem(t.Context(), "a", it); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		wantLoad(t, node(t, b), "a", "new", nil, "v", false)
	})
}

// Values that are set while messages begin to come are in the backend, and so
// found by everyone, although memory is being forgotten.
func TestBackendSetWhileConnecting(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			b := &connecting{Memory: new(backendtest.Memory), now: make(chan struct{})}
			c := node(t, b)
			var set sync.WaitGroup
			for g := range 4 {
				set.Go(func() {
					for i := range 20 {
						if i == 10 && g == 0 {
							close(b.now)
						}
						if err := c.Set(t.Context(), fmt.Sprint(g, i), "v"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			set.Wait()
			for g := range 4 {
				for i := range 20 {
					wantLoad(t, c, fmt.Sprint(g, i), "loaded", nil, "v", false)
				}
			}
		})
	}
}

// connecting subscribes when now is closed.
type connecting struct {
	*backendtest.Memory
	now chan struct{}
}

func (b *connecting) Subscribe(ctx context.Context, receive func([]byte), connected func()) error {
	<-b.now
	return b.Memory.Subscribe(ctx, receive, connected)
}
