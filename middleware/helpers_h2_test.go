package middleware

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// h2 is a client that speaks as much HTTP/2 as it takes to ask and not read.
type h2 struct {
	net.Conn
	next uint32
}

func serveH2(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = silent
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// dialH2 begins a connection whose streams have this window.
func dialH2(t *testing.T, addr string, window uint32) *h2 {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	c := &h2{Conn: conn, next: 1}
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	settings := binary.BigEndian.AppendUint32([]byte{0, 4}, window)
	c.frame(4, 0, 0, settings)
	c.frame(8, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1-65535))
	return c
}

func (c *h2) frame(kind, flags byte, stream uint32, payload []byte) {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}
	b = binary.BigEndian.AppendUint32(b, stream)
	_, _ = c.Write(append(b, payload...))
}

// get asks for a path, with further fields, and does not wait.
func (c *h2) get(host, path string, fields ...string) {
	lit := func(b []byte, name, value string) []byte {
		b = append(b, 0, byte(len(name)))
		b = append(b, name...)
		b = append(b, byte(len(value)))
		return append(b, value...)
	}
	b := []byte{0x82, 0x86} // :method GET, :scheme http
	b = lit(b, ":path", path)
	b = lit(b, ":authority", host)
	for i := 0; i < len(fields); i += 2 {
		b = lit(b, fields[i], fields[i+1])
	}
	c.frame(1, 0x4|0x1, c.next, b)
	c.next += 2
}
