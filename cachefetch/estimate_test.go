package cachefetch

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// estimated returns the estimate for a value, of at most 1 GiB.
func estimated[V any](t *testing.T, v V) int64 {
	t.Helper()
	estimate, err := newEstimate[V](1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	return estimate(v)
}

// Aliases at one address are not taken for each other.
func TestEstimateSeesThroughAliases(t *testing.T) {
	type cursor struct {
		First *string
		All   []string
	}
	all := []string{"a", strings.Repeat("x", 1000)}
	if got := estimated(t, cursor{&all[0], all}); got < 1000 {
		t.Errorf("%d bytes, of which one string has 1000", got)
	}
	if got := estimated(t, [][]string{all[:1], all}); got < 1000 {
		t.Errorf("%d bytes behind a prefix, want 1000", got)
	}
	type node struct{ Next *node }
	ring := &node{}
	ring.Next = ring
	if got := estimated(t, ring); got > 100 {
		t.Errorf("a ring of one node: %d bytes", got)
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add("text", []byte{1, 2}, 3)
	f.Fuzz(func(t *testing.T, s string, b []byte, depth int) {
		var v any = s
		for i := range max(0, min(depth, 50)) {
			switch i % 4 {
			case 0:
				v = map[string]any{s: v, "": nil}
			case 1:
				v = []any{v, b, nil}
			case 2:
				inner := v
				v = &inner
			case 3:
				v = struct{ a any }{v}
			}
		}
		if got := estimated(t, v); got < int64(len(s)) {
			t.Errorf("%d bytes, a string within has %d", got, len(s))
		}
	})
}

// What changes while it is in use is not read: the runtime would end the process
// when it finds a map being written.
func TestEstimateRefusesTypesThatLive(t *testing.T) {
	type guarded struct {
		Map map[string]int
		Mu  sync.RWMutex
	}
	type byChannel struct {
		Map map[string]int
		In  chan string
	}
	type counted struct{ N atomic.Int64 }
	type outside struct{ Handle uintptr }
	for _, tt := range []struct {
		path string
		err  error
	}{
		{"cachefetch.guarded.Mu is a sync.RWMutex", errorOf[guarded]()},
		{"cachefetch.guarded.Mu is a sync.RWMutex", errorOf[map[string][]*guarded]()},
		{"cachefetch.guarded.Mu is a sync.RWMutex", errorOf[map[*guarded]int]()},
		{"struct { sync.Mutex }.Mutex is a sync.Mutex", errorOf[struct{ sync.Mutex }]()},
		{"struct { l sync.Locker }.l is a sync.Locker", errorOf[struct{ l sync.Locker }]()},
		{"cachefetch.byChannel.In is a chan string", errorOf[*byChannel]()},
		{"cachefetch.counted.N is a atomic.Int64", errorOf[[3]counted]()},
		{"cachefetch.outside.Handle is a uintptr", errorOf[outside]()},
		{"*sync.Map is a sync.Map", errorOf[*sync.Map]()},
	} {
		if want := "must be set: " + tt.path + ", so"; tt.err == nil || !strings.HasPrefix(tt.err.Error(), want) {
			t.Errorf("%v, want %q...", tt.err, want)
		}
	}
	if _, err := New(Options[*guarded]{}); err == nil || !strings.HasPrefix(err.Error(), "cachefetch: Options.Cost: <nil>: must be set: ") {
		t.Errorf("New: %v", err)
	}
	c, err := New(Options[*guarded]{Cost: func(*guarded) int64 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func errorOf[V any]() error {
	_, err := newEstimate[V](1)
	return err
}

// For go test -race: what an interface holds is only met when it is walked.
func TestEstimateDoesNotReadWhatLivesBehindAnInterface(t *testing.T) {
	type owner struct {
		mu sync.Mutex
		m  map[string]string
	}
	type value struct {
		Name string
		Any  any
		Body io.Reader
		In   []any
	}
	o := &owner{m: make(map[string]string)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			o.mu.Lock()
			o.m[strings.Repeat("k", i%100)] = "v"
			o.mu.Unlock()
		}
	})
	for range 1000 {
		if got := estimated(t, value{"name", o, nil, []any{o, map[string]any{"o": o}}}); got > 4096 {
			t.Fatalf("%d bytes", got)
		}
	}
	close(stop)
	wg.Wait()
}

func TestEstimateIsExactWhateverTheNumberOfParts(t *testing.T) {
	list := make([]string, 400_000)
	for i := range list {
		list[i] = strings.Repeat("x", 64)
	}
	want := int64(400_000 * (64 + unsafe.Sizeof("")))
	if got := estimated(t, list); got < want || got > want+100 {
		t.Errorf("%d bytes, want %d", got, want)
	}
	type node struct {
		next *node
		_    [56]byte
	}
	defer debug.SetMaxStack(debug.SetMaxStack(16 << 20))
	const deep = 300_000 // than a stack may be: that would end the process
	var chain *node
	for range deep {
		chain = &node{next: chain}
	}
	if got, want := estimated(t, chain), int64(deep*unsafe.Sizeof(node{})); got < want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

// What is larger than the whole cache is not stored: there is no need to know by
// how much.
func TestEstimateStopsAtItsLimit(t *testing.T) {
	estimate, err := newEstimate[[][]byte](1000)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 2000)
	if got := estimate([][]byte{one, one[:1000:1000], make([]byte, 100<<20)}); got <= 1000 || got > 110<<20 {
		t.Errorf("%d bytes", got)
	}
}

// Lines of one buffer that were not clipped share what is behind them.
func TestEstimateCountsSharedMemoryOnce(t *testing.T) {
	buffer := make([]byte, 1<<20)
	var lines [][]byte
	for i := 0; i < len(buffer); i += 100 {
		lines = append(lines, buffer[i:min(i+50, len(buffer))])
	}
	if got := estimated(t, lines); got < 1<<20 || got > 1<<20+int64(cap(lines))*24+100 {
		t.Errorf("%d bytes for %d lines of 1 MiB", got, len(lines))
	}
	zone := time.FixedZone("a zone whose name is long enough to be counted", 3600)
	type event struct {
		At   time.Time
		Zone *time.Location
	}
	if got := estimated(t, event{time.Now().In(zone), zone}); got > 64 {
		t.Errorf("%d bytes for a time: its location is not the value's own", got)
	}
}

func TestCostIsAskedOnceAValueWithoutLocks(t *testing.T) {
	var asked atomic.Int64
	var c *Cache[string]
	c = newTest(t, Options[string]{TTL: time.Nanosecond, Cost: func(v string) int64 {
		asked.Add(1)
		if v == "calls back" { // would wait for itself if a lock were held
			done := make(chan struct{})
			go func() {
				_ = c.Delete(context.Background(), "key")
				_, _ = c.Fetch(context.Background(), "other", func(context.Context) (string, error) { return "v", nil })
				close(done)
			}()
			<-done
		}
		return int64(len(v))
	}})
	want := func(what string, n int64) {
		t.Helper()
		if got := asked.Swap(0); got != n {
			t.Errorf("%s: asked %d times, want %d", what, got, n)
		}
	}
	load := func(it Item[string], err error) {
		_, _ = c.FetchItem(t.Context(), "key", func(context.Context, *Item[string]) (Item[string], error) { return it, err })
	}
	load(Item[string]{Value: "v", ETag: "x"}, nil)
	want("a load", 1)
	load(Item[string]{NotModified: true}, nil)
	want("a load that finds the old value good", 0)
	load(Item[string]{Value: "v", NoStore: true}, nil)
	want("what is not stored", 0)
	load(Item[string]{}, ErrNotFound)
	want("what is not there", 0)
	set(t, c, "key", "v")
	want("Set", 1)
	if err := c.Set(t.Context(), "key", strings.Repeat("x", 1<<20)); err == nil {
		t.Error("too large, and no error")
	}
	want("Set of what is too large", 1)
	load(Item[string]{Value: "calls back"}, nil)
	want("a load and one inside", 2)
}

// A Cost that crashes is the caller's of Set, and part of a load: no lock stays
// held.
func TestCostThatCrashes(t *testing.T) {
	c := newTest(t, Options[string]{Cost: func(v string) int64 {
		switch v {
		case "panics":
			panic("cost")
		case "exits":
			runtime.Goexit()
		}
		return 1
	}})
	for _, v := range []string{"panics", "exits"} {
		for _, f := range []func(){
			func() { _ = c.Set(context.Background(), "key", v) },
			func() {
				_, _ = c.Fetch(context.Background(), "key", func(context.Context) (string, error) { return v, nil })
			},
		} {
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover() }()
				f()
				t.Errorf("%s: returned", v)
			})
			wg.Wait()
			set(t, c, "key", "v")
			wantGet(t, c, "key", "v")
			if err := c.Delete(t.Context(), "key"); err != nil {
				t.Error(err)
			}
		}
	}
}
