package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// What an upstream sends that is no response is no line of the log either.
func TestLogHoldsNothingThatAnUpstreamSent(t *testing.T) {
	for _, answer := range []string{
		"hush hush\r\n\r\n",
		"HTTP/9.9 hush\r\n\r\n",
		"HTTP/1.1 hush OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nhush hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\n hush: hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2, hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: hush\r\n\r\n",
		"HTTP/1.1 101 hush\r\nConnection: upgrade\r\nUpgrade: hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n1\r\na\r\n0\r\nhush hush\r\n\r\n",
	} {
		s := start(t, testConfig(rawUpstream(t, func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, answer)
			}
		})), Options{})
		for _, method := range []string{"GET", "POST"} {
			conn := dial(t, s.Addr())
			fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method)
			_, _ = io.Copy(io.Discard, conn)
		}
		eventually(t, "a line of the log", func() bool { return s.log.String() != "" })
		if log := s.log.String(); strings.Contains(log, "hush") {
			t.Errorf("%q is logged as %q", answer, log)
		}
	}
}

// Each panic of a handler has a stack of a hundred lines.
func TestPanicsOfHandlersAreLoggedOnceASecond(t *testing.T) {
	c := testConfig("http://127.0.0.1:1")
	s := start(t, c, Options{Handler: func(*cachemw.Cache) (http.Handler, error) {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken handler") }), nil
	}})
	const requests = 200
	for range requests {
		conn := dial(t, s.Addr())
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	log := s.log.String()
	if n := strings.Count(log, "panic serving"); n == 0 || n > requests/10 || !strings.Contains(log, "broken handler") {
		t.Errorf("%d of %d panics are logged: %.1000s", n, requests, log)
	}
	if !strings.Contains(log, "log_test.go") {
		t.Errorf("no stack: %.1000s", log)
	}
}

// A purge is logged for everyone who reads the log.
func TestLogOfPurgesHoldsNoSecrets(t *testing.T) {
	s := start(t, testConfig("http://127.0.0.1:1"), Options{})
	for _, body := range []string{
		`{"url": "http://example/a?token=hush"}`, `{"url": "http://me:hush@example/a"}`, `{"prefix": "http://me:hush@example/a"}`, `{"prefix": "http://example/a?hush"}`,
	} {
		_, answer := fetch(t, testClient(t), "POST", s.admin+"/api/purge", strings.NewReader(body))
		if strings.Contains(answer, `"error"`) && strings.Contains(answer, "hush") {
			t.Errorf("%s: answered %s", body, answer)
		}
	}
	if log := s.log.String(); strings.Contains(log, "hush") || !strings.Contains(log, "purged") {
		t.Errorf("log: %s", log)
	}
}
