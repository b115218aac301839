package middleware

import (
	"net/http"
	"slices"
	"strings"
	"unsafe"

	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/stored"
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
type outside struct {
	fields http.Header      // copies, in memory that nobody else has
	origin map[*byte]string // what they are copies of, by their first byte
}

// outsideOf takes down h.
func outsideOf(h http.Header) outside {
	o := outside{fields: make(http.Header, len(h)), origin: make(map[*byte]string, len(h))}
	for name, values := range rfc9111.Canonicalise(h) {
		own := make([]string, len(values))
		for i, v := range values {
			own[i] = strings.Clone(v)
			if v != "" {
				o.origin[unsafe.StringData(own[i])] = v
			}
		}
		o.fields[name] = own
	}
	return o
}

// header returns a header to hand to a handler.
func (o *outside) header() http.Header { return o.fields.Clone() }

// made returns what v is a copy of, if the outside has set it.
func (o *outside) made(v string) (original string, ok bool) {
	if v == "" {
		return "", false
	}
	original, ok = o.origin[unsafe.StringData(v)]
	return original, ok
}

// divide returns the fields of a handler's header h, sorted, and what is left in
// h of the outside's.
func (o *outside) divide(h http.Header) (fields []stored.Field, left http.Header) {
	left = make(http.Header, len(o.fields))
	for name, values := range h {
		own := make([]string, 0, len(values))
		for _, v := range values {
			if _, theirs := o.made(v); theirs {
				left[name] = append(left[name], v)
			} else {
				// Each in memory of its own, though that takes more allocations:
				// tags, variants and Cache-Status outlive the other values.
				own = append(own, strings.Clone(v))
			}
		}
		if len(own) > 0 || len(left[name]) == 0 {
			fields = append(fields, stored.Field{Name: name, Values: own, Mode: mode(name, left[name] != nil)})
		}
	}
	for name := range o.fields {
		if _, ok := h[name]; !ok && name != "Vary" {
			fields = append(fields, stored.Field{Name: name, Mode: stored.Remove})
		}
	}
	stored.Sort(fields)
	return fields, left
}

// mode says what a handler's field does to that of the outside. Of fields that
// are lists for whoever has something to say, it is not known whether a handler
// that found none has set its values or added them: they are added.
func mode(name string, besideTheirs bool) stored.Mode {
	switch name {
	case "Vary", "Set-Cookie", "Link", "Content-Security-Policy", "Server-Timing":
		return stored.Add
	}
	if besideTheirs {
		return stored.Add
	}
	return stored.Set
}

// around returns the header that a client is sent: fields, with what is left
// of the outside's where they say nothing else.
func around(fields []stored.Field, left http.Header) http.Header {
	h := stored.HeaderOf(fields)
	for name, values := range left {
		i := slices.IndexFunc(fields, func(f stored.Field) bool { return f.Name == name })
		switch {
		case i < 0 || fields[i].Mode == stored.Default:
			h[name] = values
		case fields[i].Mode == stored.Add:
			h[name] = slices.Concat(values, fields[i].Values)
		}
	}
	return h
}

// handed makes into, the header of the client's own ResponseWriter, that of the
// handler, with the outside's own values: a cache further out knows them by
// where they are.
func (o *outside) handed(into, header http.Header) {
	clear(into)
	for name, values := range header {
		back := slices.Clone(values)
		for i, v := range back {
			if original, ok := o.made(v); ok {
				back[i] = original
			}
		}
		into[name] = back
	}
}

// own returns the fields of h that the handler has set, for an interim response.
func (o *outside) own(h http.Header) http.Header {
	own := make(http.Header)
	for name, values := range h {
		for _, v := range values {
			if _, theirs := o.made(v); !theirs {
				own[name] = append(own[name], v)
			}
		}
	}
	return own
}

// words are what a header says against sharing.
type words struct {
	cookies int
	control string   // of all fields that say how it may be stored
	vary    []string // names of fields
}

func wordsOf(h http.Header, targeted []string) words {
	vary, _ := rfc9111.VaryFields(h)
	return words{cookies(h), controlOf(h, targeted), vary}
}

func cookies(h http.Header) int { return len(h["Set-Cookie"]) + len(h["Set-Cookie2"]) }

func controlOf(h http.Header, targeted []string) string {
	var b strings.Builder
	for _, name := range append([]string{"Cache-Control"}, targeted...) {
		for _, line := range h[name] {
			b.WriteString(line + "\n")
		}
		b.WriteByte(0)
	}
	return b.String()
}

// lateIn returns what was said against sharing only when the header was written,
// as session middleware does with its cookie, or "". A Vary that has grown would
// keep others apart whom nobody can tell apart any more; that of a coding is about
// what the outside itself does for each client.
func (w words) lateIn(h http.Header, targeted []string) string {
	if cookies(h) > w.cookies {
		return string(rfc9111.ReasonSetCookie)
	}
	vary, star := rfc9111.VaryFields(h)
	for _, name := range vary {
		star = star || name != "Accept-Encoding" && !slices.Contains(w.vary, name)
	}
	if star {
		return string(rfc9111.ReasonVaryStar)
	}
	if controlOf(h, targeted) == w.control {
		return ""
	}
	switch cc, _ := rfc9111.ResponseControl(h, targeted); {
	case cc.NoStore:
		return string(rfc9111.ReasonNoStore)
	case cc.Private, len(cc.PrivateFields) > 0: // which ones, nobody can take back
		return string(rfc9111.ReasonPrivate)
	case cc.NoCache:
		return string(rfc9111.ReasonNoCache)
	}
	return ""
}
