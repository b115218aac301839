package compat

import (
	"compress/gzip"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A memory is a network of one listener. Servers and clients of net/http are
// the real ones, but their time is that of the bubble that they run in, and
// when a bubble ends none of its goroutines is left.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error { m.once.Do(func() { close(m.closed) }); return nil }

func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 80), Port: 80} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.conns <- remote{far}:
		return near, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remote has an address that middleware can parse, the same for all clients.
type remote struct{ net.Conn }

func (remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234} }

// silent swallows what tests make fail.
var silent = log.New(io.Discard, "", 0)

// serve serves h until the test ends, and returns its network.
func serve(t *testing.T, h http.Handler, protocols *http.Protocols) *memory {
	m := newMemory()
	srv := &http.Server{Handler: h, ErrorLog: silent, Protocols: protocols}
	done := make(chan error)
	go func() { done <- srv.Serve(m) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return m
}

// protocols are what the clients of a site may speak.
var protocols = map[string]*http.Protocols{"HTTP/1": new(http.Protocols), "HTTP/2": new(http.Protocols)}

func init() {
	protocols["HTTP/1"].SetHTTP1(true)
	protocols["HTTP/2"].SetUnencryptedHTTP2(true)
}

func (m *memory) transport(t *testing.T, p *http.Protocols) *http.Transport {
	tr := &http.Transport{DialContext: m.dial, DisableCompression: true, Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// A user is a client of a site, with connections and cookies of its own.
type user struct {
	name   string
	fields []string
	client http.Client
}

func newUser(t *testing.T, name string, fields []string, m *memory, p *http.Protocols) *user {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &user{name, fields, http.Client{
		Transport:     m.transport(t, p),
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// An answer is what a user got, its body decoded.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error // why it is not whole
	took    time.Duration
}

// whole reports whether the user takes the answer for a complete page.
func (a *answer) whole() bool { return a.err == nil && a.status == http.StatusOK }

func (u *user) ask(method, target string, more ...string) *answer {
	began := time.Now()
	req, err := http.NewRequest(method, "http://site.test"+target, nil)
	if err != nil {
		return &answer{err: err}
	}
	for _, fields := range [][]string{u.fields, more} {
		for i := 0; i < len(fields); i += 2 {
			req.Header.Add(fields[i], fields[i+1])
		}
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return &answer{err: err, took: time.Since(began)}
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.body, a.err = decoded(resp)
	a.trailer, a.took = resp.Trailer, time.Since(began)
	return a
}

func decoded(resp *http.Response) (string, error) {
	raw, err := io.ReadAll(resp.Body)
	coding := resp.Header.Get("Content-Encoding")
	if err != nil || len(raw) == 0 || resp.StatusCode == http.StatusPartialContent {
		return string(raw), err
	}
	var r io.Reader = strings.NewReader(string(raw))
	switch coding {
	case "gzip":
		if r, err = gzip.NewReader(r); err != nil {
			return "", err
		}
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return "", err
		}
		defer z.Close()
		r = z
	}
	body, err := io.ReadAll(r)
	return string(body), err
}
