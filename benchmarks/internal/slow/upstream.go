package slow

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// Stats are what an upstream has seen.
type Stats struct {
	Requests    uint64
	Connections uint64 // accepted
	Peak        uint64 // requests in work at once, at most
}

type counts struct {
	requests, connections atomic.Uint64
	inWork, peak          atomic.Int64
}

func (c *counts) begin() {
	c.requests.Add(1)
	n := c.inWork.Add(1)
	for p := c.peak.Load(); n > p && !c.peak.CompareAndSwap(p, n); p = c.peak.Load() {
	}
}

func (c *counts) end() { c.inWork.Add(-1) }

func (c *counts) stats() Stats {
	return Stats{c.requests.Load(), c.connections.Load(), uint64(c.peak.Load())}
}

// body is some JSON of about 300 bytes.
func body(name, id string) string {
	return fmt.Sprintf(`{"upstream":%q,"id":%q,"text":%q}`+"\n", name, id, filling)
}

var filling = strings.Repeat("what an upstream says is longer than its name. ", 5)

// response is body as HTTP/1.1 has it.
func response(name, id string) []byte {
	b := body(name, id)
	return []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(b)) + "\r\n\r\n" + b)
}

// idOf returns the last element of the path of a request line, and whether
// there is one.
func idOf(head string) (string, bool) {
	method, rest, _ := strings.Cut(head, " ")
	path, rest, ok := strings.Cut(rest, " ")
	slash := strings.LastIndexByte(path, '/')
	if !ok || method != "GET" || slash < 0 || !strings.HasPrefix(rest, "HTTP/1.1") {
		return "", false
	}
	return path[slash+1:], true
}
