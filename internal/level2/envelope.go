package level2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// An envelope is what a Backend holds under a key: an encoded value and what
// must be known to judge it. Times are nanoseconds since 1970, by the clock of
// whoever wrote it.
//
//	byte 0     version of the format, 1
//	bytes 1-4  CRC-32C of all bytes that follow
//	bytes 5-   format, stamp, fresh, revalidate, error, keep (fixed width, big endian)
//	then       who drew the stamp (fixed width, big endian)
//	then       key, ETag, Last-Modified, number of tags, tags, value,
//	           each string after its length (uvarint), the last to the end exactly
//
// Anything else is a miss: a version that is not known (written by a newer
// release, or an older one), a sum that does not match, lengths that do not
// meet the end. A CRC finds every flipped bit and every burst up to 32 bits.
type envelope struct {
	format          uint32 // of the value: what codec, for what type
	stamp           Stamp  // of the beginning of its load
	freshUntil      int64
	revalidateUntil int64
	errorUntil      int64
	keepUntil       int64  // worth keeping, if only to be validated
	key             string // without Options.BackendPrefix; compared in full
	etag            string
	lastModified    string
	tags            []string
	value           []byte
}

const (
	envelopeVersion = 1
	envelopeHeader  = 1 + 4
	envelopeFixed   = envelopeHeader + 4 + 5*8 + 8
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errEnvelope = errors.New("damaged, or of another version")
	errTooLong  = errors.New("longer than a length can say")
)

// appendEnvelope appends the bytes of e to dst. Its value is what encode
// appends, so that it need not be copied.
func appendEnvelope(dst []byte, e *envelope, encode func(dst []byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	dst = append(dst, envelopeVersion, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, e.format)
	for _, t := range []int64{e.stamp.At, e.freshUntil, e.revalidateUntil, e.errorUntil, e.keepUntil} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t))
	}
	dst = binary.BigEndian.AppendUint64(dst, e.stamp.By)
	for _, s := range []string{e.key, e.etag, e.lastModified} {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.tags)))
	for _, tag := range e.tags {
		dst = appendString(dst, tag)
	}
	// The value's length comes first and is known last: it has a fixed width.
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, err := encode(dst)
	if err != nil {
		return nil, err
	}
	size := len(dst) - at - 4
	if size < 0 || uint64(size) > math.MaxUint32 {
		return nil, fmt.Errorf("value of %d bytes: %w", size, errTooLong)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(size))
	binary.BigEndian.PutUint32(dst[start+1:], crc32.Checksum(dst[start+envelopeHeader:], castagnoli))
	return dst, nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseEnvelope returns what b holds, or errEnvelope. It never panics and
// allocates no more than a small multiple of b. The value is a part of b.
func parseEnvelope(b []byte) (envelope, error) {
	if len(b) < envelopeFixed || b[0] != envelopeVersion ||
		binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[envelopeHeader:], castagnoli) {
		return envelope{}, errEnvelope
	}
	var e envelope
	e.format = binary.BigEndian.Uint32(b[envelopeHeader:])
	for i, t := range []*int64{&e.stamp.At, &e.freshUntil, &e.revalidateUntil, &e.errorUntil, &e.keepUntil} {
		*t = int64(binary.BigEndian.Uint64(b[envelopeHeader+4+8*i:]))
	}
	e.stamp.By = binary.BigEndian.Uint64(b[envelopeFixed-8:])
	// The sum is right, so this was written as it is, but perhaps by someone
	// who computes sums over nonsense: the lengths are still not believed.
	r := fieldReader{rest: b[envelopeFixed:]}
	e.key, e.etag, e.lastModified = r.string(), r.string(), r.string()
	n := r.length()
	if r.bad {
		return envelope{}, errEnvelope
	}
	for range n { // a tag takes a byte at least, so n is at most what is left
		e.tags = append(e.tags, r.string())
	}
	if r.bad || len(r.rest) < 4 || uint64(binary.BigEndian.Uint32(r.rest)) != uint64(len(r.rest)-4) {
		return envelope{}, errEnvelope
	}
	e.value = r.rest[4:len(r.rest):len(r.rest)]
	return e, nil
}

// A fieldReader takes length-prefixed fields off rest. After the first one
// that does not fit it is bad and returns nothing any more.
type fieldReader struct {
	rest []byte
	bad  bool
}

// length returns a number that is at most the number of bytes left.
func (r *fieldReader) length() int {
	n, size := binary.Uvarint(r.rest)
	if r.bad || size <= 0 || n > uint64(len(r.rest)-size) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return int(n)
}

func (r *fieldReader) string() string {
	n := r.length()
	if r.bad {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
