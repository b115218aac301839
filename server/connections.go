package server

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// connections bounds the connections of a listener. A connection takes a
// descriptor, a goroutine and buffers whether or not it has a request. When there
// are as many as there may be, a new one takes the place of the one that has been
// idle for the longest time. If none is idle, or its address has its share
// already, it is told 503 and closed; and if there are many of those, closed at
// once.
type connections struct {
	most int // in all
	each int // of one address

	mu   sync.Mutex
	all  map[net.Conn]*connection // guarded by mu
	by   map[netip.Addr]int       // guarded by mu; without those that are told 503
	idle list.List                // guarded by mu; of *connection, the longest idle first
	over int                      // guarded by mu; of all, those that are told 503

	closed, refused atomic.Uint64 // idle ones closed for others; new ones told 503, or closed
}

type connection struct {
	conn net.Conn
	addr netip.Addr
	over bool
	idle *list.Element // nil while it is not
}

func newConnections(most, each int) *connections {
	return &connections{most: most, each: each, all: make(map[net.Conn]*connection), by: make(map[netip.Addr]int)}
}

// reserve is how many are told 503 at one time.
func (l *connections) reserve() int { return max(16, l.most/16) }

// state is called with each change, as http.Server.ConnState is.
func (l *connections) state(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.all[c]
	switch {
	case state == http.StateNew:
		l.add(c)
	case n == nil: // it was closed for others
	case state == http.StateIdle:
		n.idle = l.idle.PushBack(n)
	case state == http.StateActive:
		if n.idle != nil {
			l.idle.Remove(n.idle)
			n.idle = nil
		}
	default:
		l.remove(n)
	}
}

// add takes in a new connection. The caller holds mu.
func (l *connections) add(c net.Conn) {
	n := &connection{conn: c, addr: addrOf(c)}
	full := len(l.all)-l.over >= l.most
	if full {
		if first := l.idle.Front(); first != nil {
			oldest := first.Value.(*connection)
			l.remove(oldest)
			_ = oldest.conn.Close()
			l.closed.Add(1)
			full = false
		}
	}
	if n.over = full || l.by[n.addr] >= l.each; n.over {
		l.refused.Add(1)
		if l.over >= l.reserve() {
			_ = c.Close()
			return
		}
		l.over++
	} else {
		l.by[n.addr]++
	}
	l.all[c] = n
}

// remove lets go of a connection. The caller holds mu.
func (l *connections) remove(n *connection) {
	delete(l.all, n.conn)
	if n.idle != nil {
		l.idle.Remove(n.idle)
		n.idle = nil
	}
	if n.over {
		l.over--
	} else if l.by[n.addr]--; l.by[n.addr] == 0 {
		delete(l.by, n.addr)
	}
}

func (l *connections) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// connectionKey is the key of a connection that is one too many, in the context
// of its requests.
type connectionKey struct{}

// context is called with each new connection, as http.Server.ConnContext is,
// which is before state.
func (l *connections) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// handler answers 503 to the requests of connections that are too many.
func (l *connections) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connectionKey{}).(net.Conn)
		if c == nil || !l.tooMany(c) {
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

func (l *connections) tooMany(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.all[c]
	return n != nil && n.over
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
