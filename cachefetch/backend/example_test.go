package backend_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// Two processes share a second level: what one has loaded, the other need not
// load.
func ExampleBackend() {
	ctx := context.Background()
	shared := new(backendtest.Memory) // in place of Redis
	for _, process := range []string{"first", "second"} {
		users, err := cachefetch.New(cachefetch.Options[string]{
			MaxBytes:      64 << 20,
			Backend:       shared,
			BackendPrefix: "users:v1:",
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		user, err := users.Fetch(ctx, "7", func(context.Context) (string, error) {
			fmt.Println("loading in the", process)
			return "Alice", nil
		})
		fmt.Println(user, err)
		users.Close() // writes what is queued
	}
	// Output:
	// loading in the first
	// Alice <nil>
	// Alice <nil>
}

// A table is a backend of the simplest kind.
type table struct {
	mu   sync.Mutex
	rows map[string]row
}

type row struct {
	value []byte
	until time.Time
}

func (t *table) Get(ctx context.Context, key string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.rows[key]
	if !ok || !time.Now().Before(r.until) {
		return nil, backend.ErrMiss
	}
	return bytes.Clone(r.value), ctx.Err()
}

func (t *table) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[key] = row{bytes.Clone(value), time.Now().Add(ttl)}
	return ctx.Err()
}

func (t *table) Delete(ctx context.Context, key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, key)
	return ctx.Err()
}

// Three methods make a backend. That they never share a slice is one of its
// obligations, which backendtest.Run tests.
func ExampleBackend_implementation() {
	ctx := context.Background()
	users, err := cachefetch.New(cachefetch.Options[string]{
		MaxBytes: 64 << 20,
		Backend:  &table{rows: make(map[string]row)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	fmt.Println(users.Set(ctx, "7", "Alice"))
	fmt.Println(users.Delete(ctx, "7")) // waits for the backend, briefly
	fmt.Println(users.Stats().Backend.Errors)
	// Output:
	// <nil>
	// <nil>
	// 0
}
