package level2

import (
	"fmt"
	"hash/crc32"

	"github.com/freshet-go/freshet/internal/guard"
)

// A Record is a value on its way to a backend or back. It is immutable. Times
// are nanoseconds since 1970 by this process's clock.
type Record[V any] struct {
	Value           V
	Stamp           Stamp // of the beginning of its load
	FreshUntil      int64
	RevalidateUntil int64
	ErrorUntil      int64
	KeepUntil       int64
	Tags            []string
	ETag            string
	LastModified    string
	Cost            int64 // bytes of memory; not stored
}

// horizon is the time from which the record is of no use.
func (r *Record[V]) horizon() int64 {
	return max(r.FreshUntil, r.RevalidateUntil, r.ErrorUntil, r.KeepUntil)
}

// A Codec makes bytes of values, and values of them, as cachefetch.Codec does.
type Codec[V any] interface {
	Append(dst []byte, v V) ([]byte, error)
	Decode(data []byte) (V, error)
}

// A sealer makes bytes of records, and records of them.
type sealer[V any] struct {
	codec  Codec[V]
	format uint32 // what codec, for what type
}

func newSealer[V any](codec Codec[V]) sealer[V] {
	return sealer[V]{codec, crc32.Checksum(fmt.Appendf(nil, "%T", codec), castagnoli)}
}

// open returns the record of key that data hold, or an error if they hold
// anything else. However the codec ends, open returns.
func (s sealer[V]) open(key string, data []byte) (*Record[V], error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	if e.key != key || e.format != s.format {
		return nil, fmt.Errorf("key %q, format %#x, want key %q, format %#x", e.key, e.format, key, s.format)
	}
	var value V
	if crash := guard.Run(func() { value, err = s.codec.Decode(e.value) }); crash != nil {
		err = fmt.Errorf("codec %w", crash)
	}
	if err != nil {
		return nil, err
	}
	return &Record[V]{
		Value: value, Stamp: e.stamp,
		FreshUntil: e.freshUntil, RevalidateUntil: e.revalidateUntil, ErrorUntil: e.errorUntil, KeepUntil: e.keepUntil,
		Tags: e.tags, ETag: e.etag, LastModified: e.lastModified,
	}, nil
}

// seal returns the bytes of r. However the codec ends, seal returns.
func (s sealer[V]) seal(key string, r *Record[V]) (b []byte, err error) {
	e := envelope{
		format: s.format, stamp: r.Stamp,
		freshUntil: r.FreshUntil, revalidateUntil: r.RevalidateUntil, errorUntil: r.ErrorUntil, keepUntil: r.KeepUntil,
		key: key, etag: r.ETag, lastModified: r.LastModified, tags: r.Tags,
	}
	crash := guard.Run(func() {
		b, err = appendEnvelope(nil, &e, func(dst []byte) ([]byte, error) { return s.codec.Append(dst, r.Value) })
	})
	if crash != nil {
		return nil, fmt.Errorf("codec %w", crash)
	}
	return b, err
}
