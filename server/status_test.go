package server

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawUpstream serves each connection by a function, and closes it then.
func rawUpstream(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(waitLimit))
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		within(t, done, "the upstream to end")
	})
	return "http://" + ln.Addr().String()
}

// statusLine answers a request of HTTP/1.1 with a status as it is written.
func statusLine(status string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			fmt.Fprintf(conn, "HTTP/1.1 %s Whatever\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nhi", status)
		}
	}
}

// statusFrame answers the first request of an HTTP/2 connection with a status
// as it is written, in frames made by hand: no server would send them.
func statusFrame(status string) func(net.Conn) {
	return func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if _, err := io.ReadFull(r, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		frame := func(kind, flags byte, stream uint32, payload string) {
			head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
			head = binary.BigEndian.AppendUint32(append(head, flags), stream)
			_, _ = conn.Write(append(head, payload...))
		}
		frame(4, 0, 0, "") // SETTINGS
		for {
			var head [9]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			length := int64(binary.BigEndian.Uint32(head[:4]) >> 8)
			if _, err := io.CopyN(io.Discard, r, length); err != nil {
				return
			}
			if head[3] == 1 { // HEADERS: :status is the name 8 of the static table
				stream := binary.BigEndian.Uint32(head[5:])
				frame(1, 0x5, stream, "\x08"+string(rune(len(status)))+status)
			}
		}
	}
}

// net/http panics when it is to write such a status, which the client would
// see as a connection that ends.
func TestStatusThatIsNoneIsABadGateway(t *testing.T) {
	f := func(proto, status string, upstream string, want int) {
		t.Helper()
		c := testConfig(upstream)
		c.Upstreams[0].H2C = proto == "HTTP/2"
		s := start(t, c, Options{})
		for _, method := range []string{"GET", "HEAD", "POST"} {
			resp, _ := fetch(t, testClient(t), method, s.base+"/"+method, nil)
			if resp.StatusCode != want {
				t.Errorf("%s %s over %s: answered %d, want %d", method, status, proto, resp.StatusCode, want)
			}
		}
		if strings.Contains(s.log.String(), "panic") {
			t.Errorf("%s over %s: %s", status, proto, s.log)
		}
	}
	for _, status := range []string{"000", "001", "099", "-01", "+99", "1000", "-1", "20", ""} {
		f("HTTP/1.1", status, rawUpstream(t, statusLine(status)), http.StatusBadGateway)
	}
	for _, status := range []string{"000", "0", "99", "1000", "-1", "-200", "2147483648", ""} {
		f("HTTP/2", status, rawUpstream(t, statusFrame(status)), http.StatusBadGateway)
	}
	// What is unusual but can be written passes.
	for _, status := range []string{"299", "600", "999"} {
		want := int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0')
		f("HTTP/1.1", status, rawUpstream(t, statusLine(status)), want)
		f("HTTP/2", status, rawUpstream(t, statusFrame(status)), want)
	}
}

// A stale response comes before the 502 for such a status.
func TestStatusThatIsNoneIsAnsweredStale(t *testing.T) {
	status := make(chan string, 4)
	status <- "200"
	c := testConfig(rawUpstream(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			fmt.Fprintf(conn, "HTTP/1.1 %s X\r\nContent-Length: 2\r\nConnection: close\r\nCache-Control: max-age=0, stale-if-error=600\r\n\r\nhi", <-status)
		}
	}))
	s, client := start(t, c, Options{}), testClient(t)
	fetch(t, client, "GET", s.base+"/", nil)
	for range 3 { // a request may be sent once more
		status <- "000"
	}
	if resp, body := fetch(t, client, "GET", s.base+"/", nil); resp.StatusCode != 200 || body != "hi" {
		t.Errorf("answered %d %q, want the stale response", resp.StatusCode, body)
	}
}
