// Package epoll is a loop over many sockets on one goroutine, for the load
// generator and the simulated upstreams: with a goroutine for each connection
// they would take more of the machine than the service that is measured.
package epoll

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Poller waits for sockets and for one moment in time. It belongs to one
// goroutine.
type Poller struct {
	fd, timer int
	events    [512]unix.EpollEvent
	ready     []Event
}

// An Event is a socket that something can be done with.
type Event struct {
	FD                 int
	Readable, Writable bool // errors and hang-ups are both
}

// New returns a Poller without sockets.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// epoll_wait counts in milliseconds; a timer counts in nanoseconds.
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("epoll: timer: %w", err)
	}
	p := &Poller{fd: fd, timer: timer}
	if err := p.Add(timer, true, false); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close frees the Poller. Its sockets stay open.
func (p *Poller) Close() error { return errors.Join(unix.Close(p.timer), unix.Close(p.fd)) }

// Add watches a socket until it is closed.
func (p *Poller) Add(fd int, readable, writable bool) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, readable, writable)
}

// Change replaces what a socket is watched for.
func (p *Poller) Change(fd int, readable, writable bool) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, readable, writable)
}

func (p *Poller) control(op, fd int, readable, writable bool) error {
	e := unix.EpollEvent{Fd: int32(fd)}
	if readable {
		e.Events |= unix.EPOLLIN
	}
	if writable {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(p.fd, op, fd, &e); err != nil {
		return fmt.Errorf("epoll: socket %d: %w", fd, err)
	}
	return nil
}

// Wait returns the sockets that are ready, at the latest after a while, which
// zero and less make none. The slice is valid until the next Wait.
func (p *Poller) Wait(atMost time.Duration) ([]Event, error) {
	block := -1
	if atMost <= 0 {
		block = 0
	} else if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(atMost.Nanoseconds())}, nil); err != nil {
		return nil, fmt.Errorf("epoll: timer of %v: %w", atMost, err)
	}
	n, err := unix.EpollWait(p.fd, p.events[:], block)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p.ready = p.ready[:0]
	for _, e := range p.events[:max(n, 0)] {
		if int(e.Fd) == p.timer {
			var expirations [8]byte
			_, _ = unix.Read(p.timer, expirations[:]) // or it stays readable
			continue
		}
		broken := e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
		p.ready = append(p.ready, Event{int(e.Fd), broken || e.Events&unix.EPOLLIN != 0, broken || e.Events&unix.EPOLLOUT != 0})
	}
	return p.ready, nil
}

// Connect begins to connect to an address. The socket is writable when that
// has succeeded or failed; Failure says which.
func Connect(to netip.AddrPort) (fd int, err error) {
	fd, err = socket()
	if err != nil {
		return 0, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("epoll: connect to %v: %w", to, err)
	}
	return fd, nil
}

// Failure returns what has gone wrong with a socket, if anything.
func Failure(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// Listen listens on a port of 127.0.0.1 that the system chooses.
func Listen() (fd int, at netip.AddrPort, err error) {
	fd, err = socket()
	if err != nil {
		return 0, at, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 4096)
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, at, fmt.Errorf("epoll: listen: %w", err)
	}
	in := name.(*unix.SockaddrInet4)
	return fd, netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), nil
}

// Accept returns the next connection, or false if there is none.
func Accept(listener int) (fd int, ok bool) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, false
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, true
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("epoll: socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, nil
}

// Read reads what has arrived. It returns 0 and nil if nothing has, and an
// error also at the end.
func Read(fd int, into []byte) (int, error) {
	n, err := unix.Read(fd, into)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, errors.New("closed by the other side")
	}
	return n, nil
}

// Write writes a message that fits the socket's empty buffer, whole.
func Write(fd int, message []byte) error {
	n, err := unix.Write(fd, message)
	if err == nil && n < len(message) {
		return fmt.Errorf("only %d of %d bytes fit the socket's buffer", n, len(message))
	}
	return err
}

// Shut closes a socket, which also ends the watch over it.
func Shut(fd int) { _ = unix.Close(fd) }
