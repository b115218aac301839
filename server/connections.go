package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connections bounds the connections of a listener. A connection takes a
// descriptor, a goroutine and buffers whether or not it has a request. When there
// are as many as there may be, in all or of one address, a new one takes the place
// of one of them that has been idle for long. If none is idle it is told 503 and
// closed; and if there are many of those, closed at once.
//
// What each request does for it is one atomic store: idle connections are looked
// for only when one is needed.
type connections struct {
	most int // in all
	each int // of one address

	mu   sync.Mutex
	all  set                // guarded by mu; those that are served
	by   map[netip.Addr]set // guarded by mu; the same by their addresses
	over int                // guarded by mu; those that are told 503

	closed, refused atomic.Uint64 // idle ones closed for others; new ones told 503, or closed
}

type set map[*connection]struct{}

type connection struct {
	conn net.Conn
	addr netip.Addr
	over bool         // it is told 503
	idle atomic.Int64 // since when, in nanoseconds since 1970; 0 = it is not
}

func newConnections(most, each int) *connections {
	return &connections{most: most, each: each, all: make(set), by: make(map[netip.Addr]set)}
}

// reserve is how many are told 503 at one time.
func (l *connections) reserve() int { return max(16, l.most/16) }

// accept is called with each new connection, as http.Server.ConnContext is, and
// decides what becomes of it.
func (l *connections) accept(ctx context.Context, c net.Conn) context.Context {
	w, ok := c.(*wireConn)
	if !ok {
		return ctx // no client's
	}
	n := &connection{conn: c, addr: addrOf(c)}
	w.counted = n
	l.mu.Lock()
	defer l.mu.Unlock()
	n.over = len(l.all) >= l.most && !l.closeIdle(l.all) || len(l.by[n.addr]) >= l.each && !l.closeIdle(l.by[n.addr])
	if !n.over {
		l.all[n] = struct{}{}
		if l.by[n.addr] == nil {
			l.by[n.addr] = make(set)
		}
		l.by[n.addr][n] = struct{}{}
		return ctx
	}
	l.refused.Add(1)
	if l.over++; l.over > l.reserve() {
		_ = c.Close()
	}
	return context.WithValue(ctx, oneTooMany{}, true)
}

// looks bounds how many connections are looked at for one that is idle.
const looks = 1000

// closeIdle closes the longest idle of those in s, or of a thousand of them, and
// reports whether there is one. The caller holds mu.
func (l *connections) closeIdle(s set) bool {
	var longest *connection
	since, n := int64(0), 0
	for c := range s {
		if idle := c.idle.Load(); idle > 0 && (longest == nil || idle < since) {
			longest, since = c, idle
		}
		if n++; n == looks {
			break
		}
	}
	if longest == nil {
		return false
	}
	l.remove(longest)
	_ = longest.conn.Close()
	l.closed.Add(1)
	return true
}

// state is called with each change, as http.Server.ConnState is.
func (l *connections) state(c net.Conn, state http.ConnState) {
	w, ok := c.(*wireConn)
	if !ok || w.counted == nil {
		return
	}
	switch state {
	case http.StateActive:
		w.counted.idle.Store(0)
	case http.StateIdle:
		w.counted.idle.Store(time.Now().UnixNano())
	case http.StateClosed, http.StateHijacked:
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.counted.over {
			l.over--
		} else {
			l.remove(w.counted)
		}
	}
}

// remove lets go of a connection that was served, if it is still there. The
// caller holds mu.
func (l *connections) remove(n *connection) {
	delete(l.all, n)
	of := l.by[n.addr]
	if delete(of, n); len(of) == 0 {
		delete(l.by, n.addr)
	}
}

func (l *connections) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all) + l.over
}

// oneTooMany is the key of what tells the requests of a connection that is one too
// many, in their context.
type oneTooMany struct{}

// handler answers 503 to the requests of connections that are too many.
func (l *connections) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(oneTooMany{}) == nil {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Connection", "close")
		h.Set("Retry-After", "1")
		h.Set("Cache-Control", "no-store")
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
	})
}

// addrOf returns the address of the other side, without its port.
func addrOf(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// defaultDescriptors is how many files a process may have open where that is not
// known.
const defaultDescriptors = 8192
