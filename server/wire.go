package server

import (
	"net"
	"net/http"
)

// spoiler is what net/http gets in place of the LF of a line that makes a
// request malformed. The second of its lines can stand in no header and in no
// trailers, whatever the first has become.
const spoiler = "\x00\r\n\x00\r\n\r\n"

// A wireListener accepts connections whose framing is followed.
type wireListener struct {
	net.Listener
	maxFields int
	h2c       bool
}

func (l wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	w := &wireConn{TCPConn: tcp, spoiler: spoiler}
	w.framing.maxFields = l.maxFields
	if !l.h2c {
		w.framing.phase = atStart
	}
	return w, nil
}

// A wireConn is a client's connection as net/http reads it. What must not
// become a request is changed into what net/http refuses by itself, in its
// turn: an error would hit the request before, if that is being answered yet.
type wireConn struct {
	*net.TCPConn
	framing framing // of those who read, one at a time
	spoiler string  // what is left of it

	counted *connection // set before the first request; nil on the admin listener
}

// Read reads what is not at fault. What comes after a fault is thrown away.
func (c *wireConn) Read(p []byte) (int, error) {
	for {
		switch c.framing.outcome {
		case malformed:
			if c.spoiler != "" {
				n := copy(p, c.spoiler)
				c.spoiler = c.spoiler[n:]
				return n, nil
			}
		case crowded:
			// The header becomes larger than any may be.
			for i := range p {
				p[i] = 'x'
			}
			return len(p), nil
		}
		n, err := c.TCPConn.Read(p)
		if c.framing.outcome <= opaque {
			n = c.framing.scan(p[:n])
		} else {
			n = 0
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// connState stops following a connection that a handler has taken over.
func connState(c net.Conn, state http.ConnState) {
	if w, ok := c.(*wireConn); ok && state == http.StateHijacked {
		w.framing.outcome = opaque
	}
}
