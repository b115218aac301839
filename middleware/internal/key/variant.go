package key

import (
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// MaxVariantBytes bounds the field values that tell variants apart, since they
// come from clients.
const MaxVariantBytes = 1 << 10

// A Variant is what a response with Vary tells requests apart by: names of
// fields, and their normalised values. It is compared in full, like a key.
type Variant struct {
	values string // "" where there is no rule
	hash   uint64
}

// IsZero reports whether v is not of any rule.
func (v Variant) IsZero() bool { return v.values == "" }

// String returns the names and values, injectively encoded.
func (v Variant) String() string { return v.values }

// Size is how many bytes v refers to.
func (v Variant) Size() int64 { return int64(len(v.values)) }

// Mix makes the hash of a key that of its variant.
func (v Variant) Mix(hash uint64) uint64 {
	if v.values == "" {
		return hash
	}
	return mix(hash, v.hash)
}

// A Vary is the rule by which the responses of one key are told apart. It may
// be used concurrently.
type Vary struct {
	fields []string // canonical names, sorted
	prefix string   // the names, as variants have them
	seed   maphash.Seed

	// spelled finds variants by the one field's line as it was sent, where
	// there is one field and one line, which is nearly always: normalising
	// costs more than all the rest of a hit. The map is replaced, not changed.
	spelled  atomic.Pointer[map[string]Variant]
	learning sync.Mutex // held to replace it
}

// maxSpelled bounds the spellings remembered, and maxSpelledBytes each of them.
const (
	maxSpelled      = 32
	maxSpelledBytes = 128
)

// VarySize is what a rule may take beside its names.
const VarySize = maxSpelled * (maxSpelledBytes + 96)

// NewVary returns the rule of these fields, which are sorted and canonical.
func NewVary(fields []string, seed maphash.Seed) *Vary {
	var b []byte
	for _, name := range fields {
		b = appendPart(b, name)
	}
	// Two rules may have fields of the same number and values of the same
	// text, and are still two.
	return &Vary{fields: fields, prefix: string(appendPart(nil, string(b))), seed: seed}
}

// Fields returns the names of the fields, which are not to be changed.
func (v *Vary) Fields() []string { return v.fields }

// Size is what the rule takes.
func (v *Vary) Size() int64 { return VarySize + int64(2*len(v.prefix)+16*len(v.fields)) }

// Covers reports whether v tells apart by all of fields.
func (v *Vary) Covers(fields []string) bool {
	for _, name := range fields {
		if _, ok := slices.BinarySearch(v.fields, name); !ok {
			return false
		}
	}
	return true
}

// Of returns the variant of a request with these fields, the zero Variant if
// the values are too long to be told apart by. It does not allocate where the
// spelling is known.
func (v *Vary) Of(h http.Header) (variant Variant, known bool) {
	if line, single := v.line(h); single {
		if spelled := v.spelled.Load(); spelled != nil {
			if variant, known = (*spelled)[line]; known {
				return variant, true
			}
		}
	}
	return v.normalised(h), false
}

func (v *Vary) normalised(h http.Header) Variant {
	values := string(AppendValues([]byte(v.prefix), v.fields, h))
	if len(values)-len(v.prefix) > MaxVariantBytes {
		return Variant{}
	}
	return Variant{values, maphash.String(v.seed, values)}
}

// line returns the one line of the one field, if so it is.
func (v *Vary) line(h http.Header) (string, bool) {
	if len(v.fields) != 1 {
		return "", false
	}
	lines := h[v.fields[0]]
	if len(lines) != 1 || len(lines[0]) > maxSpelledBytes {
		return "", false
	}
	return lines[0], true
}

// Learn remembers how a request spells its variant, of which there is a
// response.
func (v *Vary) Learn(h http.Header, variant Variant) {
	line, single := v.line(h)
	if !single {
		return
	}
	v.learning.Lock()
	defer v.learning.Unlock()
	known := v.spelled.Load()
	next := make(map[string]Variant)
	if known != nil {
		if _, ok := (*known)[line]; ok {
			return
		}
		if len(*known) < maxSpelled { // else begin anew: those in use come back
			for l, other := range *known {
				next[l] = other
			}
		}
	}
	next[strings.Clone(line)] = variant
	v.spelled.Store(&next)
}

// PlainValues reports whether a variant, as a string, is that of requests
// without any of the fields.
func (v *Vary) PlainValues(variant string) bool {
	return strings.Trim(variant[len(v.prefix):], "\x00") == ""
}

// AppendValues appends the normalised values of the fields in h, each with its
// length.
func AppendValues(b []byte, fields []string, h http.Header) []byte {
	for _, name := range fields {
		start := len(b)
		b = append(b, 0, 0, 0)
		b = rfc9111.AppendNormalised(b, name, h[name])
		n := len(b) - start - 3 // 0 for an absent field, and only for that
		b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	}
	return b
}

// SameValues reports whether two requests agree in the fields.
func SameValues(fields []string, a, b http.Header) bool {
	var bufA, bufB [256]byte
	return string(AppendValues(bufA[:0], fields, a)) == string(AppendValues(bufB[:0], fields, b))
}

// Union returns the fields of both, sorted.
func Union(a, b []string) []string {
	u := append(slices.Clone(a), b...)
	slices.Sort(u)
	return slices.Compact(u)
}
