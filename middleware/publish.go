package middleware

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// passFor is how long it is remembered that a key's responses are not shared,
// so that its requests need not wait for each other to find out (hit-for-miss).
const passFor = 5 * time.Second

// passMore is how long after that it is still believed, while one request at a
// time finds out whether it holds.
const passMore = time.Minute

// failing backoff of refreshes: doubled from base up to limit.
const (
	backoffBase  = time.Second
	backoffLimit = 32 * time.Second
)

// settle stores what a run has brought, and gives back what it has reserved.
func (x *exchange) settle(fl *engine.Flight[*fill], clean bool) {
	f := fl.State
	c := x.cache
	f.mu.Lock()
	v := f.verdict
	body, reserved := f.body, f.reserved
	if len(f.trailers) > 0 && v.shared {
		v.shared, v.private = false, string(rfc9111.ReasonTrailer)
	}
	store := v.shared && f.complete && !f.handedOver && !f.replayed
	f.reserved = 0
	f.mu.Unlock()
	reason := v.private
	switch {
	case store:
		if !fl.Publish(func() { reason = x.publish(fl, &v, body, reserved) }) {
			c.store.Release(reserved)
			reason = reasonPurged
			if fl.Context.Err() != nil {
				reason = reasonIncomplete
			}
		}
		if reason == "" {
			return
		}
	default:
		c.store.Release(reserved)
		switch {
		case f.replayed:
			return
		case !clean:
			reason = reasonPanic
		case v.failed:
			reason = reasonError
		case reason == "":
			reason = reasonIncomplete
		}
		if trailer := string(rfc9111.ReasonTrailer); clean && v.private == trailer {
			fl.Publish(func() { x.remember(fl, trailer) }) // known only now
		}
		if x.old != nil && (!clean || v.failed) {
			x.old.Failed(c.store.Now(), backoffBase, backoffLimit)
		}
	}
	c.metrics.notStored(reason)
}

// publish stores a complete response, under its variant if it has one, and
// returns why it does not, or "".
func (x *exchange) publish(fl *engine.Flight[*fill], v *verdict, body []byte, reserved int64) string {
	c := x.cache
	now := c.store.Now()
	times := v.times(now)
	if v.search != noSearch {
		x.hint(fl, v.search, times)
	}
	varies := x.q.variant != nil || len(v.vary) > 0
	if home := x.home(v.search); home != x.q.key {
		c.searches.mu.RLock()
		defer c.searches.mu.RUnlock()
		// A removal of x's own query finds its run, by whatever rule that is named.
		if found := v.search == noSearch && x.q.variant == nil; !found && fl.Gen < c.searches.removed {
			c.store.Release(reserved)
			return reasonPurged // maybe
		}
		x = x.moved(fl, home)
		e := c.store.Get(x.hash, x.q)
		varies = len(v.vary) > 0 || e != nil && e.Value.variants != nil
	}
	e := v.record(body)
	o := &e.Value
	o.key, o.sharing, o.metrics = x.q.key.clone(), v.sharing, x.route(fl.State.req)
	hash := x.q.key.hash(c.seed)
	if varies {
		vr, why := x.variantFor(fl, v, times, hash)
		if vr == nil {
			c.store.Release(reserved)
			return why
		}
		o.variant, hash = vr, vr.hash
	}
	e.Times, e.Tags, e.Gen = times, o.key.tagged(v.tags), fl.Gen
	if c.store.Put(hash, e, c.cost(e), reserved) {
		return ""
	}
	if c.store.Superseded(fl.Gen, c.store.Newest(), o, e.Tags) {
		return reasonPurged
	}
	return reasonTooLarge
}

// cost is what e takes of the budget.
func (c *Cache) cost(e *engine.Entry[object]) int64 {
	o := &e.Value
	n := c.store.Overhead() + o.key.size()
	if o.response != nil {
		n += o.response.size()
	}
	if o.variant != nil {
		n += int64(len(o.variant.values))
	}
	if o.variants != nil {
		n += o.variants.size()
	}
	for _, tag := range e.Tags {
		n += int64(len(tag)) + perValue
	}
	return n
}

// record returns a new entry for what is stored of v with its whole body. Value
// has no more than that.
func (v *verdict) record(body []byte) *engine.Entry[object] {
	if cap(body)-len(body) > len(body)/8+64 {
		body = append(make([]byte, 0, len(body)), body...)
	}
	r := new(record)
	fields := append(r.fields[:0], v.fields...) // a copy: readers still have v
	if bodyAllowed(v.status) && v.length < 0 {
		fields = append(fields, field{name: "Content-Length", values: []string{strconv.Itoa(len(body))}})
	}
	if v.untyped && len(body) > 0 && bodyAllowed(v.status) {
		// Guessed once, from the beginning of the body, as net/http does: it
		// would see no more than a part of it in a 206, and nothing for HEAD.
		fields = append(fields, field{name: "Content-Type", values: []string{http.DetectContentType(body)}})
	}
	pack(fields)
	r.response = response{
		status: v.status, upstream: v.upstream, fields: fields,
		body: body[:len(body):len(body)], initialAge: v.age, date: time.Now(),
	}
	r.response.sortFields()
	r.response.validators = validatorsOf(r.response.fields)
	r.entry.Value.response = &r.response
	return &r.entry
}

// variantFor returns the variant under which a response that varies is stored,
// and makes sure that it can be found: the object of the key must name the
// fields. If it names others, it is replaced by one that names all of them,
// since a response that is kept apart by too many fields is right, and one
// that is kept apart by too few is another's. If there can be none it returns
// why.
func (x *exchange) variantFor(fl *engine.Flight[*fill], v *verdict, times engine.Times, hash uint64) (vr *variant, why string) {
	c := x.cache
	q := lookup{key: x.q.key}
	fields := v.vary
	var known *variants
	born := fl.Gen
	if e := c.store.Get(hash, q); e != nil && e.Value.variants != nil {
		known = e.Value.variants
		if born = known.born; fl.Gen < born {
			return nil, reasonPurged // begun before the key was purged and asked for again
		}
		fields = union(known.fields, fields)
		if !known.covers(v.vary) {
			known = nil
		}
	} else if x.q.variant != nil {
		return nil, reasonPurged // what it belonged to, or it made room for others
	}
	alive := func(vr *variant) bool { return c.store.Get(vr.hash, lookup{variant: vr}) != nil }
	if known == nil {
		known = newVariants(fields, x.policy.MaxVariants, born)
	}
	found := known.add(fl.State.asked, alive)
	if found == nil {
		return nil, reasonVariants
	}
	// Put again each time, so that it lives as long as its responses.
	k := x.q.key.clone()
	e := &engine.Entry[object]{
		Value: object{key: k, variants: known, metrics: x.route(fl.State.req)},
		Times: engine.NewTimes(times.Stored, times.Horizon().Sub(times.Stored), 0, 0),
		Tags:  k.tagged(nil),
		Gen:   c.store.Generation(),
	}
	if !c.store.Put(hash, e, c.cost(e), 0) {
		return nil, reasonTooLarge
	}
	return found, ""
}

// unfit remembers that v is not shared, as soon as that is known: it may be
// long before the response ends. An error is not remembered where that would
// take the place of a response that can be validated, nor is an accident.
func (x *exchange) unfit(fl *engine.Flight[*fill], v *verdict) {
	if v.private == reasonEmpty || x.old != nil && serverError(v.status) {
		return
	}
	if v.private == reasonAuthorization || v.private == reasonCookie {
		// True of requests like this one only; others may have stored theirs.
		if e := x.cache.store.Get(x.hash, x.q); e != nil && e.Value.response != nil {
			return
		}
	}
	fl.Publish(func() { x.remember(fl, v.private) })
}

// remember notes for a while that responses are not shared.
func (x *exchange) remember(fl *engine.Flight[*fill], why string) {
	c := x.cache
	k := x.q.key.clone()
	e := &engine.Entry[object]{
		Value: object{key: k, variant: x.q.variant, private: why, metrics: x.route(fl.State.req)},
		Times: engine.NewTimes(c.store.Now(), passFor, passMore, 0),
		Tags:  k.tagged(nil),
		Gen:   fl.Gen,
	}
	c.store.Put(x.hash, e, c.cost(e), 0)
}

// refresh has the handler run behind a stale response, unless all workers are
// busy. The caller has begun the refresh of e; if it were done here, its value
// receiver would be allocated for all who find that another one has.
func (x exchange) refresh(e *engine.Entry[object]) {
	c := x.cache
	if !c.pool.Acquire() {
		c.refreshSkips.Add(1)
		e.EndRefresh()
		return
	}
	x.old, x.reason = e, "stale"
	t, err := x.join(false)
	if err != nil || !t.Leader {
		e.EndRefresh()
		c.pool.Release()
		if err == nil {
			t.Leave()
		}
		return
	}
	c.refreshes.Add(1)
	go func() { // as long as the run, which is bounded by FillTimeout
		defer c.pool.Release()
		defer e.EndRefresh()
		defer t.Leave()
		if err := t.Wait(context.Background(), 0); err != nil {
			e.Failed(c.store.Now(), backoffBase, backoffLimit)
		}
	}()
}

// crashed reports a panic that no client's goroutine can take: that of a
// refresh, or of a run whose client has left.
func (x *exchange) crashed(fl *engine.Flight[*fill]) {
	f, crash := fl.State, fl.Crash()
	f.mu.Lock()
	taken := f.leader != nil
	f.mu.Unlock()
	if taken || aborted(crash) {
		return
	}
	x.cache.panics.Add(1)
	x.cache.opts.Logger.Error("handler panicked, and its client has left",
		"panic", crash.Value, "path", f.req.URL.Path, "stack", string(crash.Stack))
}

// aborted reports whether a run ended in the way in which a handler says that
// nobody has to be told.
func aborted(crash *engine.Crash) bool {
	err, ok := crash.Value.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}
