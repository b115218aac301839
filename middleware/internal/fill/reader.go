package fill

import (
	"context"
	"net/http"
	"time"
)

// An Ending says how reading a fill ended.
type Ending uint8

const (
	Delivered Ending = iota // the client has all it wanted
	Left                    // the client's context has ended
	CutOff                  // the response broke off
	Alone                   // nothing was sent: the response is not for this client
	Again                   // nothing was sent: another run may be
	UseOld                  // nothing was sent: something else is to be used
	TimedOut                // nothing was sent: the client waits no longer
)

// A Choice says whether a client takes a response.
type Choice uint8

const (
	Take      Choice = iota
	AskAlone         // it is another one's
	LookAgain        // it is another one's, and there may be one for this client too
)

// idleFlush is how long a reader that has caught up waits for more before it
// flushes what the client's connection buffers. Most small responses are
// complete by then, and go out at once with a Content-Length.
const idleFlush = time.Millisecond

// SmallBody fits the buffer that net/http writes through (4 KiB, header
// included), so that a hit with such a body waits for nobody.
const SmallBody = 2 << 10

// A Reader delivers a fill to one client.
type Reader[V any] struct {
	Fill   *Fill[V]
	W      http.ResponseWriter
	Ctx    context.Context // of the client
	Leader bool            // the run is for this client

	// Wait bounds the wait for the header, 0 = not. When it is over, Patience
	// says how much longer to wait, 0 = not at all.
	Wait     time.Duration
	Patience func() time.Duration

	// Chooses is not asked for the leader.
	Chooses func(h Head, v V) Choice

	// Begin writes the header of a shared response, and returns where its body
	// is to be written, and why it is not to be shared after all, or "". It is
	// called without a lock.
	Begin func(h Head, v V, known Known) (body http.ResponseWriter, reason string)

	// Lend prepares W for the handler to write a response to that is the
	// leader's alone, with the handler's header. It is called on the handler's
	// goroutine.
	Lend func(h Head, v V, header http.Header) http.ResponseWriter

	at   int64 // guarded by Fill.mu; bytes of the body read
	cut  bool  // guarded by Fill.mu; it held the others up
	sent bool  // guarded by Fill.mu; a header has been written, or may have been

	heard bool // what the outside says of the leader's header is known, or it says nothing
}

// Known is what is known of the body when the header is sent.
type Known struct {
	Reason string // why the response is not kept, "" if it is, unless something happens to it
	Length int64  // of the whole body where it is there, else -1
	Sample []byte // of the beginning of a body that is not sent
}

// Enter takes the place of the client that the run is for. It is called before
// the run begins, and Run follows.
func (rd *Reader[V]) Enter() {
	rd.Fill.leader = rd
	rd.Fill.readers[rd] = struct{}{}
}

// Leave is called when Run has returned, or panicked.
func (rd *Reader[V]) Leave() {
	if done := rd.leave(); done != nil {
		done()
	}
}

func (rd *Reader[V]) leave() (done func()) {
	f := rd.Fill
	f.controlling.Lock() // the handler may be setting a deadline of its connection
	defer f.controlling.Unlock()
	f.mu.Lock()
	delete(f.readers, rd)
	if len(f.readers) == 0 {
		done, f.done = f.done, nil
	}
	f.broadcast()
	f.mu.Unlock()
	if rd.Leader && !rd.heard {
		rd.Say(ReasonUnheard)
	}
	f.mu.Lock()
	if f.leader == rd {
		f.leader, f.interim = nil, nil
		f.broadcast()
	}
	f.mu.Unlock()
	return done
}

// Say tells what the outside has said of the answer that the leader gives in
// place of the response: why the response is not to be shared, or "". It is called
// as that answer's header is written, and the response is not the leader's any
// more. A leader who leaves without it has not been heard.
func (rd *Reader[V]) Say(reason string) {
	f := rd.Fill
	if !rd.Leader {
		return
	}
	rd.heard = true
	f.mu.Lock()
	if f.leader == rd {
		f.leader, f.interim, f.said = nil, nil, reason
		f.broadcast()
	}
	f.mu.Unlock()
	f.confirm(reason)
}

// Sent reports whether the client may have been sent a header.
func (rd *Reader[V]) Sent() bool {
	rd.Fill.mu.Lock()
	defer rd.Fill.mu.Unlock()
	return rd.sent
}

// Run delivers until the response or the client ends.
func (rd *Reader[V]) Run() Ending {
	end, ok := rd.await()
	f := rd.Fill
	f.mu.Lock()
	if rd.Leader && f.wanted && ok {
		defer f.mu.Unlock()
		return rd.lend()
	}
	if !ok {
		f.mu.Unlock()
		if answers := end == Left || end == TimedOut; rd.Leader && !answers {
			rd.Say("") // nothing can be lent from here on
		}
		return end
	}
	known := rd.linger()
	h, v := f.head, f.verdict
	rd.sent = true
	f.mu.Unlock()
	body, reason := rd.Begin(h, v, known)
	if rd.heard = true; rd.Leader {
		f.confirm(reason)
	}
	return rd.deliver(body)
}

// await waits for the response header, passing on interim responses to the
// leader. It reports false if the header is not to be sent.
func (rd *Reader[V]) await() (Ending, bool) {
	f := rd.Fill
	var expired <-chan time.Time
	if rd.Wait > 0 {
		timer := time.NewTimer(rd.Wait)
		defer timer.Stop()
		expired = timer.C
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if end, over, ok := rd.arrived(); over {
			return end, ok
		}
		next := f.next()
		f.mu.Unlock()
		select {
		case <-next:
			f.mu.Lock()
			continue
		case <-rd.Ctx.Done():
			f.mu.Lock()
			return Left, false
		case <-expired:
			f.mu.Lock()
			var more time.Duration
			f.outside(func() { more = rd.Patience() })
			if more <= 0 {
				return TimedOut, false
			}
			expired = time.After(more)
		case <-f.context.Done():
			gone := f.abandoned(next)
			f.mu.Lock()
			if gone && f.state == Waiting {
				return CutOff, false
			}
		}
	}
}

// arrived looks at the header. Over says that there is no more to wait for, and
// ok that the header is to be sent. The caller holds the fill's mu, which is
// released while an interim response is sent.
func (rd *Reader[V]) arrived() (end Ending, over, ok bool) {
	f := rd.Fill
	for rd.Leader && len(f.interim) > 0 {
		i := f.interim[0]
		f.interim = f.interim[1:]
		f.outside(func() { writeInterim(rd.W, i) })
	}
	if f.state == Waiting {
		return 0, false, false
	}
	if rd.Leader {
		return rd.leads()
	}
	return rd.follows()
}

// leads is the rest of arrived for the leader.
func (rd *Reader[V]) leads() (end Ending, over, ok bool) {
	f := rd.Fill
	switch {
	case f.wanted:
		return 0, true, true
	case f.head.Status != 0 && f.head.Kind == Instead:
		return UseOld, true, false
	case f.end == Broken:
		return CutOff, true, false
	}
	return 0, !f.owned, true // else it is about to be lent
}

// follows is the rest of arrived for everyone else.
func (rd *Reader[V]) follows() (end Ending, over, ok bool) {
	f := rd.Fill
	switch {
	case f.state == Judged:
		return 0, false, false
	case f.head.Status != 0 && f.head.Kind == Instead:
		return UseOld, true, false
	case f.end == Broken && (f.head.Status == 0 || f.head.Kind == Shared):
		return CutOff, true, false
	}
	switch rd.Chooses(f.head, f.verdict) {
	case AskAlone:
		return Alone, true, false
	case LookAgain:
		return Again, true, false
	}
	if rd.cut {
		return Again, true, false // its beginning is gone
	}
	return 0, true, true
}

// linger waits for the end of a small response, as long as its header would
// wait in the connection's buffer anyway: then what becomes of it is known, and
// for HEAD what the handler would have sent. The caller holds the fill's mu,
// which is released meanwhile.
func (rd *Reader[V]) linger() Known {
	f := rd.Fill
	var timer <-chan time.Time
	if !f.bodyless {
		t := time.NewTimer(idleFlush)
		defer t.Stop()
		timer = t.C
	}
	for f.end == 0 && !f.late && f.flushed < 0 && f.written <= SmallBody && rd.Ctx.Err() == nil {
		if !rd.waitOr(timer) {
			break
		}
	}
	known := Known{Length: -1}
	if known.Reason = f.head.Reason; known.Reason == "" {
		switch {
		case f.trailers != nil:
			known.Reason = ReasonTrailer
		case f.end == Broken:
			known.Reason = ReasonIncomplete
		}
	}
	if f.bodyless {
		known.Sample = f.body
	}
	if f.end == Complete {
		known.Length = f.written
	}
	return known
}

// waitOr waits for a change, and returns false when the timer fires, or the
// client or the run has ended. The caller holds the fill's mu, which is released
// meanwhile.
func (rd *Reader[V]) waitOr(timer <-chan time.Time) bool {
	f := rd.Fill
	next := f.next()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-next:
		return true
	case <-timer:
	case <-rd.Ctx.Done():
	case <-f.context.Done():
		return !f.abandoned(next)
	}
	return false
}

// deliver sends the body to w.
func (rd *Reader[V]) deliver(w http.ResponseWriter) Ending {
	f := rd.Fill
	rc := http.NewResponseController(w)
	unflushed := true
	f.mu.Lock()
	for {
		switch {
		case rd.cut:
			f.mu.Unlock()
			return CutOff
		case !f.bodyless && rd.at < f.base+int64(len(f.body)):
			chunk := f.body[rd.at-f.base : len(f.body) : len(f.body)]
			f.mu.Unlock()
			n, err := w.Write(chunk)
			f.mu.Lock()
			rd.at += int64(n)
			if f.sliding {
				f.broadcast()
			}
			if err != nil {
				f.mu.Unlock()
				return rd.stopped(err)
			}
			unflushed = true
			continue
		case f.state == Complete, f.bodyless && f.late:
			f.mu.Unlock()
			return Delivered
		case f.state == Broken:
			f.mu.Unlock()
			return CutOff
		}
		next, flush := f.next(), f.flushed >= rd.at
		f.mu.Unlock()
		if end, ok := rd.idle(rc, next, flush, &unflushed); !ok {
			return end
		}
		f.mu.Lock()
	}
}

// stopped says how a delivery ended whose writer takes no more.
func (rd *Reader[V]) stopped(err error) Ending {
	if err == ErrServed {
		return Delivered
	}
	return Left
}

// idle waits for a change, and flushes before a longer wait.
func (rd *Reader[V]) idle(rc *http.ResponseController, next <-chan struct{}, flush bool, unflushed *bool) (Ending, bool) {
	var wait <-chan time.Time
	if *unflushed && !flush {
		timer := time.NewTimer(idleFlush)
		defer timer.Stop()
		wait = timer.C
	}
	for {
		if *unflushed && wait == nil {
			*unflushed = false
			_ = rc.Flush() // a writer that cannot flush does not buffer for long
		}
		select {
		case <-next:
			return 0, true
		case <-wait:
			wait = nil
		case <-rd.Ctx.Done():
			return Left, false
		case <-rd.Fill.context.Done():
			if rd.Fill.abandoned(next) {
				return CutOff, false
			}
			return 0, true
		}
	}
}

// lend gives the leader's ResponseWriter to the handler until the handler has
// returned. The caller holds the fill's mu. The client's leaving ends the
// handler's context, as it would without a cache.
func (rd *Reader[V]) lend() Ending {
	f := rd.Fill
	f.lent, rd.sent = true, true
	f.broadcast()
	gone := rd.Ctx.Done()
	for f.state < Complete {
		next := f.next()
		f.mu.Unlock()
		select {
		case <-next:
		case <-gone:
			gone = nil
			f.context.Cancel(rd.Ctx.Err())
		}
		f.mu.Lock()
	}
	switch {
	case f.state == Complete, f.served:
		return Delivered
	case rd.Ctx.Err() != nil:
		return Left
	}
	return CutOff
}

// serve is called when the client that a response is for alone has all that it
// asked for, be it a header or a part. The run goes on, as without a cache, but
// nobody waits for more of it: it has a deadline again.
func (f *Fill[V]) serve(w http.ResponseWriter) {
	f.mu.Lock()
	before := f.served
	f.served = true
	f.mu.Unlock()
	if !before {
		_ = http.NewResponseController(w).Flush() // else it may lie in a buffer until the handler returns
		f.context.Lower()
	}
}

// Served reports whether the client that a response is for alone has all that it
// asked for.
func (f *Fill[V]) Served() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.served
}

// endGrace is what a handler gets to answer after its context has ended, so
// that a handler that answers 504 itself is heard.
const endGrace = 50 * time.Millisecond

// abandoned waits a moment for the handler to do something after its context
// has ended, and reports whether it did not.
func (f *Fill[V]) abandoned(next <-chan struct{}) bool {
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-next:
		return false
	case <-timer.C:
		return true
	}
}

// writeInterim sends a 1xx response. Its fields are not those of the final one.
func writeInterim(w http.ResponseWriter, i interim) {
	h := w.Header()
	before := make(map[string][]string, len(i.header))
	for name, values := range i.header {
		before[name] = h[name]
		h[name] = values
	}
	w.WriteHeader(i.status)
	for name, values := range before {
		if values == nil {
			delete(h, name)
		} else {
			h[name] = values
		}
	}
}
