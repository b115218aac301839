package level2

import (
	"context"
	"math"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/guard"
)

// told returns p if there is anybody to tell, else the purge of nothing.
func (l *Level[V]) told(p Purge) Purge {
	if l.invalidations == nil {
		return Purge{}
	}
	return p
}

const (
	// neverConnected is the value of Level.connected while messages may be lost.
	neverConnected = math.MaxInt64

	// maxBackendLag is how late a change may be seen by other processes.
	maxBackendLag = time.Second
)

// listen receives the messages of others until closing begins.
func (l *Level[V]) listen() {
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
func (l *Level[V]) receive(message []byte) {
	prefix, p, ok := parseMessage(message)
	if !ok || p.Stamp.By == l.cfg.Clock.by || prefix != l.cfg.Prefix {
		return
	}
	if p.Kind == greeting {
		l.greeted(p.Stamp)
		return
	}
	l.received.Add(1)
	l.trusts(p.Stamp) // or not, from now on
	// A clock far ahead would have everything purged that is loaded until
	// that time has come.
	p.Stamp.At = min(p.Stamp.At, time.Now().Add(maxClockSkew).UnixNano())
	l.cfg.Clock.observe(p.Stamp)
	l.cfg.Apply(p, l.cfg.Clock.Next())
}

// reconnected notes that no message is lost from now on. What is in memory, and
// what is known of marks, may have been purged before: both are looked up in
// the backend again.
func (l *Level[V]) reconnected() {
	if l.connections.Add(1) > 1 {
		l.resyncs.Add(1)
	}
	l.connected.Store(time.Now().UnixNano())
	l.marks.forget()
	l.cfg.Resync()
	l.greet()
}

// Unsettled returns for how long what is read now may be used before it is
// looked up again, or 0 if it need not be: shortly after messages have begun
// to come the backend may show what was removed before, and was told of then.
func (l *Level[V]) Unsettled() time.Duration {
	connected := l.connected.Load()
	if connected == neverConnected {
		return 0 // it is all looked up again when messages come
	}
	// What was read in that time is used a little later: see lookup.
	return max(time.Duration(connected-time.Now().UnixNano())+maxBackendLag+4*l.cfg.Timeout, 0)
}

// trusts reports whether what was generated at s may be used as far as its
// clock is concerned.
func (l *Level[V]) trusts(s Stamp) bool {
	return s.By == l.cfg.Clock.by || l.clocks.sees(s, time.Now())
}

// greet tells the others what time it is here.
func (l *Level[V]) greet() {
	s := Stamp{time.Now().UnixNano(), l.cfg.Clock.by} // the clock itself, not what it follows
	o := l.note(l.told(Purge{Kind: greeting, Stamp: s}))
	o.stamp = l.cfg.Clock.Next()
	o.bound = renewal(o.stamp)
	l.enqueue(o)
}

// greeted takes a greeting. One that seems to be late may show that this
// process is ahead of who sent it, who can only see that by an answer.
func (l *Level[V]) greeted(s Stamp) {
	now := time.Now()
	if l.trusts(s) && s.At < now.Add(-maxClockSkew).UnixNano() && l.clocks.answers(s.By, now) {
		l.greet()
	}
}
