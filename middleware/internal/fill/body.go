package fill

import (
	"net/http"
	"time"

	"github.com/freshet-go/freshet/middleware/internal/stored"
)

const (
	// streamed is what a body that is not kept may have ahead of its readers
	// without anything being reserved, as much as io.Copy takes.
	streamed = 32 << 10

	// stall is how long a reader may hold up the others of a body that is not
	// kept, and how long it may read nothing of what takes bytes of the budget.
	stall = 5 * time.Second

	// sample is what is kept of a body that nobody reads, to tell its type.
	sample = 512
)

// write adds p to the body. Of a body that is not kept it takes no more than
// the readers can follow.
func (f *Fill[V]) write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.end != 0:
		return 0, ErrOver
	case f.head.Kind == Instead || f.head.Has:
		return len(p), nil // read by nobody: it is not the response
	case !stored.BodyAllowed(f.head.Status):
		return 0, http.ErrBodyNotAllowed
	}
	if f.bodyless {
		f.written += int64(len(p))
		f.body = append(f.body, p[:min(len(p), sample-len(f.body))]...)
		return len(p), nil
	}
	var short error
	if f.head.Length >= 0 && f.written+int64(len(p)) > f.head.Length {
		p, short = p[:f.head.Length-f.written], http.ErrContentLength // as net/http does
	}
	for len(p) > 0 {
		room := len(p)
		if !f.sliding && !f.keep(int64(room)) {
			f.slide(!f.fits(int64(len(f.body) + room)))
		}
		if f.sliding {
			if room, err = f.room(); err != nil {
				f.torn = true
				return n, err
			}
			room = min(room, len(p))
			f.trim(room)
		}
		f.body = append(f.body, p[:room]...)
		f.written += int64(room)
		n += room
		p = p[room:]
		f.broadcast()
	}
	return n, short
}

// tear notes that the body will not be whole.
func (f *Fill[V]) tear() {
	f.mu.Lock()
	f.torn = true
	f.mu.Unlock()
}

// keep makes room for n more bytes of a body that is kept, and reports whether
// there is any. The caller holds mu.
func (f *Fill[V]) keep(n int64) bool {
	need := int64(len(f.body)) + n
	if !f.fits(need) {
		return false
	}
	if need <= int64(cap(f.body)) {
		return true
	}
	size := need
	switch {
	case f.head.Length >= need:
		size = f.head.Length // known: allocate once
	case len(f.body) > 0:
		size = min(max(need, 2*int64(cap(f.body))), f.limit)
	default:
		size = max(need, min(512, f.limit))
	}
	if !f.hooks.Reserve(size - f.reserved) {
		return false
	}
	f.reserved = size
	f.move(size)
	return true
}

// fits reports whether a body of n bytes may be kept.
func (f *Fill[V]) fits(n int64) bool { return n <= f.limit && f.head.Kind == Shared }

// move puts the body into a new array: readers keep what they hold of the old
// one. The caller holds mu.
func (f *Fill[V]) move(size int64) {
	body := make([]byte, len(f.body), size)
	copy(body, f.body)
	f.body = body
}

// slide makes the body one that is not kept, as it is too large, or there is no
// room for it now. Its run lives as long as it is read, and has no deadline. The
// caller holds mu, which is released meanwhile.
func (f *Fill[V]) slide(tooLarge bool) {
	f.sliding = true
	f.context.Lift()
	if f.head.Reason != "" {
		return // that is known already
	}
	reason := ReasonNoRoom
	if tooLarge {
		reason = ReasonTooLarge
	}
	f.head.Reason = reason
	f.outside(func() { f.hooks.Unfit(reason, tooLarge) })
}

// room waits until a body that is not kept may grow, and returns by how much.
// The fastest reader sets the pace; who holds it up for long is cut off, and so
// is who does not read at all while other responses could have the bytes. The
// caller holds mu, which is released meanwhile.
func (f *Fill[V]) room() (int, error) {
	timer := time.NewTimer(stall)
	defer timer.Stop()
	since := int64(-1) // what all had read when the timer was set
	for {
		if len(f.readers) == 0 {
			return 0, ErrLeft
		}
		f.advance()
		if since < 0 {
			since = f.base
		}
		if n := max(f.reserved, streamed) - int64(len(f.body)); n > 0 {
			return int(n), nil
		}
		switch {
		case f.wait(timer.C):
		case f.context.Err() != nil:
			return 0, f.context.Err()
		default:
			f.cutSlowest(f.reserved > 0 && f.base == since)
			since = -1
			timer.Reset(stall)
		}
	}
}

// advance drops what all readers have read. The caller holds mu.
func (f *Fill[V]) advance() {
	least := f.base + int64(len(f.body))
	for rd := range f.readers {
		least = min(least, rd.at)
	}
	f.body = f.body[least-f.base:]
	f.base = least
	if len(f.body) <= streamed && f.reserved > 0 {
		f.hooks.Release(f.reserved)
		f.reserved = 0
		f.move(max(int64(len(f.body)), 512)) // lets go of the array
	}
}

// trim makes sure that n more bytes go into an array that is no larger than
// what may be there. The caller holds mu.
func (f *Fill[V]) trim(n int) {
	if need := len(f.body) + n; need > cap(f.body) {
		f.move(min(max(int64(need), 2*int64(len(f.body))), max(f.reserved, streamed)))
	}
}

// cutSlowest cuts off the readers that are furthest behind, unless all are and
// may take their time. The caller holds mu, which is released meanwhile.
func (f *Fill[V]) cutSlowest(all bool) {
	least, most := int64(-1), int64(0)
	for rd := range f.readers {
		most = max(most, rd.at)
		if least < 0 || rd.at < least {
			least = rd.at
		}
	}
	if least == most && !all {
		return // one client, which may take its time
	}
	var slowest []*Reader[V]
	for rd := range f.readers {
		if rd.at == least {
			slowest = append(slowest, rd)
		}
	}
	f.outside(func() { f.cutOff(slowest) })
}
