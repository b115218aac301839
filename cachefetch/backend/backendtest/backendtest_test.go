package backendtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

func TestMemory(t *testing.T) {
	t.Parallel() // it waits for lifetimes to end
	backendtest.Run(t, func(*testing.T) backend.Backend { return new(backendtest.Memory) })
}

// readsMany is a Memory that reads several keys in one call.
type readsMany struct{ backendtest.Memory }

func (m *readsMany) GetMany(ctx context.Context, keys []string) (map[string][]byte, error) {
	values := make(map[string][]byte)
	for _, key := range keys {
		value, err := m.Get(ctx, key)
		switch {
		case err == nil:
			values[key] = value
		case !errors.Is(err, backend.ErrMiss):
			return nil, err
		}
	}
	return values, nil
}

func TestReadsMany(t *testing.T) {
	t.Parallel() // it waits for lifetimes to end
	backendtest.Run(t, func(*testing.T) backend.Backend { return new(readsMany) })
}

// A backend without capabilities passes too: they are optional.
func TestPlain(t *testing.T) {
	t.Parallel() // it waits for lifetimes to end
	backendtest.Run(t, func(*testing.T) backend.Backend {
		return struct{ backend.Backend }{new(backendtest.Memory)}
	})
}

func TestFaultyDoesNoHarmUntold(t *testing.T) {
	t.Parallel() // it waits for lifetimes to end
	backendtest.Run(t, func(*testing.T) backend.Backend {
		return backendtest.NewFaulty(new(backendtest.Memory), 1)
	})
}

func TestMemoryForgetsDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, m := t.Context(), new(backendtest.Memory)
		if err := m.DeleteVersion(ctx, "a", 2); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{0, 1} {
			if err := m.SetVersion(ctx, "a", nil, time.Hour, 1); err != nil {
				t.Fatal(err)
			}
			if n := m.Len(); n != want {
				t.Errorf("%d values, want %d", n, want)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestMemoryDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := new(backendtest.Memory)
		var connected, received int
		go m.Subscribe(ctx, func([]byte) { received++ }, func() { connected++ })
		synctest.Wait()
		if err := m.Publish(ctx, []byte("lost")); err != nil {
			t.Fatal(err)
		}
		m.Disconnect()
		synctest.Wait()
		if connected != 2 || received != 0 {
			t.Errorf("connected %d times, received %d messages, want 2, 0", connected, received)
		}
		cancel()
		synctest.Wait()
	})
}
