// Package pipetest is a network in memory, for tests. Unlike sockets, its
// connections count as idle in a testing/synctest bubble, so that clients and
// servers can be tested by the clock.
package pipetest

import (
	"context"
	"net"
	"sync"
)

// A Net is a network of one server: a [net.Listener] for it, and Dial for its
// clients.
type Net struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// New returns a network whose server may begin to accept.
func New() *Net {
	return &Net{accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial opens a connection to the server, whatever the address.
func (n *Net) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.accept <- server:
		return client, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements [net.Listener].
func (n *Net) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (n *Net) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

// Addr implements [net.Listener].
func (n *Net) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
