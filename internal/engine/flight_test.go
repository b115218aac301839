package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type answer struct{ text string }

// board is flights with what tests need to begin them.
type board struct {
	Flights[*answer]
	gen  atomic.Uint64
	runs atomic.Int64
}

func (b *board) start(keep bool, run func(f *Flight[*answer])) Start[*answer] {
	return Start[*answer]{
		Timeout: time.Minute,
		Keep:    keep,
		Gen:     func() uint64 { return b.gen.Add(1) },
		State:   func(*Flight[*answer]) *answer { return &answer{} },
		Run: func(f *Flight[*answer]) {
			b.runs.Add(1)
			run(f)
		},
	}
}

func (b *board) join(t *testing.T, key string, start Start[*answer]) *Ticket[*answer] {
	t.Helper()
	ticket, err := b.Join(t.Context(), 1, key, start)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// slow answers after a second, whatever becomes of its context.
func slow(f *Flight[*answer]) {
	time.Sleep(time.Second)
	f.State.text = fmt.Sprint("run ", f.Gen)
}

// patient answers when its context ends.
func patient(f *Flight[*answer]) { <-f.Context.Done() }

func TestFlightCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		var wg sync.WaitGroup
		var leaders atomic.Int64
		for range 100 {
			wg.Go(func() {
				ticket := b.join(t, "key", b.start(false, slow))
				defer ticket.Leave()
				if ticket.Leader {
					leaders.Add(1)
				}
				if err := ticket.Wait(t.Context(), 0); err != nil || ticket.State.text != "run 1" || ticket.Crash() != nil {
					t.Errorf("got %q, %v, %v", ticket.State.text, err, ticket.Crash())
				}
			})
		}
		wg.Wait()
		if b.runs.Load() != 1 || leaders.Load() != 1 {
			t.Errorf("%d runs, %d leaders, want one of each", b.runs.Load(), leaders.Load())
		}
		next := b.join(t, "key", b.start(false, slow))
		if next.Wait(t.Context(), 0); next.State.text != "run 2" {
			t.Errorf("after the run: got %q, want a new one", next.State.text)
		}
		next.Leave()
	})
}

// Keys are compared; the hash only picks the shard.
func TestFlightsOfOneHashAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		alice, bob := b.join(t, "alice", b.start(false, slow)), b.join(t, "bob", b.start(false, slow))
		if !alice.Leader || !bob.Leader {
			t.Error("two keys of one hash share a flight")
		}
		alice.Wait(t.Context(), 0)
		bob.Wait(t.Context(), 0)
	})
}

func TestFlightWaitEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		leader := b.join(t, "key", b.start(false, slow))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		follower := b.join(t, "key", b.start(false, slow))
		if err := follower.Wait(ctx, 0); err != context.DeadlineExceeded {
			t.Errorf("on its own context: %v", err)
		}
		if err := follower.Wait(t.Context(), 100*time.Millisecond); err != ErrWaitTimeout {
			t.Errorf("on its own limit: %v", err)
		}
		follower.Leave()
		if err := leader.Wait(t.Context(), 0); err != nil || leader.State.text != "run 1" {
			t.Errorf("the other one got %q, %v", leader.State.text, err)
		}
		leader.Leave()
	})
}

func TestFlightNobodyLeftIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		first, second := b.join(t, "key", b.start(false, patient)), b.join(t, "key", b.start(false, patient))
		first.Leave()
		first.Leave() // counts once
		synctest.Wait()
		if first.Context.Err() != nil {
			t.Fatal("cancelled although one still waits")
		}
		second.Leave()
		if err := first.Context.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody is left, Err is %v", err)
		}
		third := b.join(t, "key", b.start(false, slow))
		if !third.Leader {
			t.Error("joined a run that was cancelled")
		}
		if err := third.Wait(t.Context(), 0); err != nil || third.State.text != "run 2" {
			t.Errorf("got %q, %v", third.State.text, err)
		}
		if first.Publish(func() {}) {
			t.Error("a cancelled run published")
		}
	})
}

func TestFlightKeptWithoutWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		published := false
		first := b.join(t, "key", b.start(true, func(f *Flight[*answer]) {
			slow(f)
			published = f.Publish(func() {})
		}))
		first.Leave()
		if first.Context.Err() != nil {
			t.Fatal("a kept run was cancelled")
		}
		if second := b.join(t, "key", b.start(false, slow)); second.Leader {
			t.Error("a kept run was not joined")
		} else {
			second.Leave() // does not take the keeping back
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !published {
			t.Error("a kept run did not publish")
		}
	})
}

func TestFlightDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		late := b.join(t, "key", b.start(true, func(f *Flight[*answer]) {
			time.Sleep(2 * time.Minute) // ignores its context
			f.State.text = "late"
			if f.Publish(func() {}) {
				t.Error("published after its deadline")
			}
		}))
		if err := late.Wait(t.Context(), 0); err != context.DeadlineExceeded {
			t.Errorf("Wait: %v", err)
		}
		late.Leave()
		next := b.join(t, "key", b.start(false, slow))
		if !next.Leader {
			t.Error("joined a run past its deadline")
		}
		next.Wait(t.Context(), 0)
		if next.State.text != "run 2" {
			t.Errorf("got %q", next.State.text)
		}
		time.Sleep(2 * time.Minute) // the late one ends, and forgets nobody else's flight
	})
}

// Doom and Disown differ in who calls them: another caller by key, or the run.
// Nobody joins a flight that was doomed or disowned. Only a doomed one may not
// publish, and one that was disowned before is doomed all the same.
func TestFlightDoomAndDisown(t *testing.T) {
	for name, end := range map[string]func(b *board, f *Flight[*answer]){
		"Doom":   func(b *board, f *Flight[*answer]) { b.Doom(1, "key") },
		"Disown": func(b *board, f *Flight[*answer]) { f.Disown() },
		"both":   func(b *board, f *Flight[*answer]) { f.Disown(); b.Doom(1, "key") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b board
				run := func(f *Flight[*answer]) {
					slow(f)
					want := f.Gen == 2 || name == "Disown"
					if f.Publish(func() {}) != want {
						t.Errorf("run %d: published %v", f.Gen, !want)
					}
				}
				first := b.join(t, "key", b.start(false, run))
				end(&b, first.Flight)
				if first.Context.Err() != nil {
					t.Error("those who wait lost their run")
				}
				second := b.join(t, "key", b.start(false, run))
				if !second.Leader {
					t.Error("joined a doomed run")
				}
				for i, ticket := range []*Ticket[*answer]{first, second} {
					if err := ticket.Wait(t.Context(), 0); err != nil || ticket.State.text != fmt.Sprint("run ", i+1) {
						t.Errorf("caller %d got %q, %v", i+1, ticket.State.text, err)
					}
					ticket.Leave()
				}
				b.Doom(1, "no such key")
			})
		})
	}
}

func TestFlightJoinsOnlyWhatItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		first := b.join(t, "key", b.start(false, slow))
		start := b.start(false, slow)
		start.Joins = func(f *Flight[*answer]) bool { return f.Gen > 1 }
		second, third := b.join(t, "key", start), b.join(t, "key", start)
		if !second.Leader || third.Leader {
			t.Errorf("leaders %v %v, want a new run for both", second.Leader, third.Leader)
		}
		first.Wait(t.Context(), 0)
		third.Wait(t.Context(), 0)
		if first.State.text != "run 1" || third.State.text != "run 2" {
			t.Errorf("got %q and %q", first.State.text, third.State.text)
		}
	})
}

func TestFlightCrash(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		run  func(*Flight[*answer])
		want any
	}{
		{"panic keeps its value", func(*Flight[*answer]) { panic(boom) }, boom},
		{"Goexit has none", func(*Flight[*answer]) { runtime.Goexit() }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b board
				start := b.start(false, func(f *Flight[*answer]) {
					time.Sleep(time.Second)
					tt.run(f)
				})
				for _, ticket := range []*Ticket[*answer]{b.join(t, "key", start), b.join(t, "key", start)} {
					if err := ticket.Wait(t.Context(), 0); err != nil {
						t.Fatal(err)
					}
					crash := ticket.Crash()
					if crash == nil || crash.Value != tt.want {
						t.Fatalf("crash %+v, want value %v", crash, tt.want)
					}
					if tt.want != nil && !strings.Contains(string(crash.Stack), "TestFlightCrash") {
						t.Errorf("the stack does not show who panicked:\n%s", crash.Stack)
					}
					ticket.Leave()
				}
				again := b.join(t, "key", b.start(false, slow))
				if err := again.Wait(t.Context(), 0); err != nil || again.Crash() != nil {
					t.Errorf("the next run: %v, %v", err, again.Crash())
				}
			})
		})
	}
}

func TestFlightsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		running := b.join(t, "running", b.start(true, patient))
		doomed := b.join(t, "doomed", b.start(true, patient))
		b.Doom(1, "doomed")
		b.Close()
		for _, ticket := range []*Ticket[*answer]{running, doomed} {
			err := ticket.Context.Cause()
			if !errors.Is(err, ErrClosed) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: Err %v, want closed and cancelled", ticket.key, err)
			}
			if ticket.Publish(func() {}) {
				t.Errorf("%s: published after Close", ticket.key)
			}
			ticket.Leave()
		}
		if _, err := b.Join(t.Context(), 1, "new", b.start(false, slow)); err != ErrClosed {
			t.Errorf("Join: %v", err)
		}
		b.Close()
	})
}

// Callers come, go and give up; whoever stays gets the answer of a whole run.
func TestFlightStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(10_000)) * time.Millisecond)
				key := fmt.Sprint("key", rand.IntN(3))
				ticket := b.join(t, key, b.start(rand.IntN(2) == 0, slow))
				defer ticket.Leave()
				switch rand.IntN(4) {
				case 0:
				case 1:
					b.Doom(1, key)
				case 2:
					ticket.Disown()
				default:
					if err := ticket.Wait(t.Context(), 0); err != nil || ticket.State.text != fmt.Sprint("run ", ticket.Gen) {
						t.Errorf("got %q, %v", ticket.State.text, err)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range b.shards {
			if s := &b.shards[i]; len(s.flights) != 0 || len(s.running) != 0 {
				t.Errorf("%d flights and %d runs are left", len(s.flights), len(s.running))
			}
		}
	})
}
