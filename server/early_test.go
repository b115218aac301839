package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// An upstream refuses a body from its header alone. The client, which has sent
// a part and waits, gets the answer.
func TestEarlyAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_, _ = r.ReadByte()
		_, _ = r.Discard(1 << 30)
	}()
	s := start(t, testConfig("http://"+ln.Addr().String()), Options{})
	conn := dial(t, s.Addr())
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: example\r\nContent-Length: 1000000\r\n\r\nfirst part")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%v, %v", resp, err)
	}
}
