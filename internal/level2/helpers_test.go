package level2

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
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
		return nil, backend.ErrMiss
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

// Processes of the tests: that which an bubble is about, and others.
const ownTest, otherTest = 1, 2

// at returns the stamp of this moment.
func (l *Level[V]) at() Stamp { return Stamp{time.Now().UnixNano(), l.cfg.Clock.by} }

// by returns r as another process would have made it.
func by(l *Level[string], r *Record[string]) *Record[string] {
	r.Stamp.By = l.cfg.Clock.by
	return r
}

// bubble runs f in a bubble with a Level of strings over a fake backend.
func bubble(t *testing.T, f func(t *testing.T, l *Level[string], b *fakeBackend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBackend)
		l := newTestLevel(t, b, ownTest)
		defer time.Sleep(2 * time.Hour) // the deaf let go of their goroutines
		defer l.Close()
		f(t, l, b)
	})
}

// newTestLevel returns a Level of a process, that of the others if none is given.
func newTestLevel(t *testing.T, b backend.Backend, by ...uint64) *Level[string] {
	t.Helper()
	l := New(Config[string]{
		Backend: b, Codec: stringCodec{}, Prefix: "p:", Timeout: 50 * time.Millisecond,
		MaxOps: 100, MaxBytes: 1 << 20, Clock: &Clock{by: append(by, otherTest)[0]},
		LeaseWait: time.Second,
		Purged:    func(string, []string, int64) bool { return false },
		Forgotten: func() int64 { return 0 },
		Apply:     func(Purge, Stamp) {},
		Resync:    func() {},
	})
	l.Begin()
	return l
}

// newRecord returns a record that is fresh for a minute.
func newRecord(value string) *Record[string] {
	now := time.Now()
	until := now.Add(time.Minute).UnixNano()
	return &Record[string]{
		Value: value, Stamp: Stamp{now.UnixNano(), ownTest},
		FreshUntil: until, RevalidateUntil: until, ErrorUntil: until, Cost: int64(len(value)),
	}
}

func wantRead(t *testing.T, l *Level[string], key, want string) {
	t.Helper()
	r, ok := read(t.Context(), l, key)
	if got := ""; ok != (want != "") || ok && r.Value != want {
		if ok {
			got = r.Value
		}
		t.Errorf("read(%q) = %q, %v, want %q", key, got, ok, want)
	}
}

// read looks a record up as a load does that takes any.
func read(ctx context.Context, l *Level[string], key string) (*Record[string], bool) {
	r, _ := l.ReadOrClaim(ctx, key, func(*Record[string]) bool { return true })
	return r, r != nil
}

func testHash(key string) (hash uint64) {
	for _, c := range []byte(key) {
		hash = hash*31 + uint64(c)
	}
	return hash
}

// stringCodec and jsonCodec are codecs as programs have them.
type (
	stringCodec      struct{}
	jsonCodec[V any] struct{}
)

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) Decode(data []byte) (string, error)          { return string(data), nil }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func (jsonCodec[V]) Decode(data []byte) (v V, err error) { return v, json.Unmarshal(data, &v) }
