package cachefetch

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/guard"
)

// A purge is a removal as the processes that share a backend tell each other.
type purge struct {
	kind  purgeKind
	soft  bool   // make stale, not gone
	name  string // the key, tag or prefix
	stamp stamp  // of the purge: what was generated before is meant
}

type purgeKind byte

// The values are part of the messages.
const (
	purgeNone   purgeKind = 0
	purgeKey    purgeKind = 1
	purgeTag    purgeKind = 2
	purgePrefix purgeKind = 3
	purgeFlush  purgeKind = 4
	purgeOlder  purgeKind = 5 // of a key that has a newer value now
	greeting    purgeKind = 6 // of nothing: it says what time it is
)

// A message is one purge, or a greeting, and where it comes from:
//
//	byte 0      version of the format, 1
//	bytes 1-8   who purges: that of the stamp
//	byte 9      kind
//	byte 10     1 if soft, else 0
//	bytes 11-18 stamp (big endian, like who drew it)
//	then        Options.BackendPrefix and name, each after its length (uvarint)
//
// The prefix keeps caches apart that share a backend and so a channel.
const (
	messageVersion = 1
	messageFixed   = 19
)

func appendMessage(dst []byte, prefix string, p purge) []byte {
	dst = append(dst, messageVersion)
	dst = binary.BigEndian.AppendUint64(dst, p.stamp.by)
	dst = append(dst, byte(p.kind), softByte(p.soft))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.stamp.at))
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
func parseMessage(b []byte) (prefix string, p purge, ok bool) {
	if len(b) < messageFixed || b[0] != messageVersion || b[10] > 1 {
		return "", purge{}, false
	}
	r := fieldReader{rest: b[messageFixed:]}
	prefix = r.string()
	p = purge{
		kind: purgeKind(b[9]), soft: b[10] == 1, name: r.string(),
		stamp: stamp{int64(binary.BigEndian.Uint64(b[11:])), binary.BigEndian.Uint64(b[1:])},
	}
	return prefix, p, !r.bad && len(r.rest) == 0 && p.kind >= purgeKey && p.kind <= greeting
}

// told returns p if there is anybody to tell, else the purge of nothing.
func (l *l2[V]) told(p purge) purge {
	if l.invalidations == nil {
		return purge{}
	}
	return p
}

const (
	// neverConnected is the value of l2.connected while messages may be lost.
	neverConnected = math.MaxInt64

	// The pause before Subscribe is called again after it returned, at first
	// and at most.
	subscribePause    = time.Second
	subscribeMaxPause = 30 * time.Second

	// maxBackendLag is how late a change may be seen by other processes.
	maxBackendLag = time.Second
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
		// However it ends, it is called again.
		_ = guard.Run(func() { _ = l.invalidations.Subscribe(ctx, l.receive, l.reconnected) })
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
	prefix, p, ok := parseMessage(message)
	if !ok || p.stamp.by == l.clock.by || prefix != l.prefix {
		return
	}
	if p.kind == greeting {
		l.greeted(p.stamp)
		return
	}
	l.received.Add(1)
	l.trusts(p.stamp) // or not, from now on
	// A clock far ahead would have everything purged that is loaded until
	// that time has come.
	p.stamp.at = min(p.stamp.at, time.Now().Add(maxClockSkew).UnixNano())
	l.clock.observe(p.stamp)
	l.applyPurge(p, l.clock.next())
}

// reconnected notes that no message is lost from now on. What is in memory, and
// what is known of marks, may have been purged before: both are looked up in
// the backend again.
func (l *l2[V]) reconnected() {
	if l.connections.Add(1) > 1 {
		l.resyncs.Add(1)
	}
	l.connected.Store(time.Now().UnixNano())
	l.marks.forget()
	l.resync()
	l.greet()
}

// unsettled returns for how long what is read now may be used before it is
// looked up again, or 0 if it need not be: shortly after messages have begun
// to come the backend may show what was removed before, and was told of then.
func (l *l2[V]) unsettled() time.Duration {
	connected := l.connected.Load()
	if connected == neverConnected {
		return 0 // it is all looked up again when messages come
	}
	// What was read in that time is used a little later: see lookup.
	return max(time.Duration(connected-time.Now().UnixNano())+maxBackendLag+4*l.budget, 0)
}
