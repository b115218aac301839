package middleware

import (
	"context"
	"net/http"
	"time"
)

// An ending says how reading a fill ended.
type ending uint8

const (
	delivered    ending = iota // the client has the whole response
	left                       // the client is gone
	cutOff                     // the response broke off: the client must not take it for whole
	refused                    // nothing was sent; this response is not for this client
	useStale                   // nothing was sent; an old response is to be used
	continueSelf               // the shared part was sent, the rest is not shared
	waitedTooLong
	crowded // too many wait already
)

// idleFlush is how long a reader that has caught up waits for more before it
// flushes what the client's connection buffers. Most small responses are
// complete by then, and go out at once with a Content-Length.
const idleFlush = time.Millisecond

// A reader delivers a fill to one client.
type reader struct {
	fill   *fill
	w      http.ResponseWriter
	ctx    context.Context // of the client
	leader bool
	limit  time.Duration         // to wait for the header, 0 = none
	wants  func(v *verdict) bool // whether this client may have it; nil = yes
	begin  func(v *verdict)      // sets the header fields and writes the header

	claims bool // the header says what becomes of the response
	fate   fate // set before begin if claims
}

// A fate is what becomes of a response, as far as is known when its header is
// sent.
type fate struct {
	reason string // why it is not stored; empty if it is, unless something happens to it
	ttl    int64  // seconds for which it is fresh
}

// run delivers until the response or the client ends.
func (rd *reader) run() ending {
	if end, ok := rd.awaitHeader(); !ok {
		return end
	}
	f := rd.fill
	f.mu.Lock()
	v := &f.verdict
	if rd.leader && f.handedOver && len(f.body) == 0 {
		return rd.lend() // with mu; the handler writes the header itself
	}
	f.began = f.began || rd.leader
	if rd.claims {
		rd.linger()
		rd.fate = f.fate()
	}
	f.mu.Unlock()
	rd.begin(v)
	return rd.body()
}

// awaitHeader waits for the response header, passing on interim responses to
// the leader.
// It reports false if the header is not to be sent.
func (rd *reader) awaitHeader() (ending, bool) {
	f := rd.fill
	var expired <-chan time.Time
	if rd.limit > 0 {
		timer := time.NewTimer(rd.limit)
		defer timer.Stop()
		expired = timer.C
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case rd.leader && len(f.interim) > 0:
			i := f.interim[0]
			f.interim = f.interim[1:]
			f.mu.Unlock()
			writeInterim(rd.w, i)
			f.mu.Lock()
			continue
		case f.committed && f.verdict.failed:
			return useStale, false
		case f.committed && !rd.leader && (!f.verdict.shared || f.handedOver && len(f.body) == 0 || rd.wants != nil && !rd.wants(&f.verdict)):
			return refused, false
		case f.committed || rd.leader && f.handedOver:
			return 0, true
		case f.done:
			return cutOff, false
		}
		next := f.next()
		f.mu.Unlock()
		var end ending
		stop := true
		select {
		case <-next:
			stop = false
		case <-rd.ctx.Done():
			end = left
		case <-expired:
			end = waitedTooLong
		case <-f.context.Done():
			end, stop = cutOff, f.abandoned()
		}
		f.mu.Lock()
		if stop {
			return end, false
		}
	}
}

// linger waits for the end of a small response, as long as its header would
// wait in the connection's buffer anyway: then what becomes of it is known. The
// caller holds mu, which is released meanwhile.
func (rd *reader) linger() {
	f := rd.fill
	timer := time.NewTimer(idleFlush)
	defer timer.Stop()
	for !f.done && !f.handedOver && f.flushed < 0 && len(f.body) <= smallBody {
		next, late := f.next(), false
		f.mu.Unlock()
		select {
		case <-next:
		case <-timer.C:
			late = true
		case <-rd.ctx.Done():
			late = true
		}
		f.mu.Lock()
		if late {
			return
		}
	}
}

// body sends the shared bytes.
func (rd *reader) body() ending {
	f := rd.fill
	rc := http.NewResponseController(rd.w)
	sent, unflushed := 0, true
	f.mu.Lock()
	for {
		switch {
		case sent < len(f.body):
			chunk := f.body[sent:len(f.body):len(f.body)]
			f.mu.Unlock()
			n, err := rd.w.Write(chunk)
			if err != nil {
				return left
			}
			sent += n
			unflushed = true
			f.mu.Lock()
			continue
		case f.handedOver && rd.leader:
			return rd.lend()
		case f.handedOver:
			f.mu.Unlock()
			return continueSelf
		case f.done && f.complete:
			f.mu.Unlock()
			return delivered
		case f.done:
			f.mu.Unlock()
			return cutOff
		}
		next, flush := f.next(), f.flushed >= sent
		f.mu.Unlock()
		if end, ok := rd.idle(rc, next, flush, &unflushed); !ok {
			return end
		}
		f.mu.Lock()
	}
}

// idle waits for a change, and flushes before a longer wait.
func (rd *reader) idle(rc *http.ResponseController, next <-chan struct{}, flush bool, unflushed *bool) (ending, bool) {
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
		case <-rd.ctx.Done():
			return left, false
		case <-rd.fill.context.Done():
			if rd.fill.abandonedBody(next) {
				return cutOff, false
			}
			return 0, true
		}
	}
}

// lend gives the leader's ResponseWriter to the handler until the handler has
// returned. The caller holds mu. The client's leaving ends the handler's
// context, as it would without a cache.
func (rd *reader) lend() ending {
	f := rd.fill
	f.direct = true
	f.broadcast()
	gone := rd.ctx.Done()
	for !f.done {
		next := f.next()
		f.mu.Unlock()
		select {
		case <-next:
		case <-gone:
			gone = nil
			f.context.Cancel(rd.ctx.Err())
		}
		f.mu.Lock()
	}
	f.mu.Unlock()
	return delivered
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
