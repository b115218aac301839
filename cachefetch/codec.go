package cachefetch

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// A Codec turns values into bytes for a [backend.Backend], and back. Its methods are
// called concurrently. One that panics, or ends its goroutine, is treated as one
// that returns an error: the value is not written, or what was read counts as missing.
//
// The bytes are marked with the name of the codec's type. So bytes written by
// another codec, or for another V, are not decoded; but when V itself changes
// so that old bytes decode to something wrong, change Options.BackendPrefix.
type Codec[V any] interface {
	// Append appends the encoding of v to dst and returns the extended slice.
	// It must not modify v, which others are reading.
	Append(dst []byte, v V) ([]byte, error)

	// Decode returns the value that data encodes. The data are what Append
	// wrote, whole and unharmed. It must neither modify data nor keep a
	// reference to it in the value.
	Decode(data []byte) (V, error)
}

// JSONCodec encodes values by encoding/json. What that leaves out is lost on
// the way: unexported fields, fields tagged "-", the types in interfaces.
type JSONCodec[V any] struct{}

// Append implements [Codec].
func (JSONCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

// Decode implements [Codec].
func (JSONCodec[V]) Decode(data []byte) (V, error) {
	var v V
	err := json.Unmarshal(data, &v)
	return v, err
}

// BytesCodec stores byte slices as they are. A decoded slice is a copy with
// no spare capacity; a nil slice comes back as an empty one.
type BytesCodec struct{}

// Append implements [Codec].
func (BytesCodec) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode implements [Codec].
func (BytesCodec) Decode(data []byte) ([]byte, error) {
	// Not a slice of data: it would keep the key, the tags and all that
	// stands around it in memory, and be counted at less than it holds.
	v := make([]byte, len(data))
	copy(v, data)
	return v, nil
}

// StringCodec stores strings as they are, also those that are not UTF-8.
type StringCodec struct{}

// Append implements [Codec].
func (StringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Decode implements [Codec].
func (StringCodec) Decode(data []byte) (string, error) { return string(data), nil }

// defaultCodec returns the codec for V if Options.Codec is nil.
func defaultCodec[V any]() Codec[V] {
	for _, c := range []any{BytesCodec{}, StringCodec{}} {
		if c, ok := c.(Codec[V]); ok {
			return c
		}
	}
	return JSONCodec[V]{}
}

// writesNothing reports whether encoding/json would write of a V nothing that
// it can be read from again: it is a struct without exported fields, or not
// what JSON has. Other losses are up to JSONCodec's documentation.
func writesNothing[V any]() bool {
	t := reflect.TypeFor[V]()
	for _, marshaler := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
			return false
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if f.IsExported() {
				return false
			}
		}
		return t.NumField() > 0
	}
	return false
}
