package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/internal/inbound"
)

type userKey struct{}

func TestDetachedKeepsValuesNotCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(context.WithValue(t.Context(), userKey{}, "alice"), time.Second)
		d := Detach(parent, time.Minute, nil)
		defer d.Cancel(context.Canceled)
		cancel()
		if d.Err() != nil || context.Cause(d) != nil {
			t.Errorf("ended with its parent: %v, cause %v", d.Err(), context.Cause(d))
		}
		if at, ok := inbound.Deadline(d); !ok || at != time.Now().Add(time.Second) {
			t.Errorf("inbound deadline %v %v, want its parent's", at, ok)
		}
		if got := d.Value(userKey{}); got != "alice" {
			t.Errorf("value %v, want alice", got)
		}
		if at, ok := d.Deadline(); !ok || at != time.Now().Add(time.Minute) {
			t.Errorf("deadline %v %v, want its own", at, ok)
		}
		time.Sleep(2 * time.Second) // past the parent's deadline
		synctest.Wait()
		if d.Err() != nil {
			t.Errorf("ended at its parent's deadline: %v", d.Err())
		}
	})
}

func TestDetachedDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		d := Detach(t.Context(), time.Minute, nil)
		<-d.Done()
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("ended after %v", took)
		}
		if d.Err() != context.DeadlineExceeded || context.Cause(d) != context.DeadlineExceeded {
			t.Errorf("Err %v, cause %v", d.Err(), context.Cause(d))
		}
		d.Cancel(context.Canceled)
		if d.Err() != context.DeadlineExceeded {
			t.Error("a second end replaced the first")
		}
		d.Lift()
		if _, ok := d.Deadline(); !ok {
			t.Error("a deadline that had passed was lifted")
		}
	})
}

// A context that goes on after its deadline has none any more.
func TestDetachedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := Detach(t.Context(), time.Minute, func() bool { asked++; return true })
		time.Sleep(time.Hour)
		if _, ok := d.Deadline(); ok || d.Err() != nil || asked != 1 {
			t.Errorf("deadline %v, Err %v, asked %d times", ok, d.Err(), asked)
		}
		d.Cancel(context.Canceled)
	})
}

func TestDetachedLift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := Detach(t.Context(), time.Minute, nil)
		d.Lift()
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, ok := d.Deadline(); ok || d.Err() != nil {
			t.Errorf("a lifted deadline counts: %v", d.Err())
		}
		reason := errors.New("reason")
		d.Cancel(reason)
		<-d.Done()
		if d.Err() != context.Canceled || d.Cause() != reason {
			t.Errorf("Err %v, cause %v; want context.Canceled and what Cancel was given", d.Err(), d.Cause())
		}
	})
}

// A deadline that was lifted and put back is what it was, and ends the context
// whatever it would go on for.
func TestDetachedLower(t *testing.T) {
	for _, lowered := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			d := Detach(t.Context(), time.Minute, func() bool { return true })
			d.Lift()
			time.Sleep(lowered)
			d.Lower()
			<-d.Done()
			if took := time.Since(begin); took != max(lowered, time.Minute) {
				t.Errorf("ended after %v, lowered after %v", took, lowered)
			}
			if d.Err() != context.DeadlineExceeded {
				t.Error(d.Err())
			}
			d.Lower() // changes nothing
		})
	}
}

func TestDetachedChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := Detach(context.WithValue(t.Context(), userKey{}, "alice"), time.Minute, nil)
		short, cancel := context.WithTimeout(d, time.Second)
		defer cancel()
		long, cancel := context.WithTimeout(d, time.Hour)
		defer cancel()
		left, cancel := context.WithCancel(d)
		cancel()
		ran := false
		context.AfterFunc(d, func() { ran = true })
		stopped := false
		stop := context.AfterFunc(d, func() { stopped = true })
		if !stop() || stop() {
			t.Error("AfterFunc: the first stop succeeds, the second does not")
		}
		if left.Err() != context.Canceled || d.Err() != nil {
			t.Errorf("a child that is cancelled ends alone: %v, parent %v", left.Err(), d.Err())
		}
		<-short.Done()
		if d.Err() != nil || long.Err() != nil {
			t.Error("a child's deadline ended others")
		}
		reason := errors.New("reason")
		d.Cancel(reason)
		synctest.Wait()
		if long.Err() != context.Canceled {
			t.Errorf("child: Err %v, cause %v, want the parent's", long.Err(), context.Cause(long))
		}
		if !ran || stopped {
			t.Errorf("AfterFunc ran %v, the stopped one %v", ran, stopped)
		}
		if long.Value(userKey{}) != "alice" {
			t.Error("a child lost the value")
		}
		late, cancel := context.WithCancel(d)
		defer cancel()
		ran = false
		stop = context.AfterFunc(d, func() { ran = true })
		synctest.Wait()
		if late.Err() != context.Canceled || !ran || stop() {
			t.Errorf("children made after the end: Err %v, AfterFunc ran %v", late.Err(), ran)
		}
	})
}

func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2)
		for range 2 {
			if !p.Acquire() {
				t.Fatal("a free slot was refused")
			}
		}
		if p.Acquire() {
			t.Fatal("more slots than there are")
		}
		p.Release()
		if !p.Acquire() {
			t.Error("a slot given back was refused")
		}
		if err := p.Close(); err == nil || err.Error() != "2 refreshes still running 5s after Close" {
			t.Errorf("Close with busy slots: %v", err)
		}
		p.Release()
		if p.Acquire() {
			t.Error("a slot of a closed pool")
		}
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("Close returned %v with a slot taken", err)
		default:
		}
		p.Release()
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}
