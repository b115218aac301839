package middleware

import (
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// variants is what is known of a key whose responses have a Vary field: the
// fields they vary by, and the variants seen. It is stored under the key; each
// response is stored under its variant.
//
// A response is reached only through the variants it was stored with, so
// removing those removes every response of the key at once.
type variants struct {
	fields []string // canonical names, sorted
	limit  int

	// born is the generation of the run that first brought a Vary field.
	// Runs for a variant that are older began before the key was purged.
	born uint64

	mu    sync.RWMutex
	known map[string]*variant // guarded by mu; by the normalised values of fields

	// raw finds variants by the one field's line as it was sent, where there
	// is one field and one line, which is nearly always: normalising costs
	// more than all the rest of a hit. Guarded by mu.
	raw map[string]*variant
}

// maxRaw bounds the spellings remembered, and maxRawBytes each of them.
const (
	maxRaw      = 64
	maxRawBytes = 128
)

// A variant stands for one combination of values of the fields. Two requests
// have the same variant iff they have the same pointer.
type variant struct {
	hash   uint64
	values string
	born   uint64 // of its variants
}

// maxVariantBytes bounds the field values that tell variants apart, since they
// come from clients.
const maxVariantBytes = 1 << 10

func newVariants(fields []string, limit int, born uint64) *variants {
	return &variants{fields: fields, limit: limit, born: born, known: make(map[string]*variant), raw: make(map[string]*variant)}
}

// appendValues appends the normalised values of the fields in h, each with its
// length.
func appendValues(b []byte, fields []string, h http.Header) []byte {
	for _, name := range fields {
		start := len(b)
		b = append(b, 0, 0, 0)
		b = rfc9111.AppendNormalised(b, name, h[name])
		n := len(b) - start - 3 // 0 for an absent field, and only for that
		b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	}
	return b
}

// find returns the variant of a request with these fields, or nil if it is not
// known. It does not allocate unless the values are long.
func (v *variants) find(h http.Header) *variant {
	if line, ok := v.line(h); ok {
		v.mu.RLock()
		found := v.raw[line]
		v.mu.RUnlock()
		if found != nil {
			return found
		}
	}
	return v.findNormalised(h)
}

// line returns the one line of the one field, if so it is.
func (v *variants) line(h http.Header) (string, bool) {
	if len(v.fields) != 1 {
		return "", false
	}
	lines := h[v.fields[0]]
	if len(lines) != 1 || len(lines[0]) > maxRawBytes {
		return "", false
	}
	return lines[0], true
}

func (v *variants) findNormalised(h http.Header) *variant {
	var buf [256]byte
	b := appendValues(buf[:0], v.fields, h)
	v.mu.RLock()
	found := v.known[string(b)]
	v.mu.RUnlock()
	if found == nil {
		return nil
	}
	if line, ok := v.line(h); ok {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.raw) >= maxRaw {
			clear(v.raw) // the spellings in use come back
		}
		if v.known[string(b)] == found {
			v.raw[strings.Clone(line)] = found
		}
	}
	return found
}

// add returns the variant of a request with these fields, or nil if there
// would be too many. alive reports whether a variant still has an object.
func (v *variants) add(h http.Header, alive func(*variant) bool) *variant {
	values := string(appendValues(nil, v.fields, h))
	if len(values) > maxVariantBytes {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if found := v.known[values]; found != nil {
		return found
	}
	if len(v.known) >= v.limit {
		for key, known := range v.known {
			if !alive(known) {
				delete(v.known, key)
			}
		}
		clear(v.raw) // may name some of them
		if len(v.known) >= v.limit {
			return nil
		}
	}
	// The hash is drawn, not computed: a variant is found by its values, and
	// its object by its pointer.
	found := &variant{hash: rand.Uint64(), values: values, born: v.born}
	v.known[values] = found
	return found
}

// size is what v costs: what it knows, and room for what it learns before it is
// stored again.
func (v *variants) size() int64 {
	const each = int64(unsafe.Sizeof(variant{})) + 64 // with its place in a map
	n := each*int64(v.limit) + maxVariantBytes
	v.mu.RLock()
	defer v.mu.RUnlock()
	for values := range v.known {
		n += int64(len(values))
	}
	for line := range v.raw {
		n += int64(len(line)) + 64
	}
	return n
}

// all returns the variants known.
func (v *variants) all() []*variant {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := make([]*variant, 0, len(v.known))
	for _, known := range v.known {
		list = append(list, known)
	}
	return list
}

// covers reports whether v already tells apart by all of fields.
func (v *variants) covers(fields []string) bool {
	for _, name := range fields {
		if _, ok := slices.BinarySearch(v.fields, name); !ok {
			return false
		}
	}
	return true
}

// union returns the fields of both, sorted.
func union(a, b []string) []string {
	u := append(slices.Clone(a), b...)
	slices.Sort(u)
	return slices.Compact(u)
}

// sameValues reports whether two requests agree in the fields.
func sameValues(fields []string, a, b http.Header) bool {
	var bufA, bufB [256]byte
	return string(appendValues(bufA[:0], fields, a)) == string(appendValues(bufB[:0], fields, b))
}

// flightHash spreads flights over their locks.
func flightHash(seed maphash.Seed, k string) uint64 { return maphash.String(seed, k) }
