package backendtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// In a test of one's own backend, t is the test's.
func ExampleRun() {
	_ = func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.Backend { return new(backendtest.Memory) })
	}
}

// A service goes on while its backend fails.
func ExampleFaulty() {
	ctx := context.Background()
	b := backendtest.NewFaulty(new(backendtest.Memory), 1)
	users, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 1 << 20, Backend: b})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	b.Misbehave(backendtest.Faults{Fail: 1})
	fmt.Println(users.Fetch(ctx, "7", func(context.Context) (string, error) { return "Alice", nil }))
	// Output: Alice <nil>
}

func ExampleMemory() {
	ctx := context.Background()
	m := new(backendtest.Memory)
	fmt.Println(m.SetVersion(ctx, "a", []byte("new"), 1e9, 2))
	fmt.Println(m.SetVersion(ctx, "a", []byte("late"), 1e9, 1))
	value, err := m.Get(ctx, "a")
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// <nil>
	// <nil>
	// new <nil>
}
