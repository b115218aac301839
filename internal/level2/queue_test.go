package level2

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newOp(key string, at int64, value string) *op[string] {
	s := Stamp{at, ownTest}
	o := &op[string]{key: key, hash: testHash(key), stamp: s, bound: renewal(s), done: make(chan struct{})}
	if value != "" {
		o.record = &Record[string]{Value: value, Stamp: s, Cost: int64(len(value))}
	}
	return o
}

func wantPut(t *testing.T, q *queue[string], o *op[string], want placing) {
	t.Helper()
	if got := q.put(o); got != want {
		t.Errorf("put(%q, stamp %d) = %v, want %v", o.key, o.stamp.At, got, want)
	}
}

func isDone[V any](o *op[V]) bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// drain takes all that is ready and returns it as "key=value".
func drain(q *queue[string]) (made []string) {
	for {
		q.mu.Lock()
		n := len(q.ready)
		q.mu.Unlock()
		if n == 0 {
			return made
		}
		o := q.take()
		s := o.key + "="
		if o.record != nil {
			s += o.record.Value
		}
		made = append(made, s)
		q.finish(o, false)
	}
}

func wantDrained(t *testing.T, q *queue[string], want ...string) {
	t.Helper()
	if got := drain(q); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("made %q, want %q", got, want)
	}
	if u := q.usage(); u.ops != 0 || u.bytes != 0 || len(q.slots) != 0 {
		t.Errorf("empty queue holds %+v, %d slots", u, len(q.slots))
	}
}

func TestQueueNewestWins(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	first, second, late := newOp("a", 2, "a2"), newOp("a", 3, "a3"), newOp("a", 1, "a1")
	wantPut(t, q, first, queued)
	wantPut(t, q, newOp("b", 9, ""), queued)
	wantPut(t, q, second, queued)
	wantPut(t, q, late, outdated)
	if !isDone(first) || isDone(second) {
		t.Error("what was replaced must be done; the newest must not")
	}
	if r, ok := q.pending("a"); !ok || r.Value != "a3" {
		t.Errorf("pending(a) = %+v, %v", r, ok)
	}
	if r, ok := q.pending("b"); !ok || r != nil {
		t.Errorf("pending(b) = %+v, %v, want a removal", r, ok)
	}
	if _, ok := q.pending("c"); ok {
		t.Error("pending(c): there is none")
	}
	wantDrained(t, q, "a=a3", "b=")
	if !isDone(second) {
		t.Error("made, but not done")
	}
}

// While a change is made, one of the same key waits, and is made after it.
func TestQueueOneOfAKeyAtATime(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	wantPut(t, q, newOp("a", 1, "a1"), queued)
	o := q.take()
	wantPut(t, q, newOp("a", 3, "a3"), queued)
	wantPut(t, q, newOp("a", 2, "a2"), outdated) // older than what waits
	wantPut(t, q, newOp("a", 0, "a0"), outdated) // older than what is being made
	if len(q.ready) != 0 {
		t.Fatal("two of a key may be made at once")
	}
	if r, _ := q.pending("a"); r.Value != "a3" {
		t.Errorf("pending = %q, want the newest", r.Value)
	}
	q.finish(o, false)
	wantDrained(t, q, "a=a3")
}

// What comes late, after something newer was made, is not made any more.
func TestQueueLatecomer(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	wantPut(t, q, newOp("a", 2, "a2"), queued)
	wantDrained(t, q, "a=a2")
	wantPut(t, q, newOp("a", 1, "a1"), outdated)
	for i := range int64(rememberMade) {
		wantPut(t, q, newOp(fmt.Sprint(i), i+1, "v"), queued)
		drain(q)
	}
	wantPut(t, q, newOp("a", 1, "a1"), outdated)
	wantDrained(t, q)
	if n := len(q.made) + len(q.madeBefore); n > 2*rememberMade {
		t.Errorf("%d keys remembered", n)
	}
}

// A worker that had to wait makes the newest.
func TestQueueNewest(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	wantPut(t, q, newOp("a", 1, "a1"), queued)
	o := q.take()
	if q.newest(o) != o {
		t.Error("newest of the only one is another")
	}
	wantPut(t, q, newOp("a", 2, "a2"), queued)
	n := q.newest(o)
	if n.stamp.At != 2 || !isDone(o) {
		t.Errorf("newest has stamp %d; the old one done: %v", n.stamp.At, isDone(o))
	}
	q.finish(n, false)
	wantDrained(t, q)
}

func TestQueueBounds(t *testing.T) {
	big := string(make([]byte, 600))
	final := func(o *op[string]) *op[string] {
		o.final = true
		return o
	}
	q := newQueue[string](2, 2*opBookkeeping+100)
	wantPut(t, q, newOp("a", 1, "123"), queued)
	wantPut(t, q, newOp("b", 1, big), refused) // too many bytes
	wantPut(t, q, newOp("b", 1, "123"), queued)
	wantPut(t, q, newOp("c", 1, "123"), refused)       // too many values
	wantPut(t, q, final(newOp("c", 1, "123")), queued) // a Set becomes a removal
	wantPut(t, q, newOp("d", 1, ""), queued)           // they have twice the room
	wantPut(t, q, newOp("e", 1, ""), refused)
	wantPut(t, q, final(newOp("e", 1, "123")), refused)
	if r, ok := q.pending("c"); r != nil || !ok {
		t.Errorf("pending(c) = %+v, %v, want a removal", r, ok)
	}
	wantPut(t, q, newOp("a", 2, big), queued) // too big for the place, but what was there must go
	if u := q.usage(); u.drops != 6 || u.ops != 4 {
		t.Errorf("%d drops, %d queued, want 6, 4", u.drops, u.ops)
	}
	wantDrained(t, q, "a=", "b=123", "c=", "d=")
}

// A message is told although what it was about has been replaced.
func TestQueueKeepsEvents(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	o := newOp("a", 1, "")
	o.tell = Purge{Kind: PurgeKey, Name: "gone"}
	wantPut(t, q, o, queued)
	wantPut(t, q, newOp("a", 2, "a2"), queued)
	o = q.take()
	if o.tell.Name != "gone" {
		t.Errorf("message %+v, want it to go on", o.tell)
	}
	q.finish(o, false)
	wantDrained(t, q)
}

func TestQueueForgetsRecord(t *testing.T) {
	q := newQueue[string](10, 1<<20)
	wantPut(t, q, newOp("a", 1, "a1"), queued)
	o := q.take()
	q.forgetRecord(o)
	q.forgetRecord(o)
	if r, ok := q.pending("a"); r != nil || !ok {
		t.Errorf("pending = %+v, %v, want a removal", r, ok)
	}
	if u := q.usage(); u.drops != 1 || u.bytes != opBookkeeping+1 {
		t.Errorf("%+v, want a drop, and the bytes of a removal", u)
	}
	q.finish(o, false)
	wantDrained(t, q)
}

func TestQueueRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string](10, 1<<20)
		wantPut(t, q, newOp("a", 1, ""), queued)
		q.retry(q.take(), time.Second)
		if len(q.ready) != 0 {
			t.Fatal("no wait")
		}
		if _, ok := q.pending("a"); !ok {
			t.Error("what waits for its retry is not pending")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		o := q.take()
		// Something newer need not wait.
		wantPut(t, q, newOp("a", 2, "a2"), queued)
		q.retry(o, time.Hour)
		wantDrained(t, q, "a=a2")
		wantPut(t, q, newOp("a", 3, ""), queued)
		q.retry(q.take(), time.Hour)
		wantPut(t, q, newOp("a", 4, "a4"), queued)
		wantDrained(t, q, "a=a4")
		// Nor does closing.
		wantPut(t, q, newOp("a", 5, ""), queued)
		q.retry(q.take(), time.Hour)
		q.close()
		wantPut(t, q, newOp("b", 1, ""), refused)
		wantDrained(t, q, "a=")
		if q.take() != nil {
			t.Error("a closed and empty queue has something")
		}
	})
}

// Many writers and workers: what is made last of each key is the newest.
func TestQueueConcurrently(t *testing.T) {
	q := newQueue[string](1000, 1<<20)
	var last [8]atomic.Int64
	var workers, writers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for o := q.take(); o != nil; o = q.take() {
				o = q.newest(o)
				n := int(o.key[0] - '0')
				if before := last[n].Swap(o.stamp.At); before > o.stamp.At {
					t.Errorf("key %d: stamp %d made after %d", n, o.stamp.At, before)
				}
				if o.stamp.At%7 == 0 && o.attempts == 0 {
					o.attempts++
					q.retry(o, 0)
				} else {
					q.finish(o, false)
				}
			}
		})
	}
	var stamp atomic.Int64
	for range 4 {
		writers.Go(func() {
			for range 2000 {
				s := stamp.Add(1)
				q.put(newOp(string(rune('0'+s%8)), s, "v"))
				q.pending("0")
			}
		})
	}
	writers.Wait()
	q.close()
	workers.Wait()
	for n := range last {
		if got, want := last[n].Load(), int64(8000-8+n); got != want && n > 0 || n == 0 && got != 8000 {
			t.Errorf("key %d: stamp %d made last, want %d", n, got, want)
		}
	}
	if u := q.usage(); u.ops != 0 || u.bytes != 0 {
		t.Errorf("empty queue holds %+v", u)
	}
}

// What takes the place of a removal that was not made yet makes it, and
// finds too old what that did.
func TestQueueInheritsRemovals(t *testing.T) {
	for _, running := range []bool{false, true} {
		q := newQueue[string](10, 1<<20)
		o := newOp("a", 1, "")
		o.final, o.bound = true, removal(o.stamp, o.stamp)
		wantPut(t, q, o, queued)
		if running {
			q.take()
		}
		wantPut(t, q, newOp("a", 2, "a2"), queued)
		if running {
			q.retry(o, time.Hour) // it has failed
		}
		o = q.take()
		if !o.final || o.record == nil || o.bound.Allows(Stamp{int64(maxClockSkew), otherTest}) || !o.bound.Allows(o.stamp) {
			t.Errorf("running: %v: %+v, want a removal and a value", running, o)
		}
		q.finish(o, false)
		wantDrained(t, q)
	}
}
