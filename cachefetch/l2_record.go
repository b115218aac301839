package cachefetch

import (
	"fmt"

	"github.com/freshet-go/freshet/internal/guard"
)

// A record is a value on its way to a backend or back. It is immutable. Times
// are nanoseconds since 1970 by this process's clock.
type record[V any] struct {
	value           V
	stamp           stamp // of the beginning of its load
	freshUntil      int64
	revalidateUntil int64
	errorUntil      int64
	keepUntil       int64
	tags            []string
	etag            string
	lastModified    string
	cost            int64 // bytes of memory; not stored
}

// horizon is the time from which the record is of no use.
func (r *record[V]) horizon() int64 {
	return max(r.freshUntil, r.revalidateUntil, r.errorUntil, r.keepUntil)
}

// open returns the record of key that data hold, or an error if they hold
// anything else. However the codec ends, open returns.
func (l *l2[V]) open(key string, data []byte) (*record[V], error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	if e.key != key || e.format != l.format {
		return nil, fmt.Errorf("key %q, format %#x, want key %q, format %#x", e.key, e.format, key, l.format)
	}
	var value V
	if crash := guard.Run(func() { value, err = l.codec.Decode(e.value) }); crash != nil {
		err = fmt.Errorf("codec %w", crash)
	}
	if err != nil {
		return nil, err
	}
	return &record[V]{
		value: value, stamp: e.stamp,
		freshUntil: e.freshUntil, revalidateUntil: e.revalidateUntil, errorUntil: e.errorUntil, keepUntil: e.keepUntil,
		tags: e.tags, etag: e.etag, lastModified: e.lastModified,
	}, nil
}

// seal returns the bytes of r. However the codec ends, seal returns.
func (l *l2[V]) seal(key string, r *record[V]) (b []byte, err error) {
	e := envelope{
		format: l.format, stamp: r.stamp,
		freshUntil: r.freshUntil, revalidateUntil: r.revalidateUntil, errorUntil: r.errorUntil, keepUntil: r.keepUntil,
		key: key, etag: r.etag, lastModified: r.lastModified, tags: r.tags,
	}
	crash := guard.Run(func() {
		b, err = appendEnvelope(nil, &e, func(dst []byte) ([]byte, error) { return l.codec.Append(dst, r.value) })
	})
	if crash != nil {
		return nil, fmt.Errorf("codec %w", crash)
	}
	return b, err
}
