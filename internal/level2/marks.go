package level2

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// Purges by tag, prefix, and of everything name no keys, so a backend cannot
// carry them out. They are written into it as marks: values under keys of
// their own that hold no more than the purge's stamp. Who reads a value looks
// at the marks that apply to it, unless it has heard of all purges since the
// value was generated. So a purge holds also in a process that was started
// after it, or that a message did not reach.
//
// A prefix cannot be found from a key without a list of them all. Its purge
// is marked as one of everything: the processes that hear of it purge what it
// says, the others read less from the backend than they could.

const (
	// The keys of values and marks differ in their first byte after the prefix.
	// The last two name what is only queued.
	valueName = "v:"
	tagName   = "t:"
	flushName = "f:"
	noteName  = "n:"
	leaseName = "l:"

	// markTTL is longer than a value is kept that was generated before.
	markTTL = MaxTTL + time.Hour

	// markRefresh is how old the knowledge of a mark may be without messages.
	// Others' purges then take this long to be seen in the backend's values.
	markRefresh = time.Second

	// maxMarks bounds the tags of a value in the backend, each of which has a
	// mark to be looked at.
	maxMarks = 64

	// marksKnown bounds the marks of which is known what they say.
	marksKnown = 4096
)

// A mark is what is known of the mark under one name.
type mark struct {
	stamp Stamp     // the zero stamp: there is none
	read  time.Time // when it was asked for
}

// A markRead is one that is under way, for all who want to know.
type markRead struct {
	done chan struct{} // closed when the rest is written
	mark mark
	ok   bool // the backend has answered
}

type marks struct {
	mu      sync.Mutex
	known   map[string]mark      // guarded by mu
	reading map[string]*markRead // guarded by mu
}

func (m *marks) get(name string) (mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[name]
	return k, ok
}

func (m *marks) set(name string, k mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= marksKnown {
		m.known = make(map[string]mark)
	}
	if old := m.known[name].stamp; old.At > k.stamp.At {
		k.stamp = old
	}
	m.known[name] = k
}

// forget has all marks read again.
func (m *marks) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.reading = nil, nil
}

// share returns the read of name that is under way, or a new one that the
// caller is to make.
func (m *marks) share(name string) (r *markRead, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.reading[name]; r != nil {
		return r, false
	}
	if m.reading == nil {
		m.reading = make(map[string]*markRead)
	}
	r = &markRead{done: make(chan struct{})}
	m.reading[name] = r
	return r, true
}

// over ends a read of name.
func (m *marks) over(name string, r *markRead) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reading[name] == r {
		delete(m.reading, name)
	}
	close(r.done)
}

// Purge tells the other processes of p, a purge by tag or prefix or of
// everything, and marks it in the backend, both behind. The channels it returns
// are closed when that is done, or was given up.
func (l *Level[V]) Purge(p Purge) []<-chan struct{} {
	name := l.cfg.Prefix + flushName
	if p.Kind == PurgeTag {
		name = l.cfg.Prefix + tagName + p.Name
	}
	done := []<-chan struct{}{l.enqueue(&op[V]{kind: opMark, key: name, stamp: p.Stamp, bound: renewal(p.Stamp)})}
	if tell := l.told(p); tell.Kind != purgeNone {
		done = append(done, l.enqueue(l.note(tell)))
	}
	return done
}

// note returns the op that tells of p. It is not one with the mark: that of a
// prefix is another's too, and a soft purge must not take the place of a hard
// one that is yet to be told.
func (l *Level[V]) note(p Purge) *op[V] {
	name := l.cfg.Prefix + noteName + string([]byte{'0' + byte(p.Kind), softByte(p.Soft)}) + p.Name
	return &op[V]{kind: opNote, key: name, stamp: p.Stamp, bound: renewal(p.Stamp), tell: p}
}

// cover has a removal that found no room in the queue done by a purge of
// everything, for which there is always room: there are three keys of those.
func (l *Level[V]) cover(o *op[V]) {
	if o.covers || o.tell.Kind == greeting || o.kind != opMark && !o.final && o.tell.Kind == purgeNone {
		return
	}
	s := l.cfg.Clock.Next()
	if o.kind != opNote {
		l.enqueue(&op[V]{kind: opMark, key: l.cfg.Prefix + flushName, stamp: s, bound: renewal(s), covers: true})
	}
	if tell := l.told(Purge{Kind: PurgeFlush, Soft: o.tell.Soft, Stamp: s}); o.tell.Kind != purgeNone && tell.Kind != purgeNone {
		note := l.note(tell)
		note.covers = true
		l.enqueue(note)
	}
}

// marked reports whether a purge that is marked in the backend applies to what
// was generated at s with these tags, or may do so.
func (l *Level[V]) marked(ctx context.Context, tags []string, s Stamp) bool {
	// Whose clock was ahead when of several purges the last was marked is not
	// known: the order of one process's stamps does not help here.
	least := s.At - int64(maxClockSkew)
	if least > max(l.connected.Load(), l.cfg.Forgotten()) {
		return false // every purge since then was told, and is remembered
	}
	if len(tags) > maxMarks {
		return true // more than can be looked at
	}
	names := make([]string, 0, 1+len(tags))
	names = append(names, l.cfg.Prefix+flushName)
	for _, tag := range tags {
		names = append(names, l.cfg.Prefix+tagName+tag)
	}
	var reads []*markRead // side by side, so that they take the time of one
	for _, name := range names {
		if k, ok := l.marks.get(name); !ok || !l.current(k) {
			reads = append(reads, l.readMark(name))
		} else if least <= k.stamp.At {
			return true
		}
		if queued, ok := l.queue.newestStamp(name); ok && least <= queued.At {
			return true
		}
	}
	for _, r := range reads {
		select {
		case <-r.done:
		case <-ctx.Done():
			return true
		}
		if !r.ok || least <= r.mark.stamp.At {
			return true
		}
	}
	return false
}

// current reports whether the backend need not be asked again for k.
func (l *Level[V]) current(k mark) bool {
	if connected := l.connected.Load(); connected != neverConnected {
		return k.read.UnixNano() >= connected+int64(maxBackendLag)
	}
	return time.Since(k.read) < markRefresh
}

// readMark returns the one read of the mark under name, by all who want to know.
func (l *Level[V]) readMark(name string) *markRead {
	r, mine := l.marks.share(name)
	if !mine {
		return r
	}
	r.mark.read = time.Now()
	go func() {
		defer l.marks.over(name, r)
		data, err := l.get(l.ctx, name)
		switch {
		case errors.Is(err, backend.ErrMiss):
		case err != nil:
			return
		default:
			e, err := parseEnvelope(data)
			if err != nil || e.key != name {
				l.bad.Add(1)
				return
			}
			r.mark.stamp = e.stamp
		}
		r.ok = true
		l.marks.set(name, r.mark)
	}()
	return r
}

// sealMark returns the bytes of a mark.
func sealMark(name string, s Stamp) ([]byte, error) {
	return appendEnvelope(nil, &envelope{key: name, stamp: s}, func(dst []byte) ([]byte, error) { return dst, nil })
}
