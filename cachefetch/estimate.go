package cachefetch

import (
	"reflect"
	"unsafe"
)

// maxWalk bounds the nodes that estimate visits, and so its time. What it saw
// by then is all it counts.
const maxWalk = 100_000

// estimate returns about how many bytes v consists of and refers to. Memory
// reached twice through pointers is counted once. What channels and functions
// refer to is not counted.
func estimate[V any](v V) int64 {
	size := int64(unsafe.Sizeof(v))
	switch x := any(v).(type) {
	case string:
		return size + int64(len(x))
	case []byte:
		return size + int64(cap(x))
	}
	w := walk{left: maxWalk}
	return size + w.refers(reflect.ValueOf(&v).Elem())
}

type walk struct {
	left int
	seen map[memory]bool
}

// memory is what a pointer, slice or map refers to. The address alone is not
// enough: a struct and its first field share it, as do a slice and its prefix.
type memory struct {
	at  unsafe.Pointer
	typ reflect.Type
	len int
}

// refers returns the bytes that v refers to, without those of v itself.
func (w *walk) refers(v reflect.Value) (n int64) {
	if w.left--; w.left < 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Pointer:
		if v.IsNil() || w.visited(memory{v.UnsafePointer(), v.Type(), 1}) {
			return 0
		}
		return int64(v.Type().Elem().Size()) + w.refers(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int64(v.Elem().Type().Size()) + w.refers(v.Elem())
	case reflect.Slice:
		if v.IsNil() || w.visited(memory{v.UnsafePointer(), v.Type(), v.Len()}) {
			return 0
		}
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + w.elements(v)
	case reflect.Array:
		return w.elements(v)
	case reflect.Struct:
		for i := range v.NumField() {
			n += w.refers(v.Field(i))
		}
		return n
	case reflect.Map:
		if v.IsNil() || w.visited(memory{v.UnsafePointer(), v.Type(), v.Len()}) {
			return 0
		}
		// A slot and its control byte, at a load factor of about 3/4.
		slot := int64(v.Type().Key().Size()+v.Type().Elem().Size()) + 1
		n = 48 + int64(v.Len())*slot*4/3
		for it := v.MapRange(); it.Next() && w.left > 0; {
			n += w.refers(it.Key()) + w.refers(it.Value())
		}
		return n
	}
	return 0
}

func (w *walk) elements(v reflect.Value) (n int64) {
	if !mayRefer(v.Type().Elem().Kind()) {
		return 0
	}
	for i := 0; i < v.Len() && w.left > 0; i++ {
		n += w.refers(v.Index(i))
	}
	return n
}

func mayRefer(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Struct, reflect.Map:
		return true
	}
	return false
}

func (w *walk) visited(m memory) bool {
	if w.seen[m] {
		return true
	}
	if w.seen == nil {
		w.seen = make(map[memory]bool)
	}
	w.seen[m] = true
	return false
}
