package cachefetch

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// newEstimate returns a function that tells about how many bytes a value
// consists of and refers to, or an error if values of type V can hold what must
// not be looked into. It stops counting above limit.
//
// A value is read while others may use it too. That is safe as long as it is
// what values of a cache are to be: not modified. What has locks, channels,
// atomic numbers or handles in it is made to be modified while it is in use, and
// is never read. If it is behind an interface, which is known only when it is
// met, it counts by the size of its type.
//
// What functions refer to is not counted. Memory that is reached twice is
// counted once, except for strings. A *time.Location counts nothing: programs
// have one for all values.
func newEstimate[V any](limit int64) (func(V) int64, error) {
	t := reflect.TypeFor[V]()
	if path := liveIn(t); path != "" {
		return nil, fmt.Errorf("must be set: %s, so its size cannot be estimated while it is in use", path)
	}
	refers := refersOf(t)
	return func(v V) int64 {
		size := int64(unsafe.Sizeof(v))
		switch x := any(v).(type) {
		case string:
			return size + int64(len(x))
		case []byte:
			return size + int64(cap(x))
		}
		if !refers {
			return size
		}
		w := walk{bytes: size, limit: limit}
		w.value(reflect.ValueOf(&v).Elem())
		w.run()
		return w.bytes
	}, nil
}

// A walk follows what a value refers to. It keeps what is yet to be followed in
// a list, since a value may be a longer chain than a stack is deep. All that it
// follows takes bytes, so that the limit bounds its time too.
type walk struct {
	bytes, limit int64
	todo         []reflect.Value // pointers, interfaces, slices and maps, not nil
	seen         map[memory]span
}

// memory is what a pointer or map refers to, or the end of what a slice does:
// slices of one array that were not clipped have that in common. The address
// alone is not enough: a struct and its first field share it.
type memory struct {
	at  uintptr
	typ reflect.Type
}

// A span is the part of an array that was walked, in elements before its end.
type span struct{ from, to int }

func (w *walk) run() {
	for len(w.todo) > 0 && w.bytes <= w.limit {
		last := len(w.todo) - 1
		v := w.todo[last]
		w.todo = w.todo[:last]
		w.follow(v)
	}
}

// value counts what v refers to, without v itself.
func (w *walk) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		w.bytes += int64(v.Len())
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		if !v.IsNil() {
			w.todo = append(w.todo, v)
		}
	case reflect.Array:
		w.elements(v)
	case reflect.Struct:
		if v.Type() == timeType {
			return
		}
		for i := range v.NumField() {
			w.value(v.Field(i))
		}
	}
}

func (w *walk) elements(v reflect.Value) {
	if !refersOf(v.Type().Elem()) {
		return
	}
	for i := 0; i < v.Len() && w.bytes <= w.limit; i++ {
		w.value(v.Index(i))
	}
}

func (w *walk) follow(v reflect.Value) {
	t := v.Type()
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem() != locationType && w.first(memory{v.Pointer(), t}) {
			w.bytes += int64(t.Elem().Size())
			w.value(v.Elem())
		}
	case reflect.Interface:
		v = v.Elem()
		w.bytes += int64(v.Type().Size())
		if liveIn(v.Type()) == "" {
			w.value(v)
		} else if v.Kind() == reflect.Pointer {
			w.bytes += int64(v.Type().Elem().Size())
		}
	case reflect.Slice:
		w.slice(v)
	case reflect.Map:
		if !w.first(memory{v.Pointer(), t}) {
			return
		}
		// A slot and its control byte, at a load factor of about 3/4.
		slot := int64(t.Key().Size()+t.Elem().Size()) + 1
		w.bytes += 48 + int64(v.Len())*slot*4/3
		if !refersOf(t.Key()) && !refersOf(t.Elem()) {
			return
		}
		for it := v.MapRange(); w.bytes <= w.limit && it.Next(); {
			w.value(it.Key())
			w.value(it.Value())
		}
	}
}

func (w *walk) slice(v reflect.Value) {
	size := v.Type().Elem().Size()
	if v.Cap() == 0 || size == 0 {
		return
	}
	end := memory{v.Pointer() + uintptr(v.Cap())*size, v.Type()}
	part := span{v.Cap(), v.Cap() - v.Len()}
	was, met := w.seen[end]
	if !met {
		was = span{0, v.Cap()}
	}
	w.bytes += int64(max(part.from-was.from, 0)) * int64(size)
	if part.from <= was.from && part.to >= was.to {
		return
	}
	w.note(end, span{max(part.from, was.from), min(part.to, was.to)})
	w.elements(v)
}

// first reports whether m is met for the first time.
func (w *walk) first(m memory) bool {
	if _, met := w.seen[m]; met {
		return false
	}
	w.note(m, span{})
	return true
}

func (w *walk) note(m memory, s span) {
	if w.seen == nil {
		w.seen = make(map[memory]span)
	}
	w.seen[m] = s
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	locationType = reflect.TypeFor[time.Location]()

	refersCache sync.Map // of reflect.Type to bool
	liveCache   sync.Map // of reflect.Type to string
)

// refersOf reports whether a value of type t can refer to memory that counts.
func refersOf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		return true
	case reflect.Array:
		return t.Len() > 0 && refersOf(t.Elem())
	case reflect.Struct:
		if t == timeType {
			return false
		}
		if refers, ok := refersCache.Load(t); ok {
			return refers.(bool)
		}
		refers := false
		for i := range t.NumField() {
			refers = refers || refersOf(t.Field(i).Type)
		}
		refersCache.Store(t, refers)
		return refers
	}
	return false
}

// liveIn returns a sentence on where values of type t have, or refer to,
// something that is made to be modified while it is in use, or "". Of what
// interfaces hold it knows nothing.
func liveIn(t reflect.Type) string {
	if path, ok := liveCache.Load(t); ok {
		return path.(string)
	}
	path := findLive(t, t.String(), make(map[reflect.Type]bool))
	liveCache.Store(t, path)
	return path
}

func findLive(t reflect.Type, path string, seen map[reflect.Type]bool) string {
	if seen[t] || t == timeType || t == locationType {
		return ""
	}
	seen[t] = true
	if pkg := t.PkgPath(); pkg == "sync" || strings.HasPrefix(pkg, "sync/") || strings.HasPrefix(pkg, "internal/sync") {
		return path + " is a " + t.String()
	}
	switch t.Kind() {
	case reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		return path + " is a " + t.String()
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return findLive(t.Elem(), path, seen)
	case reflect.Map:
		if found := findLive(t.Key(), path, seen); found != "" {
			return found
		}
		return findLive(t.Elem(), path, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if found := findLive(f.Type, t.String()+"."+f.Name, seen); found != "" {
				return found
			}
		}
	}
	return ""
}
