package cachefetch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errBackend = errors.New("backend is down")

// A fakeBackend is a map with faults. fault, if not nil, is called before each
// call ("get", "set", "delete"): it may wait, panic, or return an error.
type fakeBackend struct {
	mu    sync.Mutex
	m     map[string][]byte
	ttl   time.Duration // of the last Set
	calls map[string]int
	fault func(ctx context.Context, call, key string) error
}

// plant makes value what is stored under key.
func (f *fakeBackend) plant(key string, value []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[key] = value
}

// uproot removes what is stored under key.
func (f *fakeBackend) uproot(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, key)
}

// stored returns what is stored under key.
func (f *fakeBackend) stored(key string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[key]
}

func (f *fakeBackend) begin(ctx context.Context, call, key string) error {
	f.mu.Lock()
	if f.m == nil {
		f.m, f.calls = make(map[string][]byte), make(map[string]int)
	}
	f.calls[call]++
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		return fault(ctx, call, key)
	}
	return nil
}

func (f *fakeBackend) Get(ctx context.Context, key string) ([]byte, error) {
	if err := f.begin(ctx, "get", key); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.m[key]
	if !ok {
		return nil, ErrMiss
	}
	return slices.Clone(b), nil
}

func (f *fakeBackend) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := f.begin(ctx, "set", key); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[key], f.ttl = slices.Clone(value), ttl
	return nil
}

func (f *fakeBackend) Delete(ctx context.Context, key string) error {
	if err := f.begin(ctx, "delete", key); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, key)
	return nil
}

func (f *fakeBackend) setFault(fault func(ctx context.Context, call, key string) error) {
	f.mu.Lock()
	f.fault = fault
	f.mu.Unlock()
}

func (f *fakeBackend) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *fakeBackend) holds(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[key] != nil
}

func down(context.Context, string, string) error { return errBackend }

// deaf is a backend that does not answer for a while and does not care about
// contexts.
func deaf(d time.Duration) func(context.Context, string, string) error {
	return func(context.Context, string, string) error {
		time.Sleep(d)
		return nil
	}
}

// Processes of the tests: that which an l2Bubble is about, and others.
const ownTest, otherTest = 1, 2

// at returns the stamp of this moment.
func (l *l2[V]) at() stamp { return stamp{time.Now().UnixNano(), l.clock.by} }

// by returns r as another process would have made it.
func by(l *l2[string], r *record[string]) *record[string] {
	r.stamp.by = l.clock.by
	return r
}

// l2Bubble runs f in a bubble with an l2 of strings over a fake backend.
func l2Bubble(t *testing.T, f func(t *testing.T, l *l2[string], b *fakeBackend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBackend)
		l := newTestL2(t, b, ownTest)
		defer time.Sleep(2 * time.Hour) // the deaf let go of their goroutines
		defer l.close()
		f(t, l, b)
	})
}

// newTestL2 returns an l2 of a process, that of the others if none is given.
func newTestL2(t *testing.T, b Backend, by ...uint64) *l2[string] {
	t.Helper()
	l := newL2(l2Config[string]{
		backend: b, codec: StringCodec{}, prefix: "p:", budget: 50 * time.Millisecond,
		maxOps: 100, maxBytes: 1 << 20, clock: &stampClock{by: append(by, otherTest)[0]},
		leaseWait:  time.Second,
		purged:     func(string, []string, int64) bool { return false },
		forgotten:  func() int64 { return 0 },
		applyPurge: func(purge, stamp) {},
		resync:     func() {},
	})
	l.begin()
	return l
}

// newRecord returns a record that is fresh for a minute.
func newRecord(value string) *record[string] {
	now := time.Now()
	until := now.Add(time.Minute).UnixNano()
	return &record[string]{
		value: value, stamp: stamp{now.UnixNano(), ownTest},
		freshUntil: until, revalidateUntil: until, errorUntil: until, cost: int64(len(value)),
	}
}

func wantRead(t *testing.T, l *l2[string], key, want string) {
	t.Helper()
	r, ok := read(t.Context(), l, key)
	if got := ""; ok != (want != "") || ok && r.value != want {
		if ok {
			got = r.value
		}
		t.Errorf("read(%q) = %q, %v, want %q", key, got, ok, want)
	}
}

// read looks a record up as a load does that takes any.
func read(ctx context.Context, l *l2[string], key string) (*record[string], bool) {
	r, _ := l.readOrClaim(ctx, key, func(*record[string]) bool { return true })
	return r, r != nil
}

func testHash(key string) (hash uint64) {
	for _, c := range []byte(key) {
		hash = hash*31 + uint64(c)
	}
	return hash
}
