package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// A response body that is closed before its end is read on for so many bytes
// and so long, so that its connection can be used again. The end of a body is
// often all that is missing: a JSON decoder stops before the last chunk.
// Beyond that a new connection is cheaper. Where net/http does the same, it is
// left to it.
const (
	drainBytes = 64 << 10
	drainTime  = 50 * time.Millisecond
)

// errLeaked ends the trip of a body that nobody reads or closes.
var errLeaked = errors.New("upstream: response body was neither read nor closed within Options.BodyTimeout")

// deliver hands the response over. The trip goes on with its body.
func (x *trip) deliver(resp *http.Response) {
	if resp.ProtoMajor == 2 { // net/http says nothing of keeping these
		x.kept.Store(true)
	}
	switch {
	case resp.Body == nil || resp.Body == http.NoBody:
		x.end()
	case resp.StatusCode == http.StatusSwitchingProtocols:
		x.upgrade(resp)
	default:
		x.at(PhaseBody)
		resp.Body = newBody(x, resp)
	}
}

// upgrade lets go of a connection that speaks another protocol from now on. It
// is no longer one of the pool's, lives as long as its two ends like, and is
// as silent as they like.
func (x *trip) upgrade(resp *http.Response) {
	if x.whole != nil {
		x.whole.Stop()
	}
	x.leave()
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok {
		resp.Body = &upgraded{conn, x}
	}
}

type upgraded struct {
	io.ReadWriteCloser
	trip *trip
}

func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.trip.end()
	return err
}

// A body ends the trip when it was read, closed, or left alone for too long.
type body struct {
	trip   *trip
	from   io.ReadCloser
	drains bool  // it is for Close to save the connection by reading on
	length int64 // as the header has it, negative if unknown
	began  time.Time

	reads sync.Mutex // held by a Read of from

	mu      sync.Mutex
	watch   *time.Timer // guarded by mu; ends the trip after BodyTimeout of silence
	reading bool        // guarded by mu
	moved   time.Time   // guarded by mu; when a Read last began or ended
	read    int64       // guarded by mu; bytes
	over    error       // guarded by mu; what further Reads return
}

func newBody(x *trip, resp *http.Response) *body {
	now := time.Now()
	b := &body{
		trip:   x,
		from:   resp.Body,
		drains: !poolDrains && resp.ProtoMajor == 1 && !resp.Close,
		length: resp.ContentLength,
		began:  now,
		moved:  now,
	}
	b.mu.Lock() // the timer may fire before b.watch is set
	defer b.mu.Unlock()
	b.watch = time.AfterFunc(x.t.opts.BodyTimeout, b.silent)
	return b
}

// silent is called when nothing may have moved for BodyTimeout. The timer is
// not reset by each Read, which would cost more than to look at the clock.
func (b *body) silent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over != nil {
		return
	}
	limit := b.trip.t.opts.BodyTimeout
	if left := limit - time.Since(b.moved); left > 0 {
		b.watch.Reset(left)
		return
	}
	if b.reading { // the Read returns the error, and ends the trip
		b.trip.cancel(&budgetError{"BodyTimeout", limit})
		return
	}
	b.over = errLeaked
	b.trip.t.metrics.leaked.Inc()
	b.end()
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if err := b.over; err != nil {
		b.mu.Unlock()
		return 0, err
	}
	b.reading, b.moved = true, time.Now()
	b.mu.Unlock()

	b.reads.Lock()
	n, err := b.from.Read(p)
	b.reads.Unlock()

	b.mu.Lock()
	b.reading, b.moved = false, time.Now()
	b.read += int64(n)
	b.mu.Unlock()
	if err != nil {
		err = b.finish(err)
	}
	return n, err
}

// finish ends the trip and makes err the answer to all further Reads, unless
// there is one already.
func (b *body) finish(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over == nil {
		if b.over = err; err != io.EOF {
			b.over = b.trip.failure(err)
		}
		b.end()
	}
	return b.over
}

// Close implements [io.Closer]. It may be called while a Read is under way,
// which it ends.
func (b *body) Close() error {
	b.mu.Lock()
	closed, reading := b.over != nil, b.reading
	left := b.length - b.read
	if !closed {
		b.over = http.ErrBodyReadAfterClose
	}
	b.mu.Unlock()
	switch {
	case closed:
		return b.from.Close()
	case reading:
		// The Read is ended by its connection, and only then net/http is told:
		// else it tries to read the rest, behind the Read that waits for it.
		b.trip.cancel(context.Canceled)
		b.reads.Lock() // until it has returned
		b.reads.Unlock()
	case b.drains && left <= drainBytes && b.trip.ctx.Err() == nil:
		enough := time.AfterFunc(drainTime, func() { b.trip.cancel(context.Canceled) })
		_, _ = io.CopyN(io.Discard, b.from, drainBytes+1)
		enough.Stop()
	}
	err := b.from.Close()
	b.end()
	return err
}

// end ends the trip. Who sets over calls it.
func (b *body) end() {
	b.watch.Stop()
	b.trip.t.metrics.body.Update(time.Since(b.began))
	b.trip.end()
}
