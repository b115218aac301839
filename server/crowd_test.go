package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// crowdedHeader is one of n fields.
func crowdedHeader(n int) string {
	var b strings.Builder
	b.WriteString("Host: x\r\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "X%d:\r\n", i%3)
	}
	return b.String()
}

func TestCrowdedHeaderIsRefused(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	c := testConfig(up)
	c.MaxHeaderFields, c.H2C = 20, true
	s, client := start(t, c, Options{}), testClient(t)
	f := func(raw string, want ...int) {
		t.Helper()
		conn := dial(t, s.Addr())
		defer conn.Close()
		go fmt.Fprint(conn, raw)
		if got := statuses(t, conn); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%.30q: %v, want %v", raw, got, want)
		}
	}
	get := func(n int) string { return "GET / HTTP/1.1\r\n" + crowdedHeader(n) + "\r\n" }
	f(get(21)+get(1), 431)
	f("GET / HTTP/1.1\r\n"+crowdedHeader(21), 431) // before more of it comes
	f(get(20)+get(12000), 200, 431)
	f(get(1)+"POST / HTTP/1.1\r\nContent-Length: 3\r\n"+crowdedHeader(30)+"\r\nabc"+get(1), 200, 431)
	// net/http makes a map of what is announced, and there is no more of it in
	// the header.
	f("POST / HTTP/1.1\r\nHost: x\r\nTrailer: t"+strings.Repeat(",x,y,z", 3)+"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, 200)
	names := ""
	for i := range 21 {
		names += fmt.Sprintf(",T%d", i)
	}
	f("POST / HTTP/1.1\r\nHost: x\r\nTrailer: t"+names+"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", 431)

	many := http.Header{}
	for i := range 21 {
		many.Add("X", fmt.Sprint(i))
	}
	ask := func(c *http.Client, base string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", base+"/", nil)
		req.Header = many
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 431 {
			t.Errorf("%s: %d", resp.Proto, resp.StatusCode)
		}
	}
	ask(client, s.base)
	ask(client, s.admin)
	ask(h2cClient(t), s.base)
	other := httptest.NewServer(s.Handler())
	defer other.Close()
	ask(client, other.URL)
}

func TestCrowdedTrailersAreRefused(t *testing.T) {
	got := make(chan http.Header, 2)
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			got <- r.Trailer
		}
	})
	c := testConfig(up)
	c.MaxHeaderFields, c.H2C = 20, true
	s := start(t, c, Options{})
	for _, client := range []*http.Client{testClient(t), h2cClient(t)} {
		f := func(n, want int) {
			t.Helper()
			req, _ := http.NewRequestWithContext(t.Context(), "POST", s.base+"/", io.NopCloser(strings.NewReader("body")))
			req.Trailer = http.Header{"T": make([]string, n)}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %d trailers: %d, want %d", resp.Proto, n, resp.StatusCode, want)
			}
		}
		f(20, 200)
		if trailer := within(t, got, "the trailers upstream"); len(trailer["T"]) != 20 {
			t.Errorf("upstream got %v", trailer)
		}
		f(21, 400)
		if len(got) > 0 {
			t.Errorf("upstream got the whole request: %v", <-got)
		}
	}
}

// silent is an upstream that keeps nothing of what it gets, says so when a
// header is complete, and never answers.
func silent(t *testing.T) (addr string, arrived <-chan bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	c := make(chan bool, 1)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 512)
				for seen := ""; ; {
					b, err := r.ReadByte()
					if err != nil {
						return
					}
					if seen = seen[max(0, len(seen)-3):] + string(b); seen == "\r\n\r\n" {
						c <- true
					}
				}
			}()
		}
	}()
	return ln.Addr().String(), c
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What requests hold while they wait is bounded by the limits of a header,
// whatever it is made of.
func TestMemoryOfWaitingRequests(t *testing.T) {
	const requests = 32
	upstream, arrived := silent(t)
	f := func(name string, fields ...string) {
		t.Helper()
		c := testConfig("http://" + upstream)
		c.Admin, c.H2C = adminOff, true
		s := start(t, c, Options{})
		const (
			texts      = 3   // net/http's, in a buffer that it was read through, and Via with one more entry
			maps       = 5   // of fields, which have the text in common: net/http's, and copies
			fieldBytes = 128 // in a map: name, list of values, value, and what is free
			conns      = 64 << 10
		)
		limit := int64(texts*s.config.MaxHeaderBytes + maps*fieldBytes*s.config.MaxHeaderFields + conns)
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			before := heap()
			for i := range requests {
				conn := dial(t, s.Addr())
				ended := make(chan bool, 1)
				go func() {
					_, _ = conn.Write(request(proto, fmt.Sprintf("/%s/%s/%d", name, proto, i), fields))
					if proto == "HTTP/1.1" {
						_, _ = io.Copy(io.Discard, conn)
					} else {
						awaitAnswer(conn)
					}
					ended <- true
				}()
				select { // a request that is refused holds nothing
				case <-ended:
				case <-arrived:
				}
			}
			if each := (heap() - before) / requests; each > limit {
				t.Errorf("%s, %s: %d bytes a request, want at most %d", name, proto, each, limit)
			} else {
				t.Logf("%s, %s: %d bytes a request of %d", name, proto, each, limit)
			}
		}
	}
	var large, few, some, many, same []string
	for i := range 125 {
		large = append(large, fmt.Sprintf("x-some-%d", i), strings.Repeat("v", 200))
	}
	large = append(large, "via", strings.Repeat("v", 34000))
	for i := range 126 {
		few = append(few, fmt.Sprintf("x%d", i), "")
	}
	for i := range 1500 {
		some = append(some, fmt.Sprintf("x%d", i), "")
	}
	for i := range 7000 {
		many = append(many, fmt.Sprintf("x%d", i), "")
	}
	for range 13000 {
		same = append(same, "xx", "")
	}
	f("large fields", large...)
	f("small fields", few...)
	f("as many fields as HTTP/2 takes", some...)
	f("many fields", many...)
	f("fields of one name", same...)
}

// request writes a GET request with these fields.
func request(proto, path string, fields []string) []byte {
	path = strings.ReplaceAll(path, " ", "-")
	if proto == "HTTP/1.1" {
		var b bytes.Buffer
		fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: x\r\n", path)
		for i := 0; i < len(fields); i += 2 {
			fmt.Fprintf(&b, "%s:%s\r\n", fields[i], fields[i+1])
		}
		b.WriteString("\r\n")
		return b.Bytes()
	}
	return h2cRequest(append([]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", path}, fields...)...)
}
