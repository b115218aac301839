package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// answer is what the load generator wants to know of an HTTP/1.1 response to a
// GET.
type answer struct {
	status   int
	close    bool // the connection cannot be used again
	complete bool
	hit      bool // by its Cache-Status
}

const (
	maxHead = 16 << 10
	maxBody = 1 << 20
)

var errNotHTTP = errors.New("not an HTTP/1.1 response")

// readAnswer looks at what has arrived of a response. It begins anew each
// time: responses of the scenario arrive in one or two pieces.
func readAnswer(data []byte) (answer, error) {
	var a answer
	head, body, ok := bytes.Cut(data, []byte("\r\n\r\n"))
	if !ok {
		if len(data) > maxHead {
			return a, errNotHTTP
		}
		return a, nil
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, errNotHTTP
	}
	var err error
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil || a.status < 200 {
		return a, errNotHTTP
	}
	length, chunked := -1, false
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(field, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxBody {
				return a, fmt.Errorf("Content-Length: %q: %w", value, errNotHTTP)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Cache-Status")):
			a.hit = bytes.Contains(value, []byte("; hit"))
		case bytes.EqualFold(name, []byte("Connection")):
			a.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case chunked:
		a.complete, err = chunksEnd(body)
	case length >= 0:
		a.complete = len(body) >= length
	default:
		err = fmt.Errorf("neither length nor chunks: %w", errNotHTTP)
	}
	return a, err
}

// chunksEnd reports whether a chunked body is complete.
func chunksEnd(body []byte) (bool, error) {
	for {
		line, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok {
			return false, nil
		}
		size, err := strconv.ParseUint(string(line), 16, 32)
		if err != nil || size > maxBody {
			return false, fmt.Errorf("chunk of %q bytes: %w", line, errNotHTTP)
		}
		if size == 0 {
			return bytes.HasPrefix(rest, []byte("\r\n")), nil
		}
		if uint64(len(rest)) < size+2 {
			return false, nil
		}
		body = rest[size+2:]
	}
}
