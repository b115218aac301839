package server

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// messageEnds follows raw in pieces of n bytes, and returns what was passed,
// where requests ended in it, and what was found.
func messageEnds(raw []byte, n int, h2c bool) (passed []byte, ends []int, found outcome) {
	f := framing{maxFields: 5}
	if !h2c {
		f.phase = atStart
	}
	for len(raw) > 0 && f.outcome <= opaque {
		piece := raw[:min(n, len(raw))]
		// The ends show byte by byte only.
		for i := range piece {
			before := f.phase
			k := f.scan(piece[i : i+1])
			passed = append(passed, piece[i:i+k]...)
			if f.phase == atStart && before != atStart && before != atPreface && f.outcome == sound {
				ends = append(ends, len(passed))
			}
			if f.outcome > opaque {
				break
			}
		}
		raw = raw[len(piece):]
	}
	return passed, ends, f.outcome
}

func TestFraming(t *testing.T) {
	long := strings.Repeat("x", 3*heldBytes)
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	ends := func(requests ...string) {
		t.Helper()
		var want []int
		n := 0
		for _, r := range requests {
			n += len(r)
			want = append(want, n)
		}
		raw := strings.Join(requests, "")
		if _, ends, got := messageEnds([]byte(raw), len(raw), false); got != sound || !slices.Equal(ends, want) {
			t.Errorf("%q: outcome %d, ends %v; want %v", raw, got, ends, want)
		}
	}
	ends(get)
	ends("\r\n"+get, get)
	ends("GET /"+long+" HTTP/1.1\r\nX: "+long+"\r\n\r\n", get)
	ends("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", get)
	ends("POST / HTTP/1.1\r\ncontent-length:3\r\nContent-Length: \t3 \r\n\r\nabc", get)
	ends("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", get)
	ends("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\nA  \r\n0123456789\r\n0\r\nT: x\r\n\r\n", get)
	ends("GET / HTTP/1.1\r\n"+strings.Repeat("x:\r\n", 5)+"\r\n", get)

	f := func(raw string, want outcome) {
		t.Helper()
		if _, ends, got := messageEnds([]byte(raw), len(raw), false); got != want || len(ends) > 0 {
			t.Errorf("%q: outcome %d, ends %v; want %d", raw, got, ends, want)
		}
	}
	// RFC 9112 6.1: each of these is to be refused, or at least the last one.
	f("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", malformed)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", malformed)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", malformed)
	f("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", malformed)
	f("POST /"+long+" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", malformed)
	f("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", malformed)
	f("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc", malformed)
	f("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", malformed)
	f("POST / HTTP/1.1\r\nContent-Length: "+strings.Repeat("0", 2*heldBytes)+"3\r\n\r\nabc", malformed)

	// RFC 9112 5.2 and 2.2.
	f("POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", malformed)
	f("GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", malformed)
	f("GET / HTTP/1.1\nHost: x\r\n\r\n", malformed)
	f("GET / HTTP/1.1\r\nHost: x\n\r\n", malformed)
	f("GET / HTTP/1.1\r\nHost: x\r\n\n", malformed)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: x\n\nGET / HTTP/1.1\r\n\r\n", malformed)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: x\r\n y\r\n\r\n", malformed)

	// What net/http refuses ends the connection.
	f("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"+get, finished)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"+get, finished)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n"+get, finished)
	f("GET / HTTP/2.0\r\n\r\n"+get, finished)
	f("PRI * HTTP/2.0\r\nA: b\r\n\r\n"+get, finished)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"+get, finished)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n"+get, finished)
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"+get, finished)
	f("GET / HTTP/1.1\r\n"+strings.Repeat("x:\r\n", 6)+"\r\n", crowded) // one more than it may have
}

// HTTP/2 begins with its whole preface, and nowhere else.
func TestFramingOfHTTP2(t *testing.T) {
	f := func(raw string, h2c bool, want outcome) {
		t.Helper()
		for n := 1; n <= len(raw); n++ {
			if passed, _, got := messageEnds([]byte(raw), n, h2c); got != want || want == opaque && string(passed) != raw {
				t.Errorf("%q: outcome %d, passed %q", raw, got, passed)
			}
		}
	}
	f(preface+"\x00\n\x00\n", true, opaque)
	f(preface+"\x00", false, finished)
	f("GET / HTTP/1.1\r\n\r\n"+preface, true, finished)
	f(preface[:len(preface)-1]+"x", true, finished)
	f("PRI * HTTP/2.0\r\nA: b\r\n\r\nSM\r\n\r\n", true, finished)
	f("POST / HTTP/1.1\r\n\r\n", true, sound)
	f("PROPFIND / HTTP/1.1\r\nA: b\n", true, malformed)
}

// Where net/http finds the end of a request, so does framing, however the
// bytes come.
func FuzzFraming(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n00 \t\r\nT: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\nA: b\n\n\r\n\r\n",
		"PUT / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\nx\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\nX: " + strings.Repeat("y", 300) + "\r\n\r\n",
		preface,
	} {
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		whole := framing{maxFields: 5, phase: atStart}
		passed, ends, found := messageEnds(raw, max(n, 1), false)
		if k := whole.scan(raw); whole.outcome != found || !bytes.Equal(raw[:k], passed) && found != crowded {
			t.Fatalf("in one piece: outcome %d, %q; in pieces: %d, %q", whole.outcome, raw[:k], found, passed)
		}
		r := bytes.NewReader(raw)
		b := bufio.NewReader(r)
		for {
			req, err := http.ReadRequest(b)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			end := len(raw) - r.Len() - b.Buffered()
			if err != nil || end > len(passed) || found != sound && end == len(passed) {
				return
			}
			if len(ends) == 0 || ends[0] != end {
				t.Fatalf("net/http: a request ends at %d; framing: at %v of %q", end, ends, raw)
			}
			ends = ends[1:]
		}
	})
}
