package cachefetch

import (
	"testing"
	"testing/synctest"
	"time"
)

// ahead returns a record of a process whose clock is half a second ahead.
func ahead(value string) *record[string] {
	r := newRecord(value)
	r.stamp.at += int64(maxClockSkew / 2)
	return r
}

// What another process with a clock that is ahead has loaded before a delete
// is not read after it, although its stamp is later. What was loaded well after
// the delete is.
func TestSkewAndDelete(t *testing.T) {
	l2Bubble(t, func(t *testing.T, l *l2[string], b *fakeBackend) {
		other := newTestL2(t, b)
		defer other.close()
		old := by(other, ahead("old"))
		time.Sleep(time.Millisecond)
		<-l.remove("a", l.clock.next(), claim{}, true)
		other.write("a", old, claim{}, false) // late
		synctest.Wait()
		wantRead(t, l, "a", "")
		time.Sleep(maxClockSkew)
		other.write("a", by(other, ahead("new")), claim{}, false)
		synctest.Wait()
		wantRead(t, l, "a", "new")
	})
}

// The same for a Set: of what is that old, only the value that was set is read.
func TestSkewAndSet(t *testing.T) {
	l2Bubble(t, func(t *testing.T, l *l2[string], b *fakeBackend) {
		other := newTestL2(t, b)
		defer other.close()
		old := by(other, ahead("old"))
		time.Sleep(time.Millisecond)
		set := newRecord("set")
		set.stamp = l.clock.next()
		<-l.write("a", set, claim{}, true)
		wantRead(t, l, "a", "set")
		other.write("a", old, claim{}, false) // late
		synctest.Wait()
		wantRead(t, l, "a", "")
		// A third process has been told.
		third := newTestL2(t, b, otherTest+1)
		defer third.close()
		third.supersede(purge{kind: purgeOlder, name: "a", stamp: set.stamp}, third.clock.next())
		wantRead(t, third, "a", "")
		sealed, _ := l.seal("a", set)
		b.plant("p:v:a", sealed)
		wantRead(t, l, "a", "set")
		wantRead(t, third, "a", "set")
	})
}

// A Set follows what its process has read, so it is the newer one, also if it
// was read from a process whose clock is ahead.
func TestSkewAndOrder(t *testing.T) {
	l2Bubble(t, func(t *testing.T, l *l2[string], b *fakeBackend) {
		b.begin(t.Context(), "", "")
		r := ahead("Alice")
		r.stamp.by = otherTest
		sealed, _ := l.seal("a", r)
		b.plant("p:v:a", sealed)
		wantRead(t, l, "a", "Alice")
		if s := l.clock.next(); s.at <= r.stamp.at {
			t.Errorf("the next stamp is %v before that of what was read", time.Duration(r.stamp.at-s.at))
		}
	})
}

// A purge by a clock far ahead does not purge what is loaded for hours.
func TestSkewOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []purge
		l := newTestL2(t, new(fakeBackend))
		defer l.close()
		l.applyPurge = func(p purge, _ stamp) { got = append(got, p) }
		now := time.Now()
		l.receive(appendMessage(nil, l.prefix, purge{kind: purgeTag, name: "users", stamp: stamp{now.Add(time.Hour).UnixNano(), ownTest}}))
		l.receive(appendMessage(nil, l.prefix, purge{kind: purgeTag, name: "own", stamp: l.at()}))
		l.receive(appendMessage(nil, "others:", purge{kind: purgeTag, name: "of other things", stamp: stamp{by: ownTest}}))
		l.receive([]byte("nonsense"))
		if len(got) != 1 || got[0].stamp.at != now.Add(maxClockSkew).UnixNano() {
			t.Errorf("applied %+v, want one purge, of at most a second from now", got)
		}
	})
}
