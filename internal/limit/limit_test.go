package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// acquire takes a place that must be there.
func acquire(t *testing.T, l *Limiter) Place {
	t.Helper()
	p, err := l.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlacesAndQueueAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{InFlight: 2, Queue: 2, Timeout: time.Second})
		var mu sync.Mutex
		var got []string
		var places []Place
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				p, err := l.Acquire(t.Context())
				mu.Lock()
				places = append(places, p)
				got = append(got, fmt.Sprint(i, " ", err))
				mu.Unlock()
			})
			synctest.Wait()
		}
		if s := l.State(); s != (State{InFlight: 2, Queued: 2, Limit: 2}) {
			t.Errorf("%+v", s)
		}
		time.Sleep(500 * time.Millisecond)
		places[0].Release()
		all.Wait()
		if want := "[0 <nil> 1 <nil> 4 queue is full 5 queue is full 2 <nil> 3 waited too long in the queue]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if s := l.State(); s.InFlight != 2 || s.Queued != 0 {
			t.Errorf("%+v", s)
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
		if _, err := l.Acquire(ended); err != context.Canceled || l.State().InFlight != 0 {
			t.Errorf("%v, %+v", err, l.State())
		}
		p := acquire(t, l)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(short); err != context.DeadlineExceeded || l.State().Queued != 0 {
			t.Errorf("%v, %+v", err, l.State())
		}
		next := make(chan error)
		go func() {
			_, err := l.Acquire(t.Context())
			next <- err
		}()
		synctest.Wait()
		p.Release()
		if err := <-next; err != nil {
			t.Error(err)
		}
	})
}

func TestNoQueue(t *testing.T) {
	l := New(Config{InFlight: 1})
	p := acquire(t, l)
	if _, err := l.Acquire(t.Context()); err != ErrQueueFull {
		t.Errorf("got %v", err)
	}
	p.Release()
	acquire(t, l)
}

// Whoever has a place keeps others out, and no place is lost, however many leave
// the queue at whatever moment. It is so in either order.
func TestNoPlaceIsLost(t *testing.T) {
	for _, least := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			const places = 3
			l := New(Config{InFlight: places, Least: least, Queue: 500, Timeout: 300 * time.Millisecond})
			var in, most, served, refused atomic.Int64
			var all sync.WaitGroup
			for range 10_000 {
				all.Go(func() {
					time.Sleep(rand.N(time.Second))
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(200*time.Millisecond))
					defer cancel()
					p, err := l.Acquire(ctx)
					if err != nil {
						refused.Add(1)
						return
					}
					for n := in.Add(1); ; {
						if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
							break
						}
					}
					time.Sleep(rand.N(3 * time.Millisecond))
					in.Add(-1)
					served.Add(1)
					p.Release()
				})
			}
			all.Wait()
			if s := l.State(); s.InFlight != 0 || s.Queued != 0 || most.Load() > places || served.Load() < 100 || refused.Load() < 100 {
				t.Errorf("%+v, at most %d at once, %d served, %d refused", s, most.Load(), served.Load(), refused.Load())
			}
			for range least + places*(1-least) {
				acquire(t, l)
			}
		})
	}
}

// An adaptive queue serves who came first as long as it is a burst, and who came
// last when it stands, where who waits any longer than a burst is refused.
func TestQueueThatStandsIsServedFromItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{InFlight: 1, Least: 1, Queue: 10, Timeout: time.Second})
		p := acquire(t, l)
		served := make(chan int, 20)
		places := make(chan Place, 20)
		var all sync.WaitGroup
		ask := func(i int) {
			all.Go(func() {
				began := time.Now()
				p, err := l.Acquire(t.Context())
				switch {
				case err == nil:
					served <- i
					places <- p
				case time.Since(began) > 200*time.Millisecond:
					t.Errorf("%d waited for %v to be told %v", i, time.Since(began), err)
				}
			})
			synctest.Wait()
		}
		for i := range 3 {
			ask(i)
		}
		time.Sleep(50 * time.Millisecond)
		p.Release()
		if i := <-served; i != 0 {
			t.Errorf("%d is served first in a burst", i)
		}
		time.Sleep(60 * time.Millisecond) // it stands
		ask(3)
		ask(4)
		(<-places).Release()
		if i := <-served; i != 4 {
			t.Errorf("%d is served first in a queue that stands", i)
		}
		for i := range 10 { // more than there is room for: who came first makes it
			ask(5 + i)
		}
		(<-places).Release()
		if i := <-served; i != 14 {
			t.Errorf("%d is served, not who came last", i)
		}
		time.Sleep(150 * time.Millisecond)
		(<-places).Release() // refuses who has waited for longer than a burst
		synctest.Wait()
		if s := l.State(); s.Queued != 0 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		all.Wait()
	})
}

// Work whose deadline cannot be met is not begun.
func TestWorkThatIsTooLateIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{InFlight: 1, Least: 1, Queue: 10, Timeout: time.Second})
		for range 30 { // it takes 400 ms
			p := acquire(t, l)
			time.Sleep(400 * time.Millisecond)
			p.Release()
		}
		p := acquire(t, l)
		soon, cancel := context.WithTimeout(t.Context(), 90*time.Millisecond)
		defer cancel()
		late, next := make(chan error), make(chan error)
		go func() { _, err := l.Acquire(soon); late <- err }()
		synctest.Wait()
		go func() { _, err := l.Acquire(t.Context()); next <- err }()
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		p.Release()
		if err := <-late; !errors.Is(err, ErrTooLate) {
			t.Error(err)
		}
		if err := <-next; err != nil {
			t.Error(err)
		}
	})
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
	for _, least := range []int{0, 1} {
		b.Run(fmt.Sprint("adaptive ", least > 0), func(b *testing.B) {
			l := New(Config{InFlight: 8, Least: least})
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				p, _ := l.Acquire(ctx)
				p.Release()
			}
		})
	}
}
