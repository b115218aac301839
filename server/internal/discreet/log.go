package discreet

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Throttle lets one event through each second and counts the others. An
// upstream that is down must not fill the log. The zero value is ready, and
// may be used concurrently.
type Throttle struct {
	last       atomic.Int64 // Unix nanoseconds
	suppressed atomic.Int64
}

// Allow reports whether an event at now is let through, and then how many were
// not since the one before.
func (t *Throttle) Allow(now time.Time) (ok bool, suppressed int64) {
	last := t.last.Load()
	if now.UnixNano()-last < int64(time.Second) || !t.last.CompareAndSwap(last, now.UnixNano()) {
		t.suppressed.Add(1)
		return false, 0
	}
	return true, t.suppressed.Swap(0)
}

// maxKinds bounds the kinds of messages that are throttled by themselves.
// net/http has about thirty.
const maxKinds = 64

// maxStack bounds what is logged of a stack. Frames that matter come first.
const maxStack = 8 << 10

// Logger returns the logger to give to net/http, of a server or a reverse
// proxy. What it gets is a warning of to: each kind of message once a second,
// without bytes of a client or an upstream. The stack of a panic has an
// attribute of its own.
func Logger(to *slog.Logger) *log.Logger {
	return log.New(&writer{to: to, kinds: make(map[string]*Throttle)}, "", 0)
}

// writer gets one message with each Write.
type writer struct {
	to *slog.Logger

	mu    sync.Mutex // guards kinds
	kinds map[string]*Throttle
}

// Write never fails.
func (w *writer) Write(p []byte) (int, error) {
	message := strings.TrimSpace(string(p))
	ok, suppressed := w.throttle(kindOf(message)).Allow(time.Now())
	if !ok {
		return len(p), nil
	}
	attrs := []any{"suppressed", suppressed}
	if _, stack, ok := strings.Cut(message, "\ngoroutine "); ok {
		attrs = append(attrs, "stack", stack[:min(len(stack), maxStack)])
	}
	w.to.Warn(Foreign(message), attrs...)
	return len(p), nil
}

// kindOf returns the words that a message begins with. The first three are
// not arguments in any of net/http.
func kindOf(message string) string {
	words := strings.SplitN(message, " ", 4)
	return strings.Join(words[:min(len(words), 3)], " ")
}

// throttle returns that of a kind. Kinds beyond maxKinds share one.
func (w *writer) throttle(kind string) *Throttle {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kinds[kind] == nil && len(w.kinds) >= maxKinds {
		kind = "" // no message is empty
	}
	if w.kinds[kind] == nil {
		w.kinds[kind] = new(Throttle)
	}
	return w.kinds[kind]
}
