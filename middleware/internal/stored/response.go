package stored

import (
	"net/http"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A Response is complete and immutable.
type Response struct {
	Status   int
	Body     []byte
	Upstream []string // Cache-Status members of caches before this one

	Validators rfc9111.Validators // of the fields
	Date       time.Time          // when it was stored

	// InitialAge is the corrected_initial_age (RFC 9111 4.2.3) when it was
	// stored.
	InitialAge time.Duration

	fields  []Field // those that describe the content first
	content int     // how many these are
	inline  [6]Field

	// values are those of the fields, in their order, and then what Header
	// fills in: the age, Upstream, and the status.
	values        []string
	contentValues int // how many are of the fields that describe the content
}

// A Draft is what a response is made of.
type Draft struct {
	Status     int
	Fields     []Field
	Upstream   []string
	InitialAge time.Duration

	// Untyped says that nothing tells of which type the body is. It is guessed
	// here once, from the beginning of the body, as net/http would do for each
	// client: it would see no more than a part in a 206, and nothing for HEAD.
	Untyped bool

	// Unsized says that nothing tells how long the body is.
	Unsized bool
}

// Make makes r, which is zero, the response of a draft with this body. It keeps
// the body, unless much more than that is allocated for it.
func (r *Response) Make(d *Draft, body []byte, now time.Time) {
	if cap(body)-len(body) > len(body)/8+64 {
		body = append(make([]byte, 0, len(body)), body...)
	}
	fields := append(r.inline[:0], d.Fields...) // a copy: readers still have those of d
	if BodyAllowed(d.Status) && d.Unsized {
		fields = append(fields, Field{Name: "Content-Length", Values: []string{strconv.Itoa(len(body))}})
	}
	if BodyAllowed(d.Status) && d.Untyped && len(body) > 0 {
		fields = append(fields, Field{Name: "Content-Type", Values: []string{http.DetectContentType(body)}, Mode: Default})
	}
	slices.SortStableFunc(fields, func(a, b Field) int { return rank(a.Name) - rank(b.Name) })
	r.values = pack(fields, 2+len(d.Upstream))
	copy(r.values[len(r.values)-1-len(d.Upstream):], d.Upstream)
	r.Status, r.Upstream, r.Body = d.Status, d.Upstream, body[:len(body):len(body)]
	r.InitialAge, r.Date, r.fields = d.InitialAge, now, fields
	for r.content < len(fields) && DescribesContent(fields[r.content].Name) {
		r.contentValues += len(fields[r.content].Values)
		r.content++
	}
	r.Validators = ValidatorsOf(fields)
}

// Header sets the fields of the response in the header of one client, but for
// those that describe the content if it is sent none, and its Age and, if status
// is not "", Cache-Status. The client may do with the values whatever it likes:
// they are copies, in one allocation.
func (r *Response) Header(h http.Header, content bool, age, status string) {
	fields, values := r.fields, r.values
	if !content {
		fields, values = fields[r.content:], values[r.contentValues:]
	}
	own := make([]string, len(values))
	copy(own, values)
	for i := range fields {
		f := &fields[i]
		n := len(f.Values)
		if f.Mode == Set {
			h[f.Name] = own[:n:n]
		} else {
			merge(h, f, own[:n:n])
		}
		own = own[n:]
	}
	own[0] = age
	h["Age"] = own[:1:1]
	if status != "" {
		own[len(own)-1] = status
		h["Cache-Status"] = own[1:]
	}
}

// rank puts the fields that a 304 does not have before the others.
func rank(name string) int {
	if DescribesContent(name) {
		return 0
	}
	return 1
}

// BodyAllowed reports whether responses with this status have a body.
func BodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Fields returns the fields, which are not to be changed.
func (r *Response) Fields() []Field { return r.fields }

// perValue is what a string costs beside its bytes.
const perValue = int64(unsafe.Sizeof(""))

// allocated is what the bytes of a string of its own may take: the smallest
// share blocks of 16, which live as long as one of them.
func allocated(s string) int64 { return (int64(len(s)) + 15) &^ 15 }

// Size is what the response costs beside its own structure: its body, its fields
// and their values.
func (r *Response) Size() int64 {
	n := int64(cap(r.Body))
	if n > 32<<10 { // large objects take whole pages
		n = (n + 8<<10 - 1) &^ (8<<10 - 1)
	}
	if len(r.fields) > len(r.inline) {
		n += int64(cap(r.fields)) * int64(unsafe.Sizeof(Field{}))
	}
	for _, f := range r.fields {
		n += int64(len(f.Name))
		for _, v := range f.Values {
			n += perValue + allocated(v)
		}
	}
	for _, v := range r.Upstream {
		n += 2*perValue + allocated(v)
	}
	return n + 2*perValue
}
