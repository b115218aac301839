package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// A broken backend is a good one with one obligation broken.
type broken struct {
	name string // of the subtest that must find it, and of what is broken
	open func() backend.Backend
}

type memory struct{ backendtest.Memory }

type missIsEmpty struct{ memory }

func (b *missIsEmpty) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := b.memory.Get(ctx, key)
	if errors.Is(err, backend.ErrMiss) {
		return nil, nil
	}
	return v, err
}

type deleteComplains struct{ memory }

func (b *deleteComplains) Delete(ctx context.Context, key string) error {
	if _, err := b.Get(ctx, key); err != nil {
		return err
	}
	return b.memory.Delete(ctx, key)
}

type text struct{ memory }

func (b *text) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return b.memory.Set(ctx, key, bytes.TrimSpace(value), ttl)
}

type foldsKeys struct{ memory }

func (b *foldsKeys) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return b.memory.Set(ctx, strings.ToLower(key), value, ttl)
}

func (b *foldsKeys) Get(ctx context.Context, key string) ([]byte, error) {
	return b.memory.Get(ctx, strings.ToLower(key))
}

// retains keeps and gives out the very slices.
type retains struct {
	memory
	mu sync.Mutex
	m  map[string][]byte
}

func (b *retains) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[key] = value
	return nil
}

func (b *retains) Get(ctx context.Context, key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[key], nil
}

type forever struct{ memory }

func (b *forever) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return b.memory.Set(ctx, key, value, time.Hour)
}

type cutsTTL struct{ memory }

func (b *cutsTTL) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return b.memory.Set(ctx, key, value, min(ttl, time.Second))
}

type missWhenEnded struct{ memory }

func (b *missWhenEnded) Get(ctx context.Context, key string) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, backend.ErrMiss
	}
	return b.memory.Get(ctx, key)
}

type mixes struct {
	memory
	mu  sync.Mutex
	old []byte
}

func (b *mixes) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	copy(value[len(value)/2:], b.old)
	b.old = bytes.Clone(value)
	return b.memory.Set(ctx, key, value, ttl)
}

type lastWins struct{ memory }

func (b *lastWins) SetVersion(ctx context.Context, key string, value []byte, ttl time.Duration, version int64) error {
	return b.Set(ctx, key, value, ttl)
}

// floats compares versions as Lua does numbers.
type floats struct{ memory }

func (b *floats) SetVersion(ctx context.Context, key string, value []byte, ttl time.Duration, version int64) error {
	return b.memory.SetVersion(ctx, key, value, ttl, int64(float64(version)))
}

type forgetsDeletes struct{ memory }

func (b *forgetsDeletes) DeleteVersion(ctx context.Context, key string, version int64) error {
	return b.Delete(ctx, key)
}

type lateDelete struct{ memory }

func (b *lateDelete) DeleteVersion(ctx context.Context, key string, version int64) error {
	return b.memory.DeleteVersion(ctx, key, version+2)
}

// lateMessages are sent when Publish has returned, from its caller's slice.
type lateMessages struct{ memory }

func (b *lateMessages) Publish(ctx context.Context, message []byte) error {
	go func() {
		// By a real clock, like the whole suite, which is for real stores.
		time.Sleep(10 * time.Millisecond)
		b.memory.Publish(ctx, message)
	}()
	return nil
}

type everybodyLeases struct{ memory }

func (b *everybodyLeases) Acquire(context.Context, string, time.Duration) (string, error) {
	return "token", nil
}

type releasesAnyToken struct{ memory }

func (b *releasesAnyToken) Acquire(ctx context.Context, key string, ttl time.Duration) (string, error) {
	if _, err := b.Get(ctx, "lease "+key); err == nil {
		return "", nil
	}
	return "token", b.Set(ctx, "lease "+key, nil, ttl)
}

func (b *releasesAnyToken) Release(ctx context.Context, key, _ string) error {
	return b.Delete(ctx, "lease "+key)
}

type eternalLease struct{ memory }

func (b *eternalLease) Acquire(ctx context.Context, key string, _ time.Duration) (string, error) {
	return b.memory.Acquire(ctx, key, time.Hour)
}

var brokenBackends = []broken{
	{"Missing/empty in place of ErrMiss", func() backend.Backend { return new(missIsEmpty) }},
	{"Missing/delete of nothing is an error", func() backend.Backend { return new(deleteComplains) }},
	{"RoundTrip/trims white space", func() backend.Backend { return new(text) }},
	{"Keys/ignores case", func() backend.Backend { return new(foldsKeys) }},
	{"Slices/keeps and gives out the same", func() backend.Backend { return &retains{m: make(map[string][]byte)} }},
	{"TTL/keeps all for an hour", func() backend.Backend { return new(forever) }},
	{"TTL/keeps nothing for long", func() backend.Backend { return new(cutsTTL) }},
	{"Context/ended context is a miss", func() backend.Backend { return new(missWhenEnded) }},
	{"Concurrent/mixes values", func() backend.Backend { return new(mixes) }},
	{"Versions/last write wins", func() backend.Backend { return new(lastWins) }},
	{"Versions/compares floating point", func() backend.Backend { return new(floats) }},
	{"VersionsAfterDelete/forgets deletes", func() backend.Backend { return new(forgetsDeletes) }},
	{"VersionsAfterDelete/late delete wins", func() backend.Backend { return new(lateDelete) }},
	{"Invalidations/keeps the slice", func() backend.Backend { return new(lateMessages) }},
	{"Lease/everybody gets it", func() backend.Backend { return new(everybodyLeases) }},
	{"LeaseConcurrent/everybody gets it", func() backend.Backend { return new(everybodyLeases) }},
	{"Lease/any token releases", func() backend.Backend { return new(releasesAnyToken) }},
	{"LeaseTTL/never expires", func() backend.Backend { return new(eternalLease) }},
}

// TestFindsWhatIsBroken runs the suite over backends that are broken, each in
// another process, since its failure must not be this test's.
func TestFindsWhatIsBroken(t *testing.T) {
	for i, b := range brokenBackends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			sub, _, _ := strings.Cut(b.name, "/")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenBackend$/^"+sub+"$")
			cmd.Env = append(os.Environ(), "BACKENDTEST_BROKEN="+string(rune('a'+i)))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestBrokenBackend/"+sub) {
				t.Errorf("not found: %v\n%s", err, out)
			}
		})
	}
}

// TestBrokenBackend is run by TestFindsWhatIsBroken.
func TestBrokenBackend(t *testing.T) {
	which := os.Getenv("BACKENDTEST_BROKEN")
	if which == "" {
		return
	}
	backendtest.Run(t, func(*testing.T) backend.Backend { return brokenBackends[which[0]-'a'].open() })
}
