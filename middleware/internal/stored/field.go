// Package stored holds responses as the cache keeps them: complete, immutable,
// and shared by all who get them.
package stored

import (
	"net/http"
	"slices"
	"strings"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A Mode says what a field of a response does to the field of that name that
// was set outside of the cache for the client who gets it.
type Mode uint8

const (
	Set     Mode = iota // takes its place
	Add                 // is added to it
	Default             // gives way to it
	Remove              // removes it; the field has no values
)

// A Field is one header field of a response. An empty list of values that is not
// nil is a field that is to be sent without one, as a nil Content-Type in
// net/http says that no type is to be guessed.
type Field struct {
	Name   string
	Values []string
	Mode   Mode
}

// HeaderOf returns a header of fields. It shares their values.
func HeaderOf(fields []Field) http.Header {
	h := make(http.Header, len(fields))
	for _, f := range fields {
		if f.Mode != Remove {
			h[f.Name] = f.Values
		}
	}
	return h
}

// Apply sets fields in the header of one client, who may do with the values
// whatever it likes: they are copies.
func Apply(h http.Header, fields []Field) {
	for i := range fields {
		f := &fields[i]
		apply(h, f, slices.Clone(f.Values))
	}
}

// apply sets a field to values that are the client's own.
func apply(h http.Header, f *Field, values []string) {
	if f.Mode == Set {
		h[f.Name] = values
		return
	}
	merge(h, f, values)
}

// merge is the rest of apply, for fields that heed what is there.
func merge(h http.Header, f *Field, values []string) {
	before, there := h[f.Name]
	switch {
	case f.Mode == Remove:
		delete(h, f.Name)
	case !there:
		h[f.Name] = values
	case f.Mode == Default:
	case f.Name == "Vary": // need not say anything twice
		for _, v := range values {
			if !slices.Contains(before, v) {
				before = append(slices.Clip(before), v)
			}
		}
		h[f.Name] = before
	default:
		h[f.Name] = append(slices.Clip(before), values...)
	}
}

// Sort puts fields in the order of their names.
func Sort(fields []Field) {
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
}

// ValidatorsOf returns the validators among fields.
func ValidatorsOf(fields []Field) (v rfc9111.Validators) {
	for _, f := range fields {
		switch f.Name {
		case "Etag":
			v.Etag = f.Values
		case "Last-Modified":
			v.LastModified = f.Values
		case "Date":
			v.Date = f.Values
		}
	}
	return v
}

// DescribesContent reports whether a field describes the content that a 304
// does not have, and is left out of it (RFC 9110 15.4.5).
func DescribesContent(name string) bool {
	switch name {
	case "Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range":
		return true
	}
	return false
}

// pack replaces the values of fields by copies that lie side by side, with room
// for more strings behind: a hit of what is not in the processor's caches waits
// for each place it reads, and copies all of them at once. It returns them.
func pack(fields []Field, more int) []string {
	lines, size := more, 0
	for _, f := range fields {
		lines += len(f.Values)
		for _, v := range f.Values {
			size += len(v)
		}
	}
	var text strings.Builder
	text.Grow(size)
	for _, f := range fields {
		for _, v := range f.Values {
			text.WriteString(v)
		}
	}
	values, rest := make([]string, 0, lines), text.String()
	for i := range fields {
		if fields[i].Mode == Remove {
			continue
		}
		start := len(values)
		for _, v := range fields[i].Values {
			values = append(values, rest[:len(v)])
			rest = rest[len(v):]
		}
		fields[i].Values = slices.Clip(values[start:])
	}
	return values[:lines]
}
