package level2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func tagged(value string, tags ...string) *Record[string] {
	r := newRecord(value)
	r.Tags = tags
	return r
}

func purgeTags(l *Level[string], tags ...string) {
	for _, tag := range tags {
		for _, done := range l.Purge(Purge{Kind: PurgeTag, Name: tag, Stamp: l.cfg.Clock.Next()}) {
			<-done
		}
	}
}

// A mark holds for what was generated before it, and not for other tags.
func TestMarks(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", tagged("Alice", "users", "vips"), Claim{}, false)
		l.Write("b", tagged("Bob", "users"), Claim{}, false)
		l.Write("c", newRecord("Carol"), Claim{}, false)
		time.Sleep(2 * maxClockSkew)
		purgeTags(l, "vips")
		wantRead(t, l, "a", "")
		wantRead(t, l, "b", "Bob")
		wantRead(t, l, "c", "Carol")
		time.Sleep(2 * maxClockSkew)
		l.Write("a", tagged("Alice again", "users", "vips"), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "a", "Alice again")
		l.Purge(Purge{Kind: PurgeFlush, Stamp: l.cfg.Clock.Next()})
		time.Sleep(markRefresh)
		for _, key := range []string{"a", "b", "c"} {
			wantRead(t, l, key, "")
		}
	})
}

// A mark that cannot be read, or not be understood, may be one that applies.
func TestMarksInDoubt(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", tagged("Alice", "users"), Claim{}, false)
		synctest.Wait()
		b.setFault(func(_ context.Context, call, key string) error {
			if strings.HasPrefix(key, "p:t:") {
				return errBackend
			}
			return nil
		})
		wantRead(t, l, "a", "")
		b.setFault(nil)
		wantRead(t, l, "a", "Alice")
		time.Sleep(markRefresh)
		b.plant("p:t:users", []byte("purged?"))
		wantRead(t, l, "a", "")
		b.plant("p:t:users", b.stored("p:v:a")) // an envelope, of something else
		wantRead(t, l, "a", "")
		b.uproot("p:t:users")
		wantRead(t, l, "a", "Alice")
	})
}

// Marks are read once a second, and not at all for what was generated since
// messages come.
func TestMarksAreRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", tagged("Alice", "users"), Claim{}, false)
		synctest.Wait()
		for range 10 {
			wantRead(t, l, "a", "Alice")
		}
		if n := b.count("get"); n != 10+2 {
			t.Errorf("%d reads for ten of the value, want two more: a tag's mark and that of flushes", n)
		}
		time.Sleep(markRefresh)
		wantRead(t, l, "a", "Alice")
		if n := b.count("get"); n != 10+2+3 {
			t.Errorf("%d reads, want the marks read again", n)
		}
		l.reconnected()
		time.Sleep(maxBackendLag)    // it may show what was before
		wantRead(t, l, "a", "Alice") // generated before: the marks, once more
		time.Sleep(time.Minute / 2)
		wantRead(t, l, "a", "Alice")
		if n := b.count("get"); n != 10+2+3+3+1 {
			t.Errorf("%d reads, want the marks read once since messages come", n)
		}
		l.Write("b", tagged("Bob", "others"), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "b", "Bob")
		if n := b.count("get"); n != 10+2+3+3+1+1 {
			t.Errorf("%d reads, want none for marks", n)
		}
	})
}

// Neither tags without end nor what is known of them take room without end.
func TestMarksAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		var tags []string
		for i := range maxMarks + 1 {
			tags = append(tags, fmt.Sprint(i))
		}
		l.Write("many", tagged("Alice", tags[1:]...), Claim{}, false)
		l.Write("too many", tagged("Alice", tags...), Claim{}, false)
		synctest.Wait()
		wantRead(t, l, "many", "Alice")
		if b.holds("p:v:too many") {
			t.Error("written, with more tags than are looked at")
		}
		sealed, _ := l.seal("too many", tagged("Alice", tags...))
		b.plant("p:v:too many", sealed)
		wantRead(t, l, "too many", "")
		for i := range 3 * marksKnown {
			l.marks.set(fmt.Sprint(i), mark{stamp: Stamp{1, otherTest}})
		}
		if n := len(l.marks.known); n > marksKnown {
			t.Errorf("%d marks known, want at most %d", n, marksKnown)
		}
	})
}

// Marks and messages are not given up because values fill the queue, and are
// made when the backend is back.
func TestMarksAfterOutage(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		l.Write("a", tagged("Alice", "users"), Claim{}, false)
		synctest.Wait()
		b.setFault(down)
		time.Sleep(2 * maxClockSkew)
		for i := range 200 {
			l.Write(fmt.Sprint(i), newRecord("v"), Claim{}, false)
		}
		done := l.Purge(Purge{Kind: PurgeTag, Name: "users", Stamp: l.cfg.Clock.Next()})
		time.Sleep(time.Minute / 4)
		b.setFault(nil)
		<-done[0]
		if !b.holds("p:t:users") {
			t.Error("the mark is lost")
		}
		other := newTestLevel(t, b) // knows nothing
		defer other.Close()
		wantRead(t, other, "a", "")
	})
}

// Messages: a hard purge is told although a soft one of the same tag, or
// another prefix, comes before it could be.
func TestPurgeTellsEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(talkative)
		l := newTestLevel(t, b)
		defer l.Close()
		synctest.Wait()
		want := []Purge{
			{Kind: PurgeTag, Name: "users"}, {Kind: PurgeTag, Name: "users", Soft: true},
			{Kind: PurgePrefix, Name: "a"}, {Kind: PurgePrefix, Name: "b"}, {Kind: PurgeFlush},
		}
		b.setFault(deaf(40 * time.Millisecond))
		for i := range want {
			want[i].Stamp = l.cfg.Clock.Next()
			l.Purge(want[i])
		}
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range want {
			if !slices.Contains(b.told, p) {
				t.Errorf("%+v was not told; told were %+v", p, b.told)
			}
		}
	})
}

// A talkative backend notes the messages.
type talkative struct {
	fakeBackend
	told []Purge
}

func (b *talkative) Publish(ctx context.Context, message []byte) error {
	_, p, _ := parseMessage(message)
	b.mu.Lock()
	b.told = append(b.told, p)
	b.mu.Unlock()
	return nil
}

func (b *talkative) Subscribe(ctx context.Context, _ func([]byte), connected func()) error {
	connected()
	<-ctx.Done()
	return ctx.Err()
}

// When messages come again, marks are read again, however shortly before they
// were read; and for a while each time, since a backend may show them late.
func TestMarksAfterReconnection(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		l.Write("a", tagged("Alice", "users"), Claim{}, false)
		l.Write("b", tagged("Bob", "vips"), Claim{}, false)
		synctest.Wait()
		time.Sleep(2 * maxClockSkew)
		wantRead(t, l, "a", "Alice")
		wantRead(t, l, "b", "Bob")
		purgeTags(other, "users")
		l.reconnected()
		wantRead(t, l, "a", "")
		wantRead(t, l, "b", "Bob")
		purgeTags(other, "vips")
		time.Sleep(maxBackendLag / 2)
		wantRead(t, l, "b", "")
	})
}

// Purges that find no room in the queue are covered by one of everything, in
// the backend and to the others.
func TestPurgeWithAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(talkative)
		l := newTestLevel(t, b, ownTest)
		defer l.Close()
		for _, key := range []string{"tagged", "deleted"} {
			l.Write(key, tagged("old", "users"), Claim{}, false)
		}
		synctest.Wait()
		time.Sleep(2 * maxClockSkew)
		b.setFault(deaf(40 * time.Millisecond))
		for i := range 3 * l.queue.maxOps {
			l.Purge(Purge{Kind: PurgeTag, Name: fmt.Sprint(i), Stamp: l.cfg.Clock.Next()})
		}
		l.Purge(Purge{Kind: PurgeTag, Name: "users", Stamp: l.cfg.Clock.Next()})
		l.Remove("deleted", l.cfg.Clock.Next(), Claim{}, true)
		b.setFault(nil)
		time.Sleep(time.Minute)
		other := newTestLevel(t, b) // knows nothing
		defer other.Close()
		wantRead(t, other, "tagged", "")
		wantRead(t, other, "deleted", "")
		b.mu.Lock()
		defer b.mu.Unlock()
		if !slices.ContainsFunc(b.told, func(p Purge) bool { return p.Kind == PurgeFlush && !p.Soft }) {
			t.Error("what found no room was told nobody")
		}
	})
}

// A mark does not take the place of a newer one that another process has made.
func TestMarkDoesNotReplaceANewerOne(t *testing.T) {
	bubble(t, func(t *testing.T, l *Level[string], b *fakeBackend) {
		other := newTestLevel(t, b)
		defer other.Close()
		late := l.cfg.Clock.Next()
		l.Write("a", tagged("Alice", "users"), Claim{}, false)
		time.Sleep(2 * maxClockSkew)
		purgeTags(other, "users")
		<-l.Purge(Purge{Kind: PurgeTag, Name: "users", Stamp: late})[0]
		time.Sleep(markRefresh)
		wantRead(t, l, "a", "")
	})
}
