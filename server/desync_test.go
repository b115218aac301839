package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	cachemw "github.com/freshet-go/freshet/middleware"
)

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// lines collects what an upstream was asked for.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

// take returns what was collected since the last call.
func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// statuses reads answers until the connection ends.
func statuses(t *testing.T, conn net.Conn) (all []int) {
	t.Helper()
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Errorf("the connection was not closed after %v", all)
			}
			return all
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		all = append(all, resp.StatusCode)
	}
}

// hasty is an upstream that answers as soon as it has a header, and then reads
// whatever comes.
func hasty(t *testing.T) (addr string, asked *lines) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	asked = &lines{}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				asked.add(req.Method + " " + req.URL.Path)
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
				_, _ = io.Copy(io.Discard, r)
			}()
		}
	}()
	return ln.Addr().String(), asked
}

// unread are requests whose body does not end. What comes after them looks like
// a request.
func unread(path string) []string {
	post := "POST " + path + " HTTP/1.1\r\nHost: x\r\n"
	return []string{
		post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(smuggled)),
		post + fmt.Sprintf("Content-Length: %d\r\n\r\nab", len(smuggled)+2),
		post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 400_000, strings.Repeat("x", 300_000)),
		post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
		post + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(smuggled)),
		post + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(smuggled)),
		"GET " + path + fmt.Sprintf(" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(smuggled)),
		"POST " + path + fmt.Sprintf(" HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n", len(smuggled)),
	}
}

// answered sends a request, and more when it has been answered. There must be
// no second answer.
func answered(t *testing.T, s *running, request, more string, want int) {
	t.Helper()
	conn := dial(t, s.Addr())
	defer conn.Close()
	fmt.Fprint(conn, request)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err == nil && resp.StatusCode == http.StatusContinue { // if the body was asked for first
		resp, err = http.ReadResponse(r, nil)
	}
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%.80q: %v, %v; want %d", request, resp, err, want)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("%.80q: body: %v", request, err)
	}
	if !resp.Close {
		t.Errorf("%.80q: the connection is said to stay: %v", request, resp.Header)
	}
	_, _ = fmt.Fprint(conn, more)
	if second, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("%.80q: a second answer: %v", request, second)
	}
}

// The rest of a body that was answered before it was read is no request.
func TestEarlyAnswerIsTheLast(t *testing.T) {
	up, asked := hasty(t)
	c := testConfig("http://" + up)
	c.Routes = []Route{{Pattern: "/app/*", Upstream: "app"}}
	s := start(t, c, Options{})
	for _, request := range unread("/app/x") {
		answered(t, s, request, smuggled+smuggled, 200)
		if got := asked.take(); len(got) != 1 || !strings.HasSuffix(got[0], " /app/x") {
			t.Errorf("%.80q: upstream was asked for %q", request, got)
		}
	}
	for _, request := range unread("/elsewhere") { // the gateway answers itself
		answered(t, s, request, smuggled+smuggled, 404)
	}
	if log := s.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("log: %s", log)
	}
}

// A handler that does not read the body, or stops, is no exception.
func TestHandlerThatReturnsEarly(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"writes nothing": func(http.ResponseWriter, *http.Request) {},
		"writes":         func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") },
		"flushes":        func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"reads some": func(_ http.ResponseWriter, r *http.Request) {
			if r.ContentLength > int64(len(smuggled)) { // else there is none yet
				_, _ = r.Body.Read(make([]byte, 1))
			}
		},
		"reads on": func(_ http.ResponseWriter, r *http.Request) {
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := &lines{}
			s := start(t, testConfig("http://unused"), Options{Handler: func(*cachemw.Cache) (http.Handler, error) {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked.add(r.URL.Path)
					h(w, r)
				}), nil
			}})
			for _, request := range unread("/x") {
				answered(t, s, request, smuggled, 200)
				if got := asked.take(); !slices.Equal(got, []string{"/x"}) {
					t.Errorf("%.80q: asked for %q", request, got)
				}
			}
			if log := s.log.String(); strings.Contains(log, "level=WARN") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// A request that does not end where others may think it does is answered 400,
// after those before it, and is the last one.
func TestFaultyRequestIsTheLast(t *testing.T) {
	asked := &lines{}
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			asked.add(r.URL.Path)
		}
	})
	s := start(t, testConfig(up), Options{})
	const chunked = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, faulty := range []string{
		chunked + "-1\r\n",
		chunked + "0x0\r\n\r\n",
		chunked + "1;a\nb\r\n0\r\n\r\n",
		chunked + "1\r\nab\r\n0\r\n\r\n",
		chunked + "1\na\r\n0\r\n\r\n",
		chunked + "10000000000000000\r\n",
		chunked + "0\r\nT: x\n\n",
		chunked + "0\r\nT: x\r\n y\r\n\r\n",
		chunked + "0\r\nno trailer\r\n\r\n",
		chunked + "0\r\nT: " + strings.Repeat("x", 5000) + "\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nA: b\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"GET /x HTTP/1.1\nHost: x\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: x\r\n\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		conn := dial(t, s.Addr())
		// In one write: when net/http answers the first, it has read the rest.
		fmt.Fprint(conn, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n", faulty, smuggled, smuggled)
		if got := statuses(t, conn); !slices.Equal(got, []int{200, 400}) {
			t.Errorf("%q: answered %v", faulty, got)
		}
		if got := asked.take(); !slices.Equal(got, []string{"/first"}) {
			t.Errorf("%q: upstream was asked for %q", faulty, got)
		}
		_ = conn.Close()
	}
	if log := s.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("log: %s", log)
	}
}

// A body that was read to its end leaves the connection as it was.
func TestConnectionOutlivesBodies(t *testing.T) {
	asked := &lines{}
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		asked.add(fmt.Sprintf("%s %s %v", r.URL.Path, body, err))
	})
	s := start(t, testConfig(up), Options{})
	conn := dial(t, s.Addr())
	fmt.Fprint(conn, "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"+
		"\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"+
		"POST /3 HTTP/1.1\r\nHost: x\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n2;e\r\nth\r\n3\r\nree\r\n0\r\nT: x\r\n\r\n"+
		"POST /4 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nfour"+
		"GET /5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got, want := statuses(t, conn), []int{200, 200, 200, 100, 200, 200}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	want := []string{"/1 one <nil>", "/2  <nil>", "/3 three <nil>", "/4 four <nil>", "/5  <nil>"}
	if got := asked.take(); !slices.Equal(got, want) {
		t.Errorf("upstream was asked for %q, want %q", got, want)
	}
}
