package middleware_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An answer is what a client got.
type answer struct {
	op           *op
	began, ended time.Time
	hard, soft   int64  // the oldest versions that it may get, and get as fresh
	condition    string // its If-None-Match

	hardAtHeader int64 // as hard, when the header came

	status  int // 0 = no response
	header  http.Header
	interim []http.Header
	trailer http.Header
	body    []byte
	length  int64 // declared
	err     error // nil: it ended as a whole response does
	gaveUp  bool  // the client left, or stopped reading
	stall   time.Duration
}

// do does what an op says.
func (m *world) do(o *op) {
	switch o.do {
	case "GET", "HEAD", "POST":
		m.ask(o)
	case "close":
		m.mu.Lock()
		m.closed = time.Now()
		m.tell("#%d close", o.id)
		m.mu.Unlock()
		_ = m.cache.Close() // runs that do not heed their context are an error of theirs
	default:
		m.remove(o)
	}
}

// ask makes a request, and notes what became of it.
func (m *world) ask(o *op) {
	a := &answer{op: o, stall: m.plan.pace.stall}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if o.cancel > 0 {
		stop := time.AfterFunc(o.cancel, cancel)
		defer stop.Stop()
	}
	r := m.request(ctx, o, a)
	m.mu.Lock()
	t := target{o.place, o.query}
	a.hard, a.soft = m.hard[t], m.soft[t]
	m.tell("#%d asks (not before version %d, fresh not before %d)", o.id, a.hard, a.soft)
	m.mu.Unlock()
	a.began = time.Now()
	resp, err := m.rt.RoundTrip(r)
	if a.err = err; err == nil {
		m.mu.Lock()
		a.hardAtHeader = m.hardBefore(t)
		m.mu.Unlock()
		a.read(resp)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a.gaveUp = a.gaveUp || ctx.Err() != nil
	a.ended = time.Now()
	m.answers = append(m.answers, a)
	if tag := a.header.Get("Etag"); tag != "" {
		m.lastTag[o.place] = tag
	}
	if o.do == http.MethodPost && a.status >= 200 && a.status < 400 {
		run, _ := strconv.Atoi(a.header.Get("X-Run"))
		for _, t := range m.plan.targets(o.place, o.query) {
			m.raise(t, m.runs[run].version, false)
		}
	}
	m.tell("#%d got %d, %d bytes, error %v, run %s, rep %s (%s)", o.id, a.status, len(a.body), a.err, a.header.Get("X-Run"), a.header.Get("X-Rep"), a.header["Cache-Status"])
}

// request makes the request of an op.
func (m *world) request(ctx context.Context, o *op, a *answer) *http.Request {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if a.ended.IsZero() { // it may be called by a run that goes on
			a.interim = append(a.interim, http.Header(h).Clone())
		}
		return nil
	}})
	p := m.plan.places[o.place]
	r, err := http.NewRequestWithContext(ctx, o.do, "http://"+p.host+p.path+o.query, nil)
	if err != nil {
		panic(err)
	}
	if o.cond == "last" {
		m.mu.Lock()
		a.condition = m.lastTag[o.place]
		m.mu.Unlock()
	} else if o.cond != "" {
		a.condition = `"bogus"`
	}
	cookie := ""
	if o.who.cookie != "" {
		cookie = "user=" + o.who.cookie
	}
	for _, f := range [][2]string{
		{"X-Op", strconv.Itoa(o.id)}, {"Cookie", cookie}, {"Authorization", o.who.auth}, {"Accept-Language", o.who.lang},
		{"X-Kind", o.who.kind}, {"X-Session", o.who.session}, {"X-Forwarded-Host", o.who.proxied}, {"Cache-Control", o.asks}, {"Range", o.ranges}, {"If-None-Match", a.condition},
	} {
		if f[1] != "" {
			r.Header.Set(f[0], f[1])
		}
	}
	return r
}

// read reads a response as the op's client does.
func (a *answer) read(resp *http.Response) {
	defer resp.Body.Close()
	a.status, a.header, a.length = resp.StatusCode, resp.Header.Clone(), resp.ContentLength
	if a.op.sip == 0 && a.op.stallAt == 0 {
		a.body, a.err = io.ReadAll(resp.Body)
		a.trailer = resp.Trailer
		return
	}
	buf := make([]byte, 512)
	for {
		if a.op.sip > 0 {
			buf = buf[:a.op.sip]
			time.Sleep(a.op.pause)
		}
		n, err := resp.Body.Read(buf)
		a.body = append(a.body, buf[:n]...)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.err = err
			}
			a.trailer = resp.Trailer
			return
		}
		if a.op.stallAt > 0 && len(a.body) >= a.op.stallAt {
			time.Sleep(a.stall)
			a.gaveUp, a.err = true, errors.New("the client stopped reading")
			return
		}
	}
}

// collapsed reports whether an answer came from the run for another request.
func (a *answer) collapsed() bool { return strings.HasSuffix(a.cacheStatus(), "; collapsed") }

// fallback reports whether an answer from the store was given in place of that
// of a run.
func (a *answer) fallback() bool {
	s := a.cacheStatus()
	return strings.HasPrefix(s, "fwd=stale") && strings.Contains(s, "ttl=") && strings.Contains(s, "detail=") && !strings.Contains(s, "stored")
}

// pipes is a network in memory, without buffers.
type pipes struct{}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (pipes) listen() net.Listener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (pipes) dial(l net.Listener) (net.Conn, error) {
	p := l.(*pipeListener)
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// sockets is TCP on the loopback interface.
type sockets struct{}

func (sockets) listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l
}

func (sockets) dial(l net.Listener) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }

// cacheStatus returns the member of Cache-Status that is the cache's.
func (a *answer) cacheStatus() string {
	lines := a.header["Cache-Status"]
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimPrefix(lines[len(lines)-1], "freshet; ")
}
