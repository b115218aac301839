package level2

import (
	"testing"
	"testing/synctest"
	"time"
)

// ahead returns a record of a process whose clock is half a second ahead.
func ahead(value string) *Record[string] {
	r := newRecord(value)
	r.Stamp.At += int64(maxClockSkew / 2)
	return r
}

// What another process with a clock that is ahead has loaded before a delete
// is not read after it, although its stamp is later. What was loaded well after
// the delete is.
func TestSkewAndDelete(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		old := by(other, ahead("old"))
		time.Sleep(time.Millisecond)
		<-l.Remove("a", l.cfg.Clock.Next(), Claim{}, true)
		other.Write("a", old, Claim{}, false) // late
		synctest.Wait()
		wantRead(t, l, "a", "")
		time.Sleep(maxClockSkew)
		other.Write("a", by(other, ahead("new")), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "a", "new")
	})
}

// The same for a Set: of what is that old, only the value that was set is read.
func TestSkewAndSet(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		old := by(other, ahead("old"))
		time.Sleep(time.Millisecond)
		set := newRecord("set")
		set.Stamp = l.cfg.Clock.Next()
		<-l.Write("a", set, Claim{}, true)
		wantRead(t, l, "a", "set")
		other.Write("a", old, Claim{}, false) // late
		synctest.Wait()
		wantRead(t, l, "a", "")
		// A third process has been told.
		third := newTestLevel(t, b, otherTest+1)
		defer third.Close()
		third.Supersede(Purge{Kind: PurgeOlder, Name: "a", Stamp: set.Stamp}, third.cfg.Clock.Next())
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
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		b.begin(t.Context(), "", "")
		r := ahead("Alice")
		r.Stamp.By = otherTest
		sealed, _ := l.seal("a", r)
		b.plant("p:v:a", sealed)
		wantRead(t, l, "a", "Alice")
		if s := l.cfg.Clock.Next(); s.At <= r.Stamp.At {
			t.Errorf("the next stamp is %v before that of what was read", time.Duration(r.Stamp.At-s.At))
		}
	})
}

// A purge by a clock far ahead does not purge what is loaded for hours.
func TestSkewOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Purge
		l := newTestLevel(t, new(fakeBackend))
		defer l.Close()
		l.cfg.Apply = func(p Purge, _ Stamp) { got = append(got, p) }
		now := time.Now()
		l.receive(appendMessage(nil, l.cfg.Prefix, Purge{Kind: PurgeTag, Name: "users", Stamp: Stamp{now.Add(time.Hour).UnixNano(), ownTest}}))
		l.receive(appendMessage(nil, l.cfg.Prefix, Purge{Kind: PurgeTag, Name: "own", Stamp: l.at()}))
		l.receive(appendMessage(nil, "others:", Purge{Kind: PurgeTag, Name: "of other things", Stamp: Stamp{By: ownTest}}))
		l.receive([]byte("nonsense"))
		if len(got) != 1 || got[0].Stamp.At != now.Add(maxClockSkew).UnixNano() {
			t.Errorf("applied %+v, want one purge, of at most a second from now", got)
		}
	})
}
