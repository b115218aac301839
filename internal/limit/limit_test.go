package limit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlacesAndQueueAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{InFlight: 2, Queue: 2, Timeout: time.Second})
		var mu sync.Mutex
		var got []string
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				err := l.Acquire(t.Context())
				mu.Lock()
				got = append(got, fmt.Sprint(i, " ", err))
				mu.Unlock()
			})
			synctest.Wait()
		}
		if l.InFlight() != 2 || l.Queued() != 2 {
			t.Errorf("%d in flight, %d queued", l.InFlight(), l.Queued())
		}
		time.Sleep(500 * time.Millisecond)
		l.Release()
		all.Wait()
		if want := "[0 <nil> 1 <nil> 4 queue is full 5 queue is full 2 <nil> 3 waited too long in the queue]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if l.InFlight() != 2 || l.Queued() != 0 {
			t.Errorf("%d in flight, %d queued", l.InFlight(), l.Queued())
		}
	})
}

// A caller whose context has ended takes nothing, and one that leaves the
// queue makes room in it.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{InFlight: 1, Queue: 1, Timeout: time.Minute})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Acquire(ended); err != context.Canceled || l.InFlight() != 0 {
			t.Errorf("%v, %d in flight", err, l.InFlight())
		}
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Acquire(short); err != context.DeadlineExceeded || l.Queued() != 0 {
			t.Errorf("%v, %d queued", err, l.Queued())
		}
		next := make(chan error)
		go func() { next <- l.Acquire(t.Context()) }()
		synctest.Wait()
		l.Release()
		if err := <-next; err != nil {
			t.Error(err)
		}
	})
}

func TestNoQueue(t *testing.T) {
	l := New(Config{InFlight: 1})
	if err := l.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Acquire(t.Context()); err != ErrQueueFull {
		t.Errorf("got %v", err)
	}
	l.Release()
	if err := l.Acquire(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whoever has a place keeps others out, and all of them come through.
func TestMutualExclusion(t *testing.T) {
	l := New(Config{InFlight: 1, Queue: 100, Timeout: time.Minute})
	n := 0 // guarded by the one place
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if err := l.Acquire(t.Context()); err != nil {
					t.Error(err)
					return
				}
				n++
				l.Release()
			}
		})
	}
	all.Wait()
	if n != 1000 || l.InFlight() != 0 || l.Queued() != 0 {
		t.Errorf("counted %d; %d in flight, %d queued", n, l.InFlight(), l.Queued())
	}
}

func TestRetryAfterIsInWholeSeconds(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		0: time.Second, 1: time.Second, time.Second: time.Second, time.Second + 1: 2 * time.Second, 90 * time.Second: 90 * time.Second,
	} {
		if got := RetryAfter(wait); got != want {
			t.Errorf("RetryAfter(%v) = %v, want %v", wait, got, want)
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	l := New(Config{InFlight: 1})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Acquire(ctx)
		l.Release()
	}
}
