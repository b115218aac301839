package slow

import (
	"bytes"
	"container/heap"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/epoll"
)

// A Plain is an upstream without TLS. It understands GET requests without a
// body, one at a time on a connection.
type Plain struct {
	Address netip.AddrPort

	name     string
	delays   *Delays
	places   int // requests in work at once at most; 0 means any number
	listener int
	poller   *epoll.Poller
	conns    map[int]*conn
	owed     queue
	waiting  []owing // for a place, first come first served
	buffer   [16 << 10]byte
	counts   counts
}

type conn struct {
	fd     int
	got    []byte
	closed bool
}

// owing is an answer that is not yet due.
type owing struct {
	at   time.Time
	to   *conn
	text []byte
}

// queue is a heap: the answer that is due first is first.
type queue []owing

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(owing)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = owing{}
	*q = (*q)[:last]
	return x
}

// NewPlain returns an upstream that listens on a port of 127.0.0.1. It works
// on so many requests at once at most, if places is not 0; others wait. Serve
// answers.
func NewPlain(name string, delays *Delays, places int) (*Plain, error) {
	if places < 0 {
		return nil, fmt.Errorf("slow: %d places", places)
	}
	listener, at, err := epoll.Listen()
	if err != nil {
		return nil, err
	}
	poller, err := epoll.New()
	if err == nil {
		err = poller.Add(listener, true, false)
	}
	if err != nil {
		epoll.Shut(listener)
		return nil, err
	}
	return &Plain{Address: at, name: name, delays: delays, places: places, listener: listener, poller: poller, conns: make(map[int]*conn)}, nil
}

// Stats may be called at any time.
func (p *Plain) Stats() Stats { return p.counts.stats() }

// Serve answers until the process ends, on a thread of its own.
func (p *Plain) Serve() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		wait := time.Second
		if len(p.owed) > 0 {
			wait = time.Until(p.owed[0].at)
		}
		events, err := p.poller.Wait(wait)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.FD == p.listener {
				p.accept()
			} else if c := p.conns[e.FD]; c != nil {
				p.read(c)
			}
		}
		p.pay()
	}
}

func (p *Plain) accept() {
	for {
		fd, ok := epoll.Accept(p.listener)
		if !ok {
			return
		}
		if err := p.poller.Add(fd, true, false); err != nil {
			epoll.Shut(fd)
			continue
		}
		p.counts.connections.Add(1)
		p.conns[fd] = &conn{fd: fd}
	}
}

func (p *Plain) read(c *conn) {
	n, err := epoll.Read(c.fd, p.buffer[:])
	c.got = append(c.got, p.buffer[:n]...)
	if err != nil || len(c.got) > len(p.buffer) {
		p.drop(c)
		return
	}
	head, rest, complete := bytes.Cut(c.got, []byte("\r\n\r\n"))
	if !complete {
		return
	}
	id, ok := idOf(string(head))
	if !ok || len(rest) > 0 {
		p.drop(c)
		return
	}
	c.got = c.got[:0]
	o := owing{to: c, text: response(p.name, id)}
	if p.places > 0 && len(p.owed) >= p.places {
		p.waiting = append(p.waiting, o)
		return
	}
	p.begin(o)
}

func (p *Plain) begin(o owing) {
	p.counts.begin()
	o.at = time.Now().Add(p.delays.Next())
	heap.Push(&p.owed, o)
}

// beginNext gives a place that has become free to the first who waits and has
// not left.
func (p *Plain) beginNext() {
	for len(p.waiting) > 0 {
		o := p.waiting[0]
		p.waiting = p.waiting[1:]
		if !o.to.closed {
			p.begin(o)
			return
		}
	}
}

// pay sends the answers that are due.
func (p *Plain) pay() {
	now := time.Now()
	for len(p.owed) > 0 && !p.owed[0].at.After(now) {
		o := heap.Pop(&p.owed).(owing)
		p.counts.end()
		p.beginNext()
		if !o.to.closed {
			if err := epoll.Write(o.to.fd, o.text); err != nil {
				p.drop(o.to)
			}
		}
	}
}

func (p *Plain) drop(c *conn) {
	c.closed = true // its number may soon be another connection's
	delete(p.conns, c.fd)
	epoll.Shut(c.fd)
}
