package server

import (
	"net/http"
	"testing"
)

func TestBufferPool(t *testing.T) {
	var p bufferPool
	p.Put(make([]byte, 10)) // not one of its own
	p.Put(make([]byte, 2*bufferSize))
	for range 4 {
		b := p.Get()
		if len(b) != bufferSize {
			t.Fatalf("a buffer of %d bytes", len(b))
		}
		p.Put(b)
	}
}

func TestAddVia(t *testing.T) {
	f := func(major, minor int, want string, prior ...string) {
		t.Helper()
		h := http.Header{}
		for _, v := range prior {
			h.Add("Via", v)
		}
		addVia(h, &http.Request{ProtoMajor: major, ProtoMinor: minor})
		if got := h.Values("Via"); len(got) != 1 || got[0] != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(1, 1, "1.1 freshet")
	f(1, 0, "1.0 freshet")
	f(2, 0, "2.0 a, 1.1 b, 1.1 c, 2.0 freshet", "2.0 a, 1.1 b", "1.1 c")
}
