package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/internal/rfc9111"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// begin writes the header of a fill's response for this client, and returns
// where to write the body. The reason is why middleware outside, by what it has
// made of the header, keeps it from others.
func (x *exchange) begin(head fill.Head, v *verdict, known fill.Known, leader bool) (w http.ResponseWriter, reason string) {
	h := x.w.Header()
	cuts := x.r.Header["Range"] != nil && x.cuts(v.draft.Fields)
	stored.Apply(h, v.draft.Fields)
	if leader {
		stored.Apply(h, v.personal)
	}
	if v.age >= time.Second {
		h["Age"] = []string{strconv.FormatInt(int64(v.age/time.Second), 10)}
	}
	if x.r.Method == http.MethodHead && !head.Has {
		x.complete(h, v, known)
	}
	if !x.policy.HideStatus {
		h["Cache-Status"] = append(slices.Concat(v.draft.Upstream, h["Cache-Status"]), x.fillStatus(v, known, leader))
	}
	before := wordsOf(h, x.policy.TargetedFields)
	w = x.head(h, head, v, cuts)
	if leader {
		reason = before.lateIn(x.w.Header(), x.policy.TargetedFields)
	}
	return w, reason
}

// complete adds what net/http would tell of a body that the handler wrote for
// HEAD.
func (x *exchange) complete(h http.Header, v *verdict, known fill.Known) {
	if len(known.Sample) > 0 && v.draft.Untyped && h["Content-Type"] == nil {
		h["Content-Type"] = []string{http.DetectContentType(known.Sample)}
	}
	if known.Length > 0 && v.draft.Unsized {
		h["Content-Length"] = []string{strconv.FormatInt(known.Length, 10)}
	}
}

// fillStatus is the Cache-Status of an answer from a run.
func (x *exchange) fillStatus(v *verdict, known fill.Known, leader bool) string {
	status := "freshet; fwd=" + x.reason
	if v.forwarded != 0 {
		status += "; fwd-status=" + strconv.Itoa(v.forwarded)
	}
	switch {
	case !leader:
		return status + "; collapsed"
	case known.Reason != "" && known.Reason != replayed:
		return status + "; detail=" + known.Reason
	}
	t := v.times
	ttl := int64((t.FreshUntil.Sub(t.Stored)+v.age)/time.Second) - int64(v.age/time.Second)
	return status + "; stored; ttl=" + strconv.FormatInt(ttl, 10)
}

// head writes the header that is prepared in h: that of the response, of the
// part of it that was asked for, or a 304 if the client has it already.
func (x *exchange) head(h http.Header, head fill.Head, v *verdict, cuts bool) http.ResponseWriter {
	asked := x.r.Header
	if head.Status == http.StatusOK && (conditional(asked) || asked["Range"] != nil) {
		validators := stored.ValidatorsOf(v.draft.Fields)
		if conditional(asked) && rfc9111.NotModified(asked, &validators, time.Now()) {
			writeNotModified(x.w) // the origin was asked for the whole
			return &fill.Part{W: x.w}
		}
		if head.Length >= 0 && cuts && x.r.Method == http.MethodGet {
			untyped := v.draft.Untyped && h["Content-Type"] == nil
			if untyped {
				h["Content-Type"] = nil // not to be guessed from a part
			}
			if p := selectPart(x.w, asked, &validators, head.Length); p != nil {
				return p
			}
			if untyped {
				delete(h, "Content-Type")
			}
		}
	}
	x.w.WriteHeader(head.Status)
	return x.w
}

// lend prepares the client's ResponseWriter for the handler to write a response
// to that is this client's alone.
func (x *exchange) lend(head fill.Head, v *verdict, header http.Header) http.ResponseWriter {
	h := x.w.Header()
	cuts := x.r.Header["Range"] != nil && x.cuts(v.draft.Fields)
	v.around.handed(h, header)
	if !x.policy.HideStatus {
		status := "freshet; fwd=" + x.reason
		if head.Reason != "" {
			status += "; detail=" + head.Reason
		}
		h["Cache-Status"] = append(slices.Clone(h["Cache-Status"]), status)
	}
	return x.head(h, head, v, cuts)
}
