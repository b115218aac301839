package cachefetch

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// A purge is a removal as the processes that share a backend tell each other.
type purge struct {
	kind  purgeKind
	soft  bool   // make stale, not gone
	name  string // the key, tag or prefix
	stamp int64  // of the purge: what was generated before is meant
}

type purgeKind byte

// The values are part of the messages.
const (
	purgeKey    purgeKind = 1
	purgeTag    purgeKind = 2
	purgePrefix purgeKind = 3
	purgeFlush  purgeKind = 4
	purgeOlder  purgeKind = 5 // of a key that has a newer value now
)

// bound returns what of a key p makes too old, if it is received at a stamp of
// this process: of its own, all that was drawn before, since by what order is
// not known.
func (p purge) bound(received int64) bound {
	return bound{
		stamp: p.stamp, exact: p.kind == purgeOlder,
		own: max(received, p.stamp), others: p.stamp + int64(maxClockSkew),
	}
}

// A message is one purge and where it comes from:
//
//	byte 0      version of the format, 1
//	bytes 1-8   origin, a random number for each cache
//	byte 9      kind
//	byte 10     1 if soft, else 0
//	bytes 11-18 stamp (big endian, like the origin)
//	then        Options.BackendPrefix and name, each after its length (uvarint)
//
// The prefix keeps caches apart that share a backend and so a channel.
const (
	messageVersion = 1
	messageFixed   = 19
)

func newOrigin() uint64 { return rand.Uint64() }

func appendMessage(dst []byte, origin uint64, prefix string, p purge) []byte {
	dst = append(dst, messageVersion)
	dst = binary.BigEndian.AppendUint64(dst, origin)
	dst = append(dst, byte(p.kind), softByte(p.soft))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.stamp))
	return appendString(appendString(dst, prefix), p.name)
}

func softByte(soft bool) byte {
	if soft {
		return 1
	}
	return 0
}

// parseMessage returns what b says, and whether it says anything. It never
// panics.
func parseMessage(b []byte) (origin uint64, prefix string, p purge, ok bool) {
	if len(b) < messageFixed || b[0] != messageVersion || b[10] > 1 {
		return 0, "", purge{}, false
	}
	r := fieldReader{rest: b[messageFixed:]}
	prefix = r.string()
	p = purge{
		kind: purgeKind(b[9]), soft: b[10] == 1, name: r.string(),
		stamp: int64(binary.BigEndian.Uint64(b[11:])),
	}
	ok = !r.bad && len(r.rest) == 0 && p.kind >= purgeKey && p.kind <= purgeOlder
	return binary.BigEndian.Uint64(b[1:]), prefix, p, ok
}

// event returns the message of p, or nil if there is nobody to tell.
func (l *l2[V]) event(p purge) []byte {
	if l.invalidations == nil {
		return nil
	}
	return appendMessage(nil, l.origin, l.prefix, p)
}

const (
	// neverConnected is the value of l2.connected while messages may be lost.
	neverConnected = math.MaxInt64

	// The pause before Subscribe is called again after it returned, at first
	// and at most.
	subscribePause    = time.Second
	subscribeMaxPause = 30 * time.Second
)

// listen receives the messages of others until closing begins.
func (l *l2[V]) listen() {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	go func() {
		select {
		case <-l.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	pause := subscribePause
	for ctx.Err() == nil {
		began := time.Now()
		<-contain(ctx, func(ctx context.Context) error {
			return l.invalidations.Subscribe(ctx, l.receive, l.reconnected)
		}, nil)
		l.connected.Store(neverConnected)
		if time.Since(began) > subscribeMaxPause {
			pause = subscribePause
		}
		sleep(ctx, engine.Jitter(pause, 0.2))
		pause = min(2*pause, subscribeMaxPause)
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// receive applies the message of another process.
func (l *l2[V]) receive(message []byte) {
	origin, prefix, p, ok := parseMessage(message)
	if !ok || origin == l.origin || prefix != l.prefix {
		return
	}
	l.received.Add(1)
	// A clock far ahead would have everything purged that is loaded until
	// that time has come.
	p.stamp = min(p.stamp, time.Now().Add(maxClockSkew).UnixNano())
	l.clock.observe(p.stamp)
	l.applyPurge(p, l.clock.next())
}

// reconnected notes that no message is lost from now on. What is in memory may
// have been purged before; the backend knows, by its keys and marks. In the
// first second it is as if a message had taken that long.
func (l *l2[V]) reconnected() {
	l.connected.Store(time.Now().UnixNano())
	if time.Since(l.start) > markRefresh {
		l.resyncs.Add(1)
		l.resync()
	}
}
