package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/freshet-go/freshet/benchmarks/internal/epoll"
)

// Config is a load on one service.
type Config struct {
	Address netip.AddrPort // of IPv4
	Path    string         // the id is appended
	Timeout time.Duration  // a request is given up so long after it was due

	// MaxInFlight bounds requests sent and not answered, and connections.
	// Further ones wait for an answer; their latency counts all the same.
	MaxInFlight int
}

// request is one that is due. It leaves the queue at the end only, so one that
// was answered is marked.
type request struct {
	due  time.Duration
	id   int
	conn *conn
	over bool
}

type conn struct {
	fd        int
	connected bool
	request   *request // nil while idle
	got       []byte
}

// A driver runs a load on one goroutine: thousands of requests in flight cost
// as many sockets and nothing else.
type driver struct {
	config   Config
	poller   *epoll.Poller
	start    time.Time
	conns    map[int]*conn
	idle     []*conn    // the last used is used first
	waiting  []*request // due, and not sent for want of a connection
	open     []*request // due and not over, in their order, and some that are over
	inFlight int
	buffer   [64 << 10]byte
	message  []byte

	result                       Result
	latency, refusal, wrong, lag recorder
	hits, misses                 recorder
	hitsBySecond                 []recorder
}

// Run sends what the schedule says and returns when everything is answered or
// given up. It needs a thread of its own.
func Run(c Config, s *Schedule) (*Result, error) {
	if c.Timeout <= 0 || c.MaxInFlight < 1 || !c.Address.Addr().Is4() {
		return nil, fmt.Errorf("load: bad config %+v", c)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poller, err := epoll.New()
	if err != nil {
		return nil, err
	}
	d := &driver{
		config: c, poller: poller, start: time.Now(), conns: make(map[int]*conn),
		result:  Result{Failures: make(map[string]int), Scheduled: s.end},
		latency: newRecorder(), refusal: newRecorder(), wrong: newRecorder(), lag: newRecorder(),
		hits: newRecorder(), misses: newRecorder(),
	}
	err = d.run(s)
	for fd := range d.conns {
		epoll.Shut(fd)
	}
	d.result.Latency, d.result.Refusal = d.latency.latency(), d.refusal.latency()
	d.result.Hit, d.result.Miss = d.hits.latency(), d.misses.latency()
	for _, r := range d.hitsBySecond {
		d.result.HitsBySecond = append(d.result.HitsBySecond, r.latency().P99)
	}
	d.result.Error, d.result.Lag = d.wrong.latency(), d.lag.latency()
	return &d.result, errors.Join(err, poller.Close())
}

func (d *driver) now() time.Duration { return time.Since(d.start) }

func (d *driver) run(s *Schedule) error {
	due, id, more := s.Next()
	for {
		now := d.now()
		for more && due <= now {
			d.result.Due++
			d.lag.record(d.now() - due)
			r := &request{due: due, id: id}
			d.open = append(d.open, r)
			d.send(r)
			due, id, more = s.Next()
		}
		d.giveUp(now)
		if !more && len(d.open) == 0 {
			d.result.Took = d.now()
			return nil
		}
		wait := time.Second
		if more {
			wait = due - d.now()
		}
		if len(d.open) > 0 {
			wait = min(wait, d.open[0].due+d.config.Timeout-d.now())
		}
		events, err := d.poller.Wait(wait)
		if err != nil {
			return err
		}
		for _, e := range events {
			d.handle(e)
		}
	}
}

// send gives a request to an idle connection or a new one, or has it wait.
func (d *driver) send(r *request) {
	if n := len(d.idle); n > 0 {
		c := d.idle[n-1]
		d.idle = d.idle[:n-1]
		d.sendOn(c, r)
		return
	}
	if len(d.conns) >= d.config.MaxInFlight {
		d.waiting = append(d.waiting, r)
		return
	}
	fd, err := epoll.Connect(d.config.Address)
	if err == nil {
		if err = d.poller.Add(fd, false, true); err != nil {
			epoll.Shut(fd)
		}
	}
	if err != nil {
		d.fail(r, err)
		return
	}
	d.result.Dialled++
	c := &conn{fd: fd, request: r}
	r.conn = c
	d.conns[fd] = c
	d.took(1)
}

func (d *driver) took(n int) {
	d.inFlight += n
	d.result.PeakInFlight = max(d.result.PeakInFlight, d.inFlight)
}

func (d *driver) sendOn(c *conn, r *request) {
	c.request, r.conn = r, c
	d.took(1)
	d.write(c)
}

// write sends the request of a connection.
func (d *driver) write(c *conn) {
	r := c.request
	d.message = fmt.Appendf(d.message[:0], "GET %s%d HTTP/1.1\r\nHost: scenario.example\r\nAccept: application/json\r\nUser-Agent: scenario\r\n\r\n", d.config.Path, r.id)
	if err := epoll.Write(c.fd, d.message); err != nil {
		d.drop(c, err)
	}
}

func (d *driver) handle(e epoll.Event) {
	c := d.conns[e.FD]
	if c == nil {
		return // closed by an event before this one
	}
	if !c.connected {
		if err := epoll.Failure(c.fd); err != nil {
			d.drop(c, err)
			return
		}
		c.connected = true
		if err := d.poller.Change(c.fd, true, false); err != nil {
			d.drop(c, err)
			return
		}
		d.write(c)
		return
	}
	if e.Readable {
		d.read(c)
	}
}

func (d *driver) read(c *conn) {
	n, err := epoll.Read(c.fd, d.buffer[:])
	if err != nil {
		d.drop(c, err)
		return
	}
	if c.request == nil {
		d.drop(c, errors.New("an answer to nothing"))
		return
	}
	c.got = append(c.got, d.buffer[:n]...)
	a, err := readAnswer(c.got)
	if err != nil {
		d.drop(c, err)
		return
	}
	if !a.complete {
		return
	}
	r := c.request
	c.request, c.got = nil, c.got[:0]
	r.over, r.conn = true, nil
	d.took(-1)
	d.count(a, r.due, d.now()-r.due)
	if a.close {
		d.drop(c, nil)
		return
	}
	d.release(c)
}

// release makes a connection available again, first for those who wait.
func (d *driver) release(c *conn) {
	if r := d.nextWaiting(); r != nil {
		d.sendOn(c, r)
		return
	}
	d.idle = append(d.idle, c)
}

// nextWaiting takes the first request that waits for a connection.
func (d *driver) nextWaiting() *request {
	for len(d.waiting) > 0 {
		r := d.waiting[0]
		d.waiting = d.waiting[1:]
		if !r.over {
			return r
		}
	}
	return nil
}

func (d *driver) count(a answer, due, took time.Duration) {
	switch status := a.status; status {
	case 200:
		d.result.Good++
		d.countSecond()
		d.latency.record(took)
		if a.hit {
			d.hits.record(took)
			for second := int(due / time.Second); len(d.hitsBySecond) <= second; {
				d.hitsBySecond = append(d.hitsBySecond, newRecorder())
			}
			d.hitsBySecond[int(due/time.Second)].record(took)
		} else {
			d.misses.record(took)
		}
	case 503:
		d.result.Refused++
		d.refusal.record(took)
	default:
		d.result.Wrong++
		d.result.Failures[fmt.Sprintf("status %d", status)]++
		d.wrong.record(took)
	}
}

func (d *driver) countSecond() {
	second := int(d.now() / time.Second)
	for len(d.result.BySecond) <= second {
		d.result.BySecond = append(d.result.BySecond, 0)
	}
	d.result.BySecond[second]++
}

// drop closes a connection, and with it the request that is on it fails.
func (d *driver) drop(c *conn, why error) {
	epoll.Shut(c.fd)
	delete(d.conns, c.fd)
	if r := c.request; r != nil {
		c.request = nil
		d.took(-1)
		d.fail(r, why)
	}
	for i, other := range d.idle { // short, or seldom searched: services close idle connections rarely
		if other == c {
			d.idle = append(d.idle[:i], d.idle[i+1:]...)
			break
		}
	}
	if r := d.nextWaiting(); r != nil {
		d.send(r)
	}
}

func (d *driver) fail(r *request, why error) {
	r.over, r.conn = true, nil
	d.result.Failed++
	text := why.Error()
	d.result.Failures[text[strings.LastIndexByte(text, ':')+1:]]++
	d.wrong.record(d.now() - r.due)
}

// giveUp ends the requests whose time is over and forgets those that are.
func (d *driver) giveUp(now time.Duration) {
	for len(d.open) > 0 {
		r := d.open[0]
		if !r.over && now < r.due+d.config.Timeout {
			return
		}
		d.open = d.open[1:]
		if r.over {
			continue
		}
		r.over = true
		d.result.Unanswered++
		d.latency.record(now - r.due)
		if c := r.conn; c != nil {
			c.request = nil
			d.took(-1)
			d.drop(c, nil)
		} else {
			d.result.Unsent++
		}
	}
}
