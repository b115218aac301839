package middleware

import (
	"net/http"
	"slices"
	"strings"
	"unsafe"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// outside is what middleware outside of the cache had set in a response header
// before the handler got it. It belongs to one client: it goes out with that
// client's answer, restricts sharing like the handler's own words, and is never
// stored.
//
// Which of a header's values are the outside's is told by where their bytes
// are, not by what they say. It is tempting to compare texts: but a handler
// that sets the "no-store" that a default outside has set too means it, and
// the default is not there for the next client.
type outside struct{ fields http.Header }

// outsideOf copies h. The values get memory that nobody else has.
func outsideOf(h http.Header) outside {
	fields := make(http.Header, len(h))
	for name, values := range rfc9111.Canonicalise(h) {
		own := make([]string, len(values))
		for i, v := range values {
			own[i] = strings.Clone(v)
		}
		fields[name] = own
	}
	return outside{fields}
}

// header returns a header to hand to a handler.
func (o outside) header() http.Header { return o.fields.Clone() }

// enter makes the header of a client's own ResponseWriter one to hand to a
// handler.
func (o outside) enter(h http.Header) {
	clear(h)
	for name, values := range o.fields {
		h[name] = slices.Clone(values)
	}
}

// untouched returns how many values, from the first on, are the outside's in a
// field that the handler has now made values of: all there were, or none.
func (o outside) untouched(name string, values []string) int {
	before := o.fields[name]
	if len(values) < len(before) {
		return 0
	}
	for i, v := range before {
		if len(v) != len(values[i]) || unsafe.StringData(v) != unsafe.StringData(values[i]) && v != "" {
			return 0
		}
	}
	return len(before)
}

// divide returns the fields of a handler's header h, sorted, and what is left
// in h of the outside's. A field whose values are nil was removed by the
// handler; one that it wants sent without a value, as a nil Content-Type, has
// an empty list.
func (o outside) divide(h http.Header) (fields []field, left http.Header) {
	left = make(http.Header, len(o.fields))
	for name, values := range h {
		n := o.untouched(name, values)
		if n > 0 || o.fields[name] != nil && len(values) == 0 && len(o.fields[name]) == 0 {
			left[name] = o.fields[name]
			if values = values[n:]; len(values) == 0 {
				continue
			}
		}
		// One by one, though pack would take fewer allocations: tags, variants
		// and Cache-Status outlive the other values, and must not keep those.
		copied := make([]string, len(values))
		for i, v := range values {
			copied[i] = strings.Clone(v)
		}
		fields = append(fields, field{name: name, values: copied, add: n > 0 || name == "Vary"})
	}
	for name := range o.fields {
		if _, ok := h[name]; !ok && name != "Vary" {
			fields = append(fields, field{name: name})
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields, left
}

// around returns the header that a client is sent: fields, with what is left
// of the outside's where they say nothing else.
func (o outside) around(fields []field, left http.Header) http.Header {
	h := headerOf(fields)
	for name, values := range left {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch {
		case i < 0:
			h[name] = values
		case fields[i].add:
			h[name] = slices.Concat(values, fields[i].values)
		}
	}
	return h
}
