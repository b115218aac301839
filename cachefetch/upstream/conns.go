package upstream

import (
	"io"
	"net"
	"sync"
	"time"
)

// conns has every connection of a Transport that is open, whatever net/http
// makes of it: Close closes them all at once. Net/http itself closes those
// only that it takes for idle, and HTTP/2 ones that carry a request never.
type conns struct {
	mu     sync.Mutex
	closed bool               // guarded by mu
	open   map[*conn]struct{} // guarded by mu
}

// add takes in a connection that was just opened. After close it closes the
// connection instead.
func (s *conns) add(c net.Conn) (net.Conn, error) {
	own := &conn{Conn: c, set: s, opened: time.Now()}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		if s.open == nil {
			s.open = make(map[*conn]struct{})
		}
		s.open[own] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		_ = c.Close()
		return nil, ErrClosed
	}
	return own, nil
}

// close closes all connections, now and from now on.
func (s *conns) close() {
	s.mu.Lock()
	open := s.open
	s.closed, s.open = true, nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close()
	}
}

// A conn is a connection that knows its age.
type conn struct {
	net.Conn
	set    *conns
	opened time.Time
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// ReadFrom lets a file be sent without being copied, where the connection can.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// openedAt returns when the connection under c was opened: under TLS, and
// under TLS in TLS for a proxy that is asked over it. It is zero if nobody
// knows.
func openedAt(c net.Conn) time.Time {
	for {
		switch x := c.(type) {
		case *conn:
			return x.opened
		case interface{ NetConn() net.Conn }:
			c = x.NetConn()
		default:
			return time.Time{}
		}
	}
}
