package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// A ListenError says which of the listeners could not be opened.
type ListenError struct {
	Key     string // "listen" or "admin", as in the configuration
	Address string
	Err     error
}

// Error returns "server: key address: cause".
func (e *ListenError) Error() string {
	return fmt.Sprintf("server: %s %s: %v", e.Key, e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// ErrDrainTimeout is returned by [Server.Serve] when requests had to be cut
// off.
var ErrDrainTimeout = errors.New("server: requests still running after the drain timeout were cut off")

// Listen opens both listeners, or neither, with a [*ListenError]. It is called
// at most once, before Serve and the methods that tell addresses.
func (s *Server) Listen() error {
	ln, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return &ListenError{"listen", s.config.Listen, err}
	}
	if s.admin != nil {
		admin, err := listenAdmin(s.config.Admin, s.config.AdminToken)
		if err != nil {
			_ = ln.Close()
			return &ListenError{"admin", s.config.Admin, err}
		}
		s.adminListener = admin
	}
	s.mainListener = ln
	return nil
}

// listenAdmin looks at the address it got: "localhost" is whatever the system
// makes of it.
func listenAdmin(addr, token string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := ln.Addr().(*net.TCPAddr); token == "" && (!ok || !tcp.IP.IsLoopback()) {
		_ = ln.Close()
		return nil, fmt.Errorf("refusing to listen on %v, beyond loopback, without an admin token", ln.Addr())
	}
	return ln, nil
}

// Addr returns the address of the main listener, nil before Listen.
func (s *Server) Addr() net.Addr { return addr(s.mainListener) }

// AdminAddr returns the address of the admin listener, nil before Listen and
// if there is none.
func (s *Server) AdminAddr() net.Addr { return addr(s.adminListener) }

func addr(ln net.Listener) net.Addr {
	if ln == nil {
		return nil
	}
	return ln.Addr()
}

// Serve answers requests until ctx ends. Then it drains: it stops accepting,
// answers 503 on /readyz, lets requests finish for Config.DrainTimeout, ends
// background refreshes and closes the cache. It returns nil after a clean
// drain, [ErrDrainTimeout] if requests had to be cut off, and otherwise the
// error of a listener. Upgraded connections (WebSocket) are not waited for.
//
// Serve opens the listeners if Listen has not. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	if s.mainListener == nil {
		if err := s.Listen(); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	failed := make(chan error, 2)
	go func() { failed <- s.main.Serve(s.follow(s.mainListener, s.config.H2C)) }()
	if s.admin != nil {
		go func() { failed <- s.admin.Serve(s.follow(s.adminListener, false)) }()
	}
	s.state.Store(stateServing)
	select {
	case <-ctx.Done():
		return s.drain()
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) { // by Close
			return s.Close()
		}
		return errors.Join(fmt.Errorf("server: %w", err), s.Close())
	}
}

func (s *Server) drain() error {
	s.state.Store(stateDraining)
	s.log.Info("draining", "timeout", s.config.DrainTimeout)
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	err := s.main.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = ErrDrainTimeout
	}
	err = errors.Join(err, s.Close())
	s.log.Info("drained", "took", time.Since(start).Round(time.Millisecond), "error", err)
	return err
}

// Close ends the server at once: listeners, connections, background refreshes
// and the cache. It may be called more than once, and makes Serve return.
func (s *Server) Close() error {
	errs := []error{closeServer(s.main, s.mainListener), s.cache.Close()}
	if s.gateway != nil {
		s.gateway.close()
	}
	// Last, so that the state of the drain can be watched.
	if s.admin != nil {
		errs = append(errs, closeServer(s.admin, s.adminListener))
	}
	return errors.Join(errs...)
}

// closeServer closes the listener too if the server has never served it.
func closeServer(srv *http.Server, ln net.Listener) error {
	err := srv.Close()
	if ln != nil {
		if e := ln.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
