package level2

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		wantRead(t, l, "a", "")
		want := newRecord("Alice")
		want.Tags, want.ETag, want.LastModified = []string{"users"}, `"1"`, "Mon"
		want.ErrorUntil += int64(time.Hour)
		l.Write("a", want, Claim{}, false)
		synctest.Wait()
		if !b.holds("p:v:a") || b.ttl != time.Minute+time.Hour {
			t.Errorf("stored %v, for %v, want under its prefix until its horizon", b.holds("p:v:a"), b.ttl)
		}
		got, ok := read(t.Context(), l, "a")
		if !ok {
			t.Fatal("not there")
		}
		got.Cost = want.Cost // is not stored
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, want %+v", got, want)
		}
		<-l.Remove("a", l.at(), Claim{}, false)
		if b.holds("p:v:a") {
			t.Error("still stored")
		}
		wantRead(t, l, "a", "")
		if s := l.Stats(); s.Hits != 1 || s.Misses != 2 || s.Errors+s.Bad+s.Drops+s.Timeouts+s.Skips != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A write is seen at once, a delete too, whatever the backend is doing.
func TestPendingAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", newRecord("old"), Claim{}, false)
		synctest.Wait()
		b.setFault(deaf(time.Second))
		time.Sleep(time.Second)
		l.Write("a", newRecord("new"), Claim{}, false)
		wantRead(t, l, "a", "new")
		time.Sleep(time.Nanosecond)
		l.Remove("a", l.at(), Claim{}, false)
		wantRead(t, l, "a", "")
		if n := b.count("get"); n != 0 {
			t.Errorf("%d reads of the backend, want none", n)
		}
		time.Sleep(time.Minute)
		wantRead(t, l, "a", "")
		if b.holds("p:v:a") {
			t.Error("deleted, and still there")
		}
	})
}

// A load that began before a delete is not written after it, whether the
// delete is queued, under way, or done.
func TestDeleteIsFinal(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		began := newRecord("old")
		time.Sleep(time.Millisecond)
		b.setFault(deaf(10 * time.Millisecond))
		done := l.Remove("a", l.at(), Claim{}, false)
		l.Write("a", began, Claim{}, false) // queued or under way
		synctest.Wait()
		l.Write("a", began, Claim{}, false) // under way
		<-done
		l.Write("a", began, Claim{}, false) // done
		time.Sleep(time.Second)
		if b.holds("p:v:a") || b.count("set") != 0 {
			t.Errorf("written %d times after the delete", b.count("set"))
		}
	})
}

// What another process writes late, of before a delete, is not read.
func TestDeleteHoldsForOthersToo(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		began := newRecord("old")
		time.Sleep(time.Millisecond)
		<-l.Remove("a", l.at(), Claim{}, false)
		other.Write("a", began, Claim{}, false)
		synctest.Wait()
		wantRead(t, other, "a", "old") // nobody has told it
		wantRead(t, l, "a", "")
		// What was loaded well after the delete is read.
		time.Sleep(2 * maxClockSkew)
		other.Write("a", newRecord("new"), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "a", "new")
	})
}

// A purge holds for what is read, what is queued, and what others wrote with
// a clock that is a little ahead.
func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBackend)
		var mark atomic.Int64
		l := New(Config[string]{
			Backend: b, Codec: stringCodec{}, Timeout: 50 * time.Millisecond, MaxOps: 100, MaxBytes: 1 << 20, Clock: &Clock{by: ownTest},
			Forgotten: func() int64 { return 0 },
			Purged: func(key string, tags []string, stamp int64) bool {
				return slices.Contains(tags, "users") && stamp <= mark.Load()
			},
		})
		l.Begin()
		defer l.Close()
		tagged := func(value string) *Record[string] {
			r := newRecord(value)
			r.Tags = []string{"users"}
			return r
		}
		l.Write("stored", tagged("Alice"), Claim{}, false)
		synctest.Wait()
		queued := tagged("Bob")
		mark.Store(time.Now().UnixNano())
		l.Write("queued", queued, Claim{}, false)
		wantRead(t, l, "stored", "")
		wantRead(t, l, "queued", "")
		synctest.Wait()
		if b.holds("v:queued") {
			t.Error("written after it was purged")
		}
		time.Sleep(maxClockSkew / 2)
		r := tagged("Carol")
		l.Write("soon", r, Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "soon", "Carol")
		r = tagged("Carol")
		r.Stamp.By = otherTest
		l.Write("soon of another", r, Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "soon of another", "") // perhaps older than it says
		time.Sleep(maxClockSkew)
		l.Write("later", tagged("Dave"), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "later", "Dave")
	})
}

// What another process has removed or set is not overwritten by what is queued
// here, also if that is being written just then.
func TestSupersededWhileQueued(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		b.setFault(deaf(10 * time.Millisecond))
		l.Write("running", newRecord("old"), Claim{}, false)
		synctest.Wait()
		l.Write("queued", newRecord("old"), Claim{}, false)
		for _, key := range []string{"running", "queued", "other"} {
			l.Supersede(Purge{Kind: PurgeKey, Name: key, Stamp: Stamp{l.at().At, otherTest}}, l.cfg.Clock.Next())
			wantRead(t, l, key, "")
		}
		time.Sleep(time.Second)
		if b.holds("p:v:running") || b.holds("p:v:queued") {
			t.Error("written over what another process has done")
		}
		if n := b.count("delete"); n != 2 {
			t.Errorf("%d removals, want one for each that was queued", n)
		}
	})
}

// Whatever bytes come, they are a miss unless they are the key's own.
func TestBadBytes(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", newRecord("Alice"), Claim{}, false)
		synctest.Wait()
		good := b.stored("p:v:a")
		for _, bad := range [][]byte{
			nil, {}, {1}, []byte("Alice"), good[1:], good[:len(good)-1],
			append(slices.Clone(good), 0), []byte(strings.ToUpper(string(good))),
		} {
			b.plant("p:v:a", bad)
			wantRead(t, l, "a", "")
		}
		b.plant("p:v:b", good) // another key's
		wantRead(t, l, "b", "")
		b.plant("p:v:a", good)
		wantRead(t, l, "a", "Alice")
		if s := l.Stats(); s.Bad != 9 || s.Errors != 0 || s.Open {
			t.Errorf("%+v, want 9 bad and no error: the backend did answer", s)
		}
	})
}

// Bytes of another codec or type are not decoded.
func TestOtherFormat(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		type user struct{ Name string }
		other := New(Config[user]{
			Backend: b, Codec: jsonCodec[user]{}, Prefix: "p:", Timeout: time.Second, MaxOps: 1, MaxBytes: 1 << 20, Clock: NewClock(),
			Purged:    func(string, []string, int64) bool { return false },
			Forgotten: func() int64 { return 0 },
		})
		other.Begin()
		defer other.Close()
		l.Write("a", newRecord(`{"Name":"Alice"}`), Claim{}, false)
		synctest.Wait()
		if r, _ := other.lookup(t.Context(), "a"); r != nil {
			t.Errorf("a string was read as %+v", r.Value)
		}
	})
}

// A value from the future is not believed, nor one whose time is over.
func TestTimes(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		r := newRecord("Alice")
		r.Stamp = Stamp{r.Stamp.At + int64(2*maxClockSkew), otherTest}
		l.Write("future", r, Claim{}, false)
		l.Write("now", newRecord("Bob"), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "future", "")
		time.Sleep(time.Minute - 1)
		wantRead(t, l, "now", "Bob")
		time.Sleep(time.Nanosecond)
		wantRead(t, l, "now", "") // the backend keeps it longer than asked
		l.Write("over", r, Claim{}, false)
		synctest.Wait()
		if b.holds("p:v:over") {
			t.Error("written, and of no use to anyone")
		}
	})
}

// No read takes longer than the budget, and during an outage none takes any
// time; after it the backend is used again.
func TestOutage(t *testing.T) {
	for name, fault := range map[string]func(context.Context, string, string) error{
		"errors": down,
		"panics": func(context.Context, string, string) error { panic("backend") },
		"goexit": func(context.Context, string, string) error { runtime.Goexit(); return nil },
		"hangs": func(ctx context.Context, _, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"deaf": deaf(time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
				l.Write("a", newRecord("Alice"), Claim{}, false)
				synctest.Wait()
				b.setFault(fault)
				start := time.Now()
				for range 1000 {
					wantRead(t, l, "a", "")
				}
				if took := time.Since(start); took > breakerFailures*50*time.Millisecond {
					t.Errorf("a thousand reads took %v, want no more than the failures that open the breaker", took)
				}
				if s := l.Stats(); !s.Open || s.Opened != 1 || s.Skips != 1000-breakerFailures || s.Errors+s.Timeouts != breakerFailures {
					t.Errorf("%+v", s)
				}
				b.setFault(nil)
				time.Sleep(breakerPause)
				wantRead(t, l, "a", "Alice")
				wantRead(t, l, "a", "Alice")
				if l.Stats().Open {
					t.Error("still open")
				}
			})
		})
	}
}

// Reads that the backend never lets go are bounded in number.
func TestBoundsReads(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		b.setFault(deaf(time.Hour))
		for range 10 * backendReads {
			go read(t.Context(), l, "a")
		}
		time.Sleep(time.Second)
		if n := b.count("get"); n > backendReads {
			t.Errorf("%d reads under way, want at most %d", n, backendReads)
		}
		time.Sleep(2 * time.Hour) // in the end it lets go
		b.setFault(nil)
		time.Sleep(breakerMaxPause)
		wantRead(t, l, "a", "")
		if s := l.Stats(); s.Open {
			t.Errorf("%+v, want it in use again", s)
		}
	})
}

// A reader that leaves says nothing about the backend.
func TestReaderLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		b.setFault(deaf(20 * time.Millisecond))
		for range 10 * breakerFailures {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			read(ctx, l, "a")
			cancel()
		}
		if s := l.Stats(); s.Open || s.Errors+s.Timeouts != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What could not be written during an outage does not leave the value before
// it to be read: not here, and after the outage not elsewhere.
func TestRepairsItself(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		keys := []string{"set", "deleted", "untouched"}
		for _, key := range keys {
			l.Write(key, newRecord("old"), Claim{}, false)
		}
		synctest.Wait()
		b.setFault(down)
		time.Sleep(2 * maxClockSkew)
		l.Write("set", newRecord("new"), Claim{}, false)
		l.Remove("deleted", l.at(), Claim{}, false)
		time.Sleep(maxValueAge) // too late to be written
		b.setFault(nil)
		wantRead(t, l, "deleted", "")
		time.Sleep(breakerMaxPause)
		for _, key := range keys {
			if got, want := b.holds("p:v:"+key), key == "untouched"; got != want {
				t.Errorf("after the outage the backend has %q: %v, want %v", key, got, want)
			}
		}
	})
}

// One value that the backend always refuses is given up, and what is stored
// for its key is not used any more. Other keys are not disturbed.
func TestGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("poison", newRecord("old"), Claim{}, false)
		synctest.Wait()
		b.setFault(func(_ context.Context, call, key string) error {
			if key == "p:v:poison" && call != "get" {
				return errBackend
			}
			return nil
		})
		time.Sleep(2 * maxClockSkew)
		r := newRecord("new")
		r.ErrorUntil += int64(24 * time.Hour)
		sealed, _ := l.seal("poison", &Record[string]{Value: "old", Stamp: Stamp{r.Stamp.At - 1, ownTest}, ErrorUntil: r.ErrorUntil})
		b.plant("p:v:poison", sealed)
		l.Write("poison", r, Claim{}, false)
		for range 1000 {
			time.Sleep(time.Second)
			l.Write("other", newRecord("fine"), Claim{}, false)
			wantRead(t, l, "poison", "")
		}
		synctest.Wait()
		s := l.Stats()
		if s.Queued != 0 || s.Drops != 2 || s.Opened != 0 || s.Errors != maxAttempts {
			t.Errorf("%+v, want the value and its removal dropped after %d attempts", s, maxAttempts)
		}
		wantRead(t, l, "other", "fine")
	})
}

// A full queue refuses; what it refused is not read in an older form.
func TestQueueFull(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("last", newRecord("old"), Claim{}, false)
		synctest.Wait()
		b.setFault(deaf(10 * time.Second))
		time.Sleep(2 * maxClockSkew)
		for i := range 100 {
			l.Write(fmt.Sprint(i), newRecord("v"), Claim{}, false)
		}
		synctest.Wait()
		l.Write("last", newRecord("new"), Claim{}, false)
		if s := l.Stats(); s.Queued != 100 || s.Drops != 1 {
			t.Errorf("%d queued, %d drops, want 100, 1", s.Queued, s.Drops)
		}
		for i := range 1000 { // removals have as much room again
			l.Write(fmt.Sprint("set", i), newRecord("v"), Claim{}, true)
		}
		// And what found none of it is covered by a purge of everything.
		if s := l.Stats(); s.Queued != 201 || s.Drops != 1001 {
			t.Errorf("%d queued, %d drops, want 201, 1001", s.Queued, s.Drops)
		}
		b.setFault(nil)
		wantRead(t, l, "last", "")
	})
}

// A codec that fails, or panics, costs a hit.
func TestCodecFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := new(fakeBackend), new(faultyCodec)
		l := newTestLevel(t, b)
		l.codec = c
		defer l.Close()
		for _, f := range []func(){func() { c.err = errBackend }, func() { c.panics = true }, func() { c.exits = true }} {
			*c = faultyCodec{}
			time.Sleep(time.Second)
			l.Write("a", newRecord("Alice"), Claim{}, false)
			synctest.Wait()
			wantRead(t, l, "a", "Alice")
			f()
			wantRead(t, l, "a", "")
			time.Sleep(time.Second)
			l.Write("a", newRecord("Bob"), Claim{}, false)
			synctest.Wait()
			if b.holds("p:v:a") {
				t.Error("what could not be encoded left the value before it")
			}
			time.Sleep(2 * maxClockSkew)
		}
		if s := l.Stats(); s.Open || s.Bad != 3 || s.Drops != 3 {
			t.Errorf("%+v", s)
		}
	})
}

type faultyCodec struct {
	err    error
	panics bool
	exits  bool // its goroutine
}

func (c *faultyCodec) end() {
	if c.panics {
		panic("codec")
	}
	if c.exits {
		runtime.Goexit()
	}
}

func (c *faultyCodec) Append(dst []byte, v string) ([]byte, error) {
	c.end()
	return append(dst, v...), c.err
}

func (c *faultyCodec) Decode(data []byte) (string, error) {
	c.end()
	return string(data), c.err
}

// Close writes what is queued, if that can be done in time.
func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBackend)
		b.setFault(deaf(40 * time.Millisecond))
		l := newTestLevel(t, b)
		for i := range 50 {
			l.Write(fmt.Sprint(i), newRecord("v"), Claim{}, false)
		}
		start := time.Now()
		l.Close()
		if took := time.Since(start); took > backendCloseTimeout || len(b.m) != 50 {
			t.Errorf("closed after %v with %d written, want 50", took, len(b.m))
		}
	})
}

// Close does not wait long for a backend that is slow, down or gone.
func TestCloseIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		fault func(context.Context, string, string) error
		limit time.Duration
	}{
		"down": {down, time.Second},
		"slow": {deaf(49 * time.Millisecond), backendCloseTimeout + time.Second},
		"deaf": {deaf(time.Hour), backendCloseTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(fakeBackend)
				b.setFault(tt.fault)
				l := newTestLevel(t, b)
				l.queue.maxOps = 10_000
				for i := range 5000 {
					l.Write(fmt.Sprint(i), newRecord("v"), Claim{}, false)
				}
				start := time.Now()
				l.Close()
				if took := time.Since(start); took > tt.limit {
					t.Errorf("closed after %v, want at most %v", took, tt.limit)
				}
				l.Write("after", newRecord("v"), Claim{}, false) // is no harm
				wantRead(t, l, "after", "")
				time.Sleep(2 * time.Hour) // the deaf let go of their goroutines
			})
		})
	}
}
