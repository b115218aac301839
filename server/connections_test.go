package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialFrom opens a connection from an address of this machine.
func dialFrom(t *testing.T, s *running, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: waitLimit}
	c, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	return c
}

// ask sends a request and returns the response's status, 0 if there is none.
func ask(c net.Conn, path string) int {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// Connections are bounded: an idle one makes room for a new one, the longest idle
// first; where none is idle the new one is told 503, and one after that is served
// as soon as there is room. The admin listener answers all the time.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 4
	entered, leave := make(chan struct{}, 2*most), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if strings.HasPrefix(r.URL.Path, "/slow") {
			entered <- struct{}{}
			<-leave
		}
	})
	c := testConfig(up)
	c.MaxConnections, c.MaxConnectionsPerAddress = most, most
	s := start(t, c, Options{})
	letGo := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(letGo) // also where the test has failed
	someIdle := func(n int) {
		t.Helper()
		eventually(t, "connections to be idle", func() bool { // a little after their responses are read
			return idleOf(s, "127.0.0.1") >= n
		})
	}
	idle := make([]net.Conn, most)
	for i := range idle {
		idle[i] = dialFrom(t, s, "127.0.0.1")
		if status := ask(idle[i], "/"); status != 200 {
			t.Fatalf("connection %d: %d", i, status)
		}
		someIdle(i + 1)
	}
	if status := ask(dialFrom(t, s, "127.0.0.1"), "/"); status != 200 {
		t.Errorf("a connection that finds idle ones got %d", status)
	}
	someIdle(most)
	if status := ask(idle[0], "/"); status != 0 {
		t.Errorf("the longest idle connection is still there: %d", status)
	}
	if status := ask(idle[3], "/"); status != 200 {
		t.Errorf("another idle connection got %d", status)
	}
	done := make(chan int, most)
	for i := range most {
		someIdle(most - i)
		conn := dialFrom(t, s, "127.0.0.1")
		go func() { done <- ask(conn, fmt.Sprint("/slow/", i)) }()
		within(t, entered, "a slow request")
	}
	began := time.Now()
	for range 5 {
		if status := ask(dialFrom(t, s, "127.0.0.1"), "/"); status != 503 {
			t.Errorf("a connection beyond the limit got %d", status)
		}
	}
	if took := time.Since(began); took > waitLimit/2 {
		t.Errorf("refusals took %v", took)
	}
	if resp, err := http.Get(s.admin + "/metrics"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the admin listener: %v", err)
	} else {
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, want := range []string{"freshet_connections_refused_total 5\n", "freshet_max_connections 4\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("metrics lack %q", want)
			}
		}
	}
	letGo()
	for range most {
		if status := within(t, done, "slow requests"); status != 200 {
			t.Errorf("a slow request got %d", status)
		}
	}
	someIdle(1)
	if status := ask(dialFrom(t, s, "127.0.0.1"), "/"); status != 200 {
		t.Errorf("afterwards a connection gets %d", status)
	}
}

// One address has its share of the connections, and no more: within it, too, idle
// ones make room.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	const each = 3
	entered, leave := make(chan struct{}, each), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if w.Header().Set("Cache-Control", "no-store"); strings.HasPrefix(r.URL.Path, "/slow") {
			entered <- struct{}{}
			<-leave
		}
	})
	c := testConfig(up)
	c.MaxConnections, c.MaxConnectionsPerAddress = 100, each
	s := start(t, c, Options{})
	t.Cleanup(func() { close(leave) })
	other := dialFrom(t, s, "127.0.0.2")
	if status := ask(other, "/"); status != 200 {
		t.Errorf("another address got %d", status)
	}
	for i := range each {
		conn := dialFrom(t, s, "127.0.0.1")
		if status := ask(conn, "/"); status != 200 {
			t.Errorf("connection %d of one address got %d", i, status)
		}
		go ask(conn, fmt.Sprint("/slow/", i)) // of which no two are one run
		within(t, entered, "a slow request")
	}
	if status := ask(dialFrom(t, s, "127.0.0.1"), "/"); status != 503 {
		t.Errorf("a connection beyond the share of its address got %d", status)
	}
	for i := range 2 * each { // each takes the place of the one before
		conn := dialFrom(t, s, "127.0.0.3")
		if status := ask(conn, "/"); status != 200 {
			t.Errorf("connection %d of an address whose others are idle got %d", i, status)
		}
		eventually(t, "it to be idle", func() bool { return s.connections.count() >= each+2 && idleOf(s, "127.0.0.3") >= min(i+1, each) })
	}
	if status := ask(other, "/"); status != 200 {
		t.Errorf("the idle connection of another address got %d", status)
	}
}

// idleOf returns how many connections of an address are idle.
func idleOf(s *running, addr string) (n int) {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	for c := range s.connections.by[netip.MustParseAddr(addr)] {
		if c.idle.Load() > 0 {
			n++
		}
	}
	return n
}

// Connections that are many times too many are closed, and none is lost count of.
func TestFloodOfConnections(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	c := testConfig(up)
	c.MaxConnections, c.MaxConnectionsPerAddress = 8, 8
	s := start(t, c, Options{})
	conns := make([]net.Conn, 0, 200)
	for range 200 { // that say nothing
		conns = append(conns, dialFrom(t, s, "127.0.0.1"))
	}
	eventually(t, "connections beyond all limits to be closed", func() bool { return s.connections.count() <= 8+16 })
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "connections to be forgotten", func() bool { return s.connections.count() == 0 })
	s.connections.mu.Lock()
	over, by, all := s.connections.over, len(s.connections.by), len(s.connections.all)
	s.connections.mu.Unlock()
	if over != 0 || by != 0 || all != 0 {
		t.Errorf("%d over, %d addresses, %d in all without connections", over, by, all)
	}
	if status := ask(dialFrom(t, s, "127.0.0.1"), "/"); status != 200 {
		t.Errorf("afterwards a connection gets %d", status)
	}
}
