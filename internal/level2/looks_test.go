package level2

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// What another process writes late is removed by a second look, though nobody
// has asked for it, and the others are told.
func TestSecondLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(talkative)
		l := newTestLevel(t, b, ownTest)
		defer l.Close()
		other := newTestLevel(t, b)
		defer other.Close()
		late := map[string]*Record[string]{"deleted": by(other, newRecord("old")), "set": by(other, newRecord("old"))}
		time.Sleep(time.Second)
		<-l.Remove("deleted", l.cfg.Clock.Next(), Claim{}, true)
		set := newRecord("new")
		set.Stamp = l.cfg.Clock.Next()
		<-l.Write("set", set, Claim{}, true)
		<-l.Remove("untouched", l.cfg.Clock.Next(), Claim{}, true)
		time.Sleep(5 * time.Second)
		late["untouched"] = by(other, newRecord("new"))
		for key, r := range late {
			<-other.Write(key, r, Claim{}, false)
		}
		time.Sleep(secondLook)
		synctest.Wait()
		for key, want := range map[string]bool{"deleted": false, "set": false, "untouched": true} {
			if got := b.holds("p:v:" + key); got != want {
				t.Errorf("after a second look the backend has %q: %v, want %v", key, got, want)
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		told := map[string]int{}
		for _, p := range b.told {
			told[p.Name]++
		}
		if told["deleted"] != 2 || told["set"] != 2 || told["untouched"] != 1 {
			t.Errorf("told %v, want what was removed again told again", told)
		}
	})
}

// A look that fails is made again. Until then nothing that old is read.
func TestSecondLookFails(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		long := newRecord("old")
		long.ErrorUntil += int64(time.Hour)
		time.Sleep(2 * maxClockSkew)
		<-l.Remove("a", l.cfg.Clock.Next(), Claim{}, true)
		<-other.Write("a", by(other, long), Claim{}, false)
		b.setFault(down)
		for range 10 {
			time.Sleep(supersededFor)
			wantRead(t, l, "a", "")
		}
		b.setFault(nil)
		time.Sleep(secondLook + breakerMaxPause)
		if b.holds("p:v:a") {
			t.Error("the backend still has what is too old")
		}
	})
}

// Looks are bounded, and of a key the last one counts.
func TestLooks(t *testing.T) {
	s, now := newLooks(), time.Unix(0, 0)
	if due, wait := s.take(now); due != nil || wait != 0 {
		t.Errorf("of none: %v, wait %v", due, wait)
	}
	s.add("a", 1, now.Add(1*time.Second))
	s.add("b", 2, now.Add(2*time.Second))
	s.add("a", 1, now.Add(3*time.Second))
	for at, want := range []string{"", "", "b", "a", ""} {
		due, wait := s.take(now.Add(time.Duration(at) * time.Second))
		got := ""
		for _, k := range due {
			got += k.key
		}
		if got != want || wait > time.Second {
			t.Errorf("after %d s: %q, wait %v, want %q", at, got, wait, want)
		}
	}
	for i := range supersededKeys + 10 {
		if ok := s.add(fmt.Sprint(i), 1, now); ok != (i < supersededKeys) {
			t.Fatalf("look %d taken: %v", i, ok)
		}
	}
	n := 0
	for due, _ := s.take(now); len(due) > 0; due, _ = s.take(now) {
		n += len(due)
	}
	if n != supersededKeys || len(s.due) != 0 {
		t.Errorf("%d looks, %d left", n, len(s.due))
	}
}

// A load that takes long is not written: others may have forgotten a removal
// that came while it ran. How long it was queued does not matter.
func TestOldValueIsNotWritten(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		young, old := newRecord("v"), newRecord("v")
		old.Stamp.At -= int64(maxValueAge) + 1
		<-l.Write("old", old, Claim{}, false)
		<-l.Write("young", young, Claim{}, false)
		if b.holds("p:v:old") || !b.holds("p:v:young") {
			t.Errorf("old written: %v, young written: %v", b.holds("p:v:old"), b.holds("p:v:young"))
		}
	})
}

// A message about a key comes when a load has stored its value and not queued
// it yet: it is not written, and not read from the queue.
func TestRemovalBetweenStoringAndQueueing(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		loaded := newRecord("old")
		time.Sleep(time.Millisecond)
		l.Supersede(Purge{Kind: PurgeKey, Name: "a", Stamp: Stamp{l.at().At, otherTest}}, l.cfg.Clock.Next())
		l.Write("a", loaded, Claim{}, false)
		wantRead(t, l, "a", "")
		synctest.Wait()
		if b.holds("p:v:a") {
			t.Error("written after a removal that was heard of")
		}
	})
}

// A process that was seen to be ahead is not believed any more; one that is
// behind is answered, so that it can see that.
func TestClocksOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(talkative)
		l := newTestLevel(t, b, ownTest)
		defer l.Close()
		time.Sleep(time.Minute)
		greet := func(by uint64, ahead time.Duration) {
			l.receive(appendMessage(nil, l.cfg.Prefix, Purge{Kind: greeting, Stamp: Stamp{time.Now().Add(ahead).UnixNano(), by}}))
			synctest.Wait()
		}
		b.mu.Lock()
		b.told = nil
		b.mu.Unlock()
		for range 3 {
			greet(otherTest, maxClockSkew+1)
			greet(otherTest+1, -maxClockSkew-1)
			greet(otherTest+2, maxClockSkew)
		}
		time.Sleep(time.Hour)
		for by, want := range map[uint64]bool{ownTest: true, otherTest: false, otherTest + 1: true, otherTest + 2: true} {
			if got := l.trusts(Stamp{1, by}); got != want {
				t.Errorf("process %d trusted: %v, want %v", by, got, want)
			}
		}
		for i := range uint64(3 * clocksKnown) {
			l.trusts(Stamp{time.Now().Add(time.Hour).UnixNano(), 100 + i})
		}
		if n := len(l.clocks.ahead); n > clocksKnown {
			t.Errorf("%d clocks known, want at most %d", n, clocksKnown)
		}
		if s := l.Stats(); s.Received != 0 {
			t.Errorf("%d greetings counted as purges", s.Received)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.told) != 1 || b.told[0].Kind != greeting {
			t.Errorf("told %+v, want one answer", b.told)
		}
	})
}
