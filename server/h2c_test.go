package server

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
)

// h2cFrame writes an HTTP/2 frame (RFC 9113 4.1).
func h2cFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind)), flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// h2cHeader writes fields in the simplest form there is (RFC 7541 6.2.2).
func h2cHeader(fields ...string) []byte {
	var b []byte
	for i, s := range fields {
		if i%2 == 0 {
			b = append(b, 0)
		}
		if n := len(s); n < 127 {
			b = append(b, byte(n))
		} else {
			b = binary.AppendUvarint(append(b, 127), uint64(n-127))
		}
		b = append(b, s...)
	}
	return b
}

// h2cRequest writes all that a client sends to ask for something (RFC 9113 3.4
// and 6.2).
func h2cRequest(fields ...string) []byte {
	const (
		headers, settings, continuation = 1, 4, 9
		endStream, endHeaders           = 1, 4
		maxFrame                        = 16 << 10
	)
	b := append([]byte(preface), h2cFrame(settings, 0, 0, nil)...)
	kind, flags, block := byte(headers), byte(endStream), h2cHeader(fields...)
	for len(block) > maxFrame {
		b = append(b, h2cFrame(kind, flags, 1, block[:maxFrame])...)
		kind, flags, block = continuation, 0, block[maxFrame:]
	}
	return append(b, h2cFrame(kind, flags|endHeaders, 1, block)...)
}

// awaitAnswer says what the first byte of an answer's header does, or what came
// instead of it.
func awaitAnswer(conn net.Conn) string {
	r := bufio.NewReaderSize(conn, 512)
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err.Error()
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		if _, err := io.ReadFull(r, payload); err != nil {
			return err.Error()
		}
		switch head[3] {
		case 1:
			// These are in the static table.
			if status, ok := map[byte]string{0x88: "200", 0x8c: "400", 0x8d: "404"}[payload[0]]; ok {
				return status
			}
			return "another status"
		case 3:
			return "reset"
		case 7:
			return "goaway"
		}
	}
}

// askH2C sends a request that no client would, and returns what became of it.
func askH2C(t *testing.T, addr net.Addr, fields ...string) string {
	t.Helper()
	conn := dial(t, addr)
	defer conn.Close()
	_, _ = conn.Write(h2cRequest(fields...))
	return awaitAnswer(conn)
}

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: waitLimit}
}
