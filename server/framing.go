package server

import (
	"bytes"
	"strconv"
)

// preface is what a client that speaks HTTP/2 without TLS begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// heldBytes is what is kept of a line that comes in pieces. The fields that say
// where a message ends are shorter; of others, and of the first line, only the
// beginning and the end are looked at.
const heldBytes = 256

// framing follows the requests on an HTTP/1 connection as their bytes come, to
// know where each ends (RFC 9112 6). It finds what net/http takes although
// another server on the client's side may understand it otherwise, and what
// handlers cannot see any more: net/http deletes Content-Length where there is
// a Transfer-Encoding, and Transfer-Encoding in HTTP/1.0.
//
// It need not find what net/http refuses: the connection ends with that. So
// all that matters is that the two agree on what both take.
type framing struct {
	maxFields int
	phase     phase
	outcome   outcome
	begun     int // bytes of the preface seen

	held []byte // of the line that is not complete; its middle is left out if cut
	cut  bool

	// What is known of the request.
	fields  int
	old     bool // HTTP/1.0
	foreign bool // not HTTP/1
	codings int  // fields named Transfer-Encoding
	chunked bool
	sized   bool   // there is a Content-Length
	left    uint64 // bytes of the body, or of the chunk, that have not come yet
}

type phase int

const (
	atPreface phase = iota // where HTTP/2 may begin
	atStart                // of a request
	inHeader
	inBody
	atChunk // before the line that begins a chunk
	inChunk
	afterChunk
	inTrailers
)

type outcome int

const (
	// sound: nothing is wrong so far.
	sound outcome = iota

	// opaque: it is another protocol from here on.
	opaque

	// malformed: the line that was last passed, but for its LF, makes the
	// request one that others may understand otherwise.
	malformed

	// crowded: the header has too many fields.
	crowded

	// finished: net/http refuses the request, and ends the connection.
	finished
)

// scan goes on by p, and returns how much of it to pass to net/http. Nothing
// more is to be passed after that if the outcome is malformed or later.
func (f *framing) scan(p []byte) int {
	n := 0
	if f.phase == atPreface {
		n = f.matchPreface(p)
	}
	for n < len(p) && f.outcome == sound {
		if f.phase == inBody || f.phase == inChunk {
			n += f.skip(len(p) - n)
			continue
		}
		end := n + bytes.IndexByte(p[n:], '\n') + 1
		if end == n {
			f.hold(p[n:])
			return len(p)
		}
		switch f.line(p[n:end]); f.outcome {
		case crowded:
			return n
		case malformed:
			return end - 1
		}
		n = end
	}
	if f.outcome == opaque {
		return len(p)
	}
	return n
}

func (f *framing) matchPreface(p []byte) int {
	n := 0
	for n < len(p) && f.begun < len(preface) && p[n] == preface[f.begun] {
		n++
		f.begun++
	}
	switch {
	case f.begun == len(preface):
		f.outcome = opaque
	case n < len(p): // it is no HTTP/2 after all
		f.phase = atStart
		f.scan([]byte(preface[:f.begun]))
	}
	return n
}

// skip passes over the next bytes of a body, n at most.
func (f *framing) skip(n int) int {
	if uint64(n) < f.left {
		f.left -= uint64(n)
		return n
	}
	n, f.left = int(f.left), 0
	if f.phase == inChunk {
		f.phase = afterChunk
	} else {
		f.phase = atStart
	}
	return n
}

// hold keeps a piece of a line: all of it up to heldBytes, else the beginning
// and the end.
func (f *framing) hold(p []byte) {
	const half = heldBytes / 2
	if len(f.held)+len(p) <= heldBytes {
		f.held = append(f.held, p...)
		return
	}
	f.cut = true
	if k := half - len(f.held); k > 0 {
		f.held = append(f.held, p[:k]...)
		p = p[k:]
	}
	if len(p) >= half {
		f.held = append(f.held[:half], p[len(p)-half:]...)
		return
	}
	tail := f.held[half:]
	if over := len(tail) + len(p) - half; over > 0 {
		tail = tail[:copy(tail, tail[over:])]
	}
	f.held = append(f.held[:half+len(tail)], p...)
}

// line takes the rest of a line, with its end.
func (f *framing) line(rest []byte) {
	line := rest
	if len(f.held) > 0 {
		f.hold(rest)
		line = f.held
	}
	cut := f.cut || len(line) > heldBytes
	f.held, f.cut = f.held[:0], false
	line, whole := bytes.CutSuffix(line, []byte("\r\n"))
	switch f.phase {
	case atChunk:
		f.chunk(line)
	case afterChunk:
		if f.phase = atChunk; !whole || len(line) > 0 {
			f.outcome = finished
		}
	default:
		// net/http takes a bare LF for the end of a line, and a line that
		// begins with a space for a part of the one before.
		if !whole || len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			f.outcome = malformed
			return
		}
		f.text(line, cut)
	}
}

// text takes a line of a header or of trailers.
func (f *framing) text(line []byte, cut bool) {
	switch {
	case f.phase == atStart && len(line) > 0:
		f.start(line)
	case f.phase == inHeader && len(line) > 0:
		f.field(line, cut)
	case f.phase == inHeader:
		f.endHeader()
	case f.phase == inTrailers && len(line) == 0:
		f.phase = atStart
	}
}

// start takes the first line of a request.
func (f *framing) start(line []byte) {
	f.phase = inHeader
	f.fields, f.codings, f.chunked, f.sized, f.left = 0, 0, false, false, 0
	version := line[max(0, len(line)-len(" HTTP/1.x")):]
	f.old = string(version) == " HTTP/1.0"
	f.foreign = !bytes.HasPrefix(version, []byte(" HTTP/1."))
}

func (f *framing) field(line []byte, cut bool) {
	if f.fields++; f.fields > f.maxFields {
		f.outcome = crowded
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		f.codings++
		f.chunked = !cut && bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked"))
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
		if err != nil || cut || f.sized && n != f.left {
			f.outcome = malformed
			return
		}
		f.sized, f.left = true, n
	default:
		return
	}
	if f.codings > 0 && (f.sized || f.old) { // RFC 9112 6.1
		f.outcome = malformed
	}
}

func (f *framing) endHeader() {
	switch {
	case f.foreign, f.codings > 1, f.codings == 1 && !f.chunked:
		f.outcome = finished
	case f.chunked:
		f.phase = atChunk
	case f.left > 0:
		f.phase = inBody
	default:
		f.phase = atStart
	}
}

// chunk takes the line that begins a chunk, from which net/http takes the
// digits up to a semicolon or to spaces at its end.
func (f *framing) chunk(line []byte) {
	digits := line
	if i := bytes.IndexAny(line, "; \t"); i >= 0 {
		digits = line[:i]
	}
	n, err := strconv.ParseUint(string(digits), 16, 64)
	switch {
	case err != nil:
		f.outcome = finished
	case n == 0:
		f.phase = inTrailers
	default:
		f.phase, f.left = inChunk, n
	}
}
