package middleware

import (
	"net/http"
	"slices"
	"time"

	"github.com/freshet-go/freshet/internal/rfc9111"
)

// keepFor is how long a response with a validator is kept after it must not be
// served any more: to be asked about is cheaper than to be made again.
const keepFor = time.Hour

// freshen is the verdict on a 304 that the handler gave to the cache: the
// stored response with the fields of the 304 (RFC 9111 4.3.4). It is judged
// anew, since those may say that it is not for everyone any more.
func (x *exchange) freshen(a *arrival) verdict {
	if !rfc9111.Freshens(headerOf(x.old.Value.response.fields), headerOf(a.fields)) {
		return verdict{again: true}
	}
	v := x.merge(a)
	v.forwarded = http.StatusNotModified
	if !v.shared {
		return verdict{again: true}
	}
	return v
}

// merge returns the verdict on the old response with the fields of a, which
// came without a body (RFC 9111 3.2).
func (x *exchange) merge(a *arrival) verdict {
	s := x.old.Value.response
	own := headerOf(a.fields)
	rfc9111.StripConnection(own)
	var cookies []field
	a.fields = slices.DeleteFunc(a.fields, func(f field) bool {
		if x.policy.SetCookie != StoreSetCookie && (f.name == "Set-Cookie" || f.name == "Set-Cookie2") {
			// Whoever asked gets it, and what is stored has none: a session
			// renewed by a 304 is no reason to send the whole again.
			cookies = append(cookies, f)
			return true
		}
		return own[f.name] == nil || !rfc9111.Updates(f.name)
	})
	for _, kept := range s.fields {
		if !slices.ContainsFunc(a.fields, func(f field) bool { return f.name == kept.name }) {
			a.fields = append(a.fields, kept)
		}
	}
	v := verdict{status: s.status, length: int64(len(s.body)), body: s.body}
	x.judge(&v, a)
	// Fields that are for one client are those that this one was sent. Stored
	// ones of that name are another's.
	v.personal = slices.DeleteFunc(v.personal, func(f field) bool { return own[f.name] == nil })
	v.personal = append(v.personal, cookies...)
	return v
}
