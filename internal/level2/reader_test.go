package level2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// A pipelined backend reads several keys in one call.
type pipelined struct {
	fakeBackend
	batches [][]string // guarded by mu
}

func (b *pipelined) GetMany(ctx context.Context, keys []string) (map[string][]byte, error) {
	if err := b.begin(ctx, "get many", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batches = append(b.batches, keys)
	found := map[string][]byte{}
	for _, key := range keys {
		if v, ok := b.m[key]; ok {
			found[key] = v
		}
	}
	return found, nil
}

// What is asked for at the same time is read in few calls: values, and the
// marks of their tags once for all.
func TestReadsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(pipelined)
		l := newTestLevel(t, b, ownTest)
		defer l.Close()
		const n = 1000
		l.queue.maxOps = n
		for i := range n {
			l.Write(fmt.Sprint(i), tagged("v", "users"), Claim{}, false)
		}
		time.Sleep(time.Second)
		b.setFault(deaf(time.Millisecond))
		start := time.Now()
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() { wantRead(t, l, fmt.Sprint(i), "v") })
		}
		for range 10 {
			group.Go(func() { wantRead(t, l, "missing", "") })
		}
		group.Wait()
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("took %v, with a millisecond a call", took)
		}
		if one, many := b.count("get"), b.count("get many"); one > readsAlone+2 || many > 2*n/backend.MaxKeys+4 {
			t.Errorf("%d calls for one key, %d for several", one, many)
		}
		marks := 0
		for _, keys := range b.batches {
			seen := map[string]bool{}
			for _, key := range keys {
				if seen[key] || len(keys) > backend.MaxKeys {
					t.Fatalf("%q twice in a call of %d keys", key, len(keys))
				}
				if seen[key] = true; key == "p:t:users" || key == "p:f:" {
					marks++
				}
			}
		}
		if marks > 2 {
			t.Errorf("marks were read %d times, want once each", marks)
		}
	})
}

// Without GetMany, the marks that many values need are read once too.
func TestMarksAreReadOnceForAll(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		const n = 90
		for i := range n {
			l.Write(fmt.Sprint(i), tagged("v", "users"), Claim{}, false)
		}
		time.Sleep(time.Second)
		b.setFault(deaf(time.Millisecond))
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() { wantRead(t, l, fmt.Sprint(i), "v") })
		}
		group.Wait()
		if got := b.count("get"); got != n+2 {
			t.Errorf("%d reads for %d values with one tag, want two more", got, n)
		}
	})
}

// A call for several that fails, hangs or does not return fails for all of
// them; who leaves does not wait for it.
func TestGatheredReadsFail(t *testing.T) {
	for name, fault := range map[string]func(context.Context, string, string) error{
		"error": down, "hang": deaf(time.Hour), "panic": func(context.Context, string, string) error { panic("backend") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(pipelined)
				l := newTestLevel(t, b)
				defer time.Sleep(2 * time.Hour)
				defer l.Close()
				b.setFault(fault)
				start := time.Now()
				var group sync.WaitGroup
				for i := range 3 * backend.MaxKeys {
					group.Go(func() {
						if _, err := l.get(t.Context(), fmt.Sprint(i)); err == nil || errors.Is(err, backend.ErrMiss) {
							t.Errorf("key %d: %v", i, err)
						}
					})
				}
				group.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					defer cancel()
					_, _ = l.get(ctx, "who leaves")
					if took := time.Since(start); took > time.Millisecond {
						t.Errorf("left after %v", took)
					}
				})
				group.Wait()
				if took := time.Since(start); took > 4*l.cfg.Timeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// Waiting for a place among the reads is not the backend's time.
func TestWaitingForAPlace(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		b.setFault(deaf(l.cfg.Timeout * 9 / 10))
		var group sync.WaitGroup
		for i := range 2 * backendReads {
			group.Go(func() { read(t.Context(), l, fmt.Sprint(i)) })
		}
		group.Wait()
		if s := l.Stats(); s.Timeouts+s.Errors+s.Skips != 0 || s.Opened != 0 {
			t.Errorf("%+v, but each call was answered in time", s)
		}
	})
}

// Reads that are never answered open their breaker, whatever writes do, and
// the other way round.
func TestReadsAndWritesHaveABreakerEach(t *testing.T) {
	for _, failing := range []string{"get", "set"} {
		t.Run(failing, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
				b.setFault(func(_ context.Context, call, _ string) error {
					if call == failing || failing == "set" && call == "delete" {
						return errBackend
					}
					return nil
				})
				for i := range 4 * breakerFailures {
					l.Write(fmt.Sprint("w", i), newRecord("v"), Claim{}, false)
					read(t.Context(), l, fmt.Sprint("r", i))
					time.Sleep(10 * time.Millisecond)
				}
				reading, _ := l.calls.reading.state()
				writing, _ := l.calls.writing.state()
				if reading != (failing == "get") || writing != (failing == "set") || !l.Stats().Open {
					t.Errorf("open for reads: %v, for writes: %v", reading, writing)
				}
			})
		})
	}
}
