package cachefetch

import (
	"context"
	"errors"
	"sync"
	"time"
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
	markTTL = maxBackendTTL + time.Hour

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
	stamp int64     // 0: there is none
	read  time.Time // when that was known
}

type marks struct {
	mu    sync.Mutex
	known map[string]mark // guarded by mu
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
	k.stamp = max(k.stamp, m.known[name].stamp)
	m.known[name] = k
}

// purge tells the other processes of p, a purge by tag or prefix or of
// everything, and marks it in the backend, both behind. The channels it returns
// are closed when that is done, or was given up.
func (l *l2[V]) purge(p purge) []<-chan struct{} {
	mark := l.prefix + flushName
	if p.kind == purgeTag {
		mark = l.prefix + tagName + p.name
	}
	done := []<-chan struct{}{l.enqueue(&op[V]{kind: opMark, key: mark, stamp: p.stamp})}
	if event := l.event(p); event != nil {
		// Not with the mark: that of a prefix is another's too, and a soft
		// purge must not take the place of a hard one that is yet to be told.
		name := l.prefix + noteName + string([]byte{'0' + byte(p.kind), softByte(p.soft)}) + p.name
		done = append(done, l.enqueue(&op[V]{kind: opNote, key: name, stamp: p.stamp, event: event}))
	}
	return done
}

// marked reports whether a purge that is marked in the backend applies to what
// was generated at stamp with these tags, or may do so.
func (l *l2[V]) marked(ctx context.Context, tags []string, stamp int64) bool {
	if stamp > l.connected.Load() {
		return false // every purge since then was told
	}
	if len(tags) > maxMarks {
		return true // more than can be looked at
	}
	names := make([]string, 0, 1+len(tags))
	names = append(names, l.prefix+flushName)
	for _, tag := range tags {
		names = append(names, l.prefix+tagName+tag)
	}
	var unknown []string
	for _, name := range names {
		if k, ok := l.marks.get(name); !ok || !l.current(k) {
			unknown = append(unknown, name)
		} else if stamp <= k.stamp {
			return true
		}
	}
	applies := make(chan bool, len(unknown))
	for _, name := range unknown { // side by side, so that they take one budget together
		go func() {
			found, ok := l.readMark(ctx, name)
			applies <- !ok || stamp <= found
		}()
	}
	for range unknown {
		if <-applies {
			return true
		}
	}
	return false
}

// current reports whether the backend need not be asked again for k.
func (l *l2[V]) current(k mark) bool {
	return k.read.UnixNano() > l.connected.Load() || time.Since(k.read) < markRefresh
}

// readMark returns the stamp of the mark under name, and whether it is known.
func (l *l2[V]) readMark(ctx context.Context, name string) (stamp int64, ok bool) {
	now := time.Now()
	var data []byte
	err := l.calls.read(ctx, func(ctx context.Context) (err error) {
		data, err = l.backend.Get(ctx, name)
		return err
	})
	switch {
	case errors.Is(err, ErrMiss):
	case err != nil:
		return 0, false
	default:
		e, err := parseEnvelope(data)
		if err != nil || e.key != name {
			l.bad.Add(1)
			return 0, false
		}
		stamp = e.stamp
	}
	l.marks.set(name, mark{stamp: stamp, read: now})
	return stamp, true
}

// sealMark returns the bytes of a mark.
func sealMark(name string, stamp int64) ([]byte, error) {
	return appendEnvelope(nil, &envelope{key: name, stamp: stamp}, func(dst []byte) ([]byte, error) { return dst, nil })
}
