package fanout

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errUpstream = errors.New("upstream is down")

// after returns a call that takes a while, unless its context ends before.
func after[T any](d time.Duration, v T, err error) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		select {
		case <-time.After(d):
			return v, err
		case <-ctx.Done():
			return *new(T), ctx.Err()
		}
	}
}

// The seed of it all: 300, 400 and 200 ms take 400, not 900.
func TestJoinTakesAsLongAsTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a, b, c, d, err := Join4(t.Context(), after(300*time.Millisecond, "a", nil), after(400*time.Millisecond, 2, nil),
			after(200*time.Millisecond, 3.5, nil), after(0, true, nil))
		if a != "a" || b != 2 || c != 3.5 || !d || err != nil {
			t.Errorf("got %v %v %v %v, %v", a, b, c, d, err)
		}
		if took := time.Since(begin); took != 400*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestJoinFirstErrorCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a, _, c, err := Join3(t.Context(), after(time.Millisecond, "a", nil), after(10*time.Millisecond, 2, errUpstream), after(time.Hour, 3, nil))
		if err != errUpstream || c != 0 || a != "a" {
			t.Errorf("got %q, %d, %v", a, c, err)
		}
		if took := time.Since(begin); took != 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestJoinEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := Join2(ctx, after(time.Hour, 1, nil), after(0, 2, nil)); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	})
}

func boom(context.Context) (int, error)   { panic("boom") }
func goexit(context.Context) (int, error) { runtime.Goexit(); return 0, nil }

// A panic, or the end of the goroutine, in one of the calls is an error with
// the stack of the culprit, and cancels the others.
func TestFanOutPanicsAreErrors(t *testing.T) {
	for name, call := range map[string]func(context.Context) (int, error){"boom": boom, "Goexit": goexit} {
		for form, with := range map[string]func() error{
			"Join": func() error {
				_, _, err := Join2(t.Context(), call, after(time.Hour, 1, nil))
				return err
			},
			"Map": func() error {
				_, err := Map(t.Context(), 2, []int{1, 2, 3}, func(ctx context.Context, _ int) (int, error) { return call(ctx) })
				return err
			},
			"Gather": func() error {
				g := NewGather(t.Context(), GatherOptions{Budget: time.Hour})
				Require(g, "bad", call)
				Require(g, "good", after(time.Hour, 1, nil))
				return g.Wait()
			},
		} {
			t.Run(form+" "+name, func(t *testing.T) {
				var p *PanicError
				if err := with(); !errors.As(err, &p) || !strings.Contains(err.Error(), name) || !strings.Contains(string(p.Stack), "fanout_test.go") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestMapKeepsOrderAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		items := make([]int, 100)
		for i := range items {
			items[i] = i
		}
		begin := time.Now()
		got, err := Map(t.Context(), 7, items, func(ctx context.Context, i int) (string, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return after(time.Duration(1+i%3)*time.Millisecond, fmt.Sprint(i), nil)(ctx)
		})
		if err != nil || len(got) != 100 || most.Load() != 7 {
			t.Errorf("%d values, %v, %d at once", len(got), err, most.Load())
		}
		for i, v := range got {
			if v != fmt.Sprint(i) {
				t.Fatalf("value %d is %q", i, v)
			}
		}
		if took := time.Since(begin); took > 60*time.Millisecond { // 200 ms of work by 7
			t.Errorf("took %v", took)
		}
	})
}

func TestMapStopsAtTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		got, err := Map(t.Context(), 2, make([]int, 1000), func(ctx context.Context, _ int) (int, error) {
			if calls.Add(1) == 3 {
				return 0, errUpstream
			}
			return after(time.Millisecond, 1, nil)(ctx)
		})
		if err != errUpstream || got != nil || calls.Load() > 4 {
			t.Errorf("%v, %v after %d calls", got, err, calls.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Microsecond)
		defer cancel()
		calls.Store(10)
		if _, err := Map(ctx, 1, make([]int, 1000), func(ctx context.Context, _ int) (int, error) {
			calls.Add(1)
			return after(time.Millisecond, 1, nil)(ctx)
		}); err != context.DeadlineExceeded || calls.Load() != 13 {
			t.Errorf("%v after %d calls", err, calls.Load()-10)
		}
	})
	if _, err := Map(t.Context(), 0, []int{1}, func(context.Context, int) (int, error) { return 0, nil }); err == nil || !strings.Contains(err.Error(), "limit 0") {
		t.Errorf("got %v", err)
	}
	if got, err := Map(t.Context(), 1, nil, func(context.Context, int) (int, error) { return 0, nil }); len(got) != 0 || err != nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
}
