package middleware

import (
	"net/http"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/key"
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
func (r *run) settle(clean bool) {
	c := r.cache
	if r.left.Swap(settled) == deserted {
		r.orphans.Add(-1)
	}
	body, reserved, ok := r.fill.Kept()
	head, v, judged := r.fill.Verdict()
	reason := r.fill.Reason()
	var stored *entry
	defer func() { r.pin(stored, body) }()
	if reason == replayed {
		c.store.Release(reserved)
		stored = r.replayed
		return
	}
	switch {
	case ok:
		if !r.fl.Publish(func() { stored, reason = r.publish(v, body, reserved) }) {
			c.store.Release(reserved)
			reason = reasonPurged
			if r.fl.Context.Err() != nil {
				reason = reasonIncomplete
			}
		}
		if reason == "" {
			return
		}
	default:
		c.store.Release(reserved)
		switch {
		case !clean:
			reason = reasonPanic
		case reason == fill.ReasonTrailer:
			r.unfit(reason, true) // known only now
		case reason == "":
			reason = reasonIncomplete
		}
		if failed := !clean || !judged || head.Kind == fill.Instead; r.old != nil && failed {
			r.old.Failed(c.store.Now(), backoffBase, backoffLimit)
		}
	}
	c.metrics.notStored(reason)
}

// pin watches over those who are still sent the body from here. Where it is not
// stored it takes bytes that are there for bodies under way, as before, if they
// can be had: then its clients have some time.
func (r *run) pin(stored *entry, body []byte) {
	c := r.cache
	defer c.pinned.trim()
	if len(body) <= pinnedStream {
		return
	}
	size, patience := int64(0), time.Duration(0)
	if stored == nil && c.store.Reserve(int64(len(body))) {
		size, patience = int64(len(body)), pinnedPatience
	}
	unpin := c.pinned.pin(stored, body, patience, r.fill.Cut)
	r.fill.Hold(func() {
		unpin()
		c.store.Release(size)
	})
}

// publish stores a complete response, under its variant if it has one, and
// returns the entry, or why there is none.
func (r *run) publish(v *verdict, body []byte, reserved int64) (*entry, string) {
	c := r.cache
	if c.store.Superseded(r.fl.Gen, c.store.Newest(), &object{key: r.key}, v.before) {
		c.store.Release(reserved)
		return nil, reasonPurged // what the 304 was about; what it says now may have other tags
	}
	times := v.times
	rec := new(record)
	rec.response.Make(&v.draft, body, time.Now())
	e, hash := &rec.entry, r.hash
	e.Value.key, e.Value.response, e.Value.sharing, e.Value.metrics = r.key, &rec.response, v.sharing, r.of(r.req)
	e.Times, e.Tags, e.Gen, e.Share = times, r.tagged(v.tags), r.fl.Gen, r.share
	var under *rule
	if c.ruleOf(r.hash, &r.key) != nil || len(v.vary) > 0 {
		under = r.ruleFor(v.vary, times, nil)
		if under == nil {
			c.store.Release(reserved)
			return nil, reasonVariants
		}
		variant, _ := under.vary.Of(r.asked.Header)
		if variant.IsZero() {
			c.store.Release(reserved)
			return nil, reasonVariants
		}
		under.admit(r.fl.Gen)
		e.Value.variant, hash = variant.String(), variant.Mix(hash)
	}
	if !c.store.Put(hash, e, c.cost(e), reserved) {
		if c.store.Superseded(r.fl.Gen, c.store.Newest(), &e.Value, e.Tags) {
			return nil, reasonPurged
		}
		return nil, reasonTooLarge
	}
	if under != nil {
		if victim := under.keep(e, c.variantAt(&r.key)); victim != nil {
			o := &victim.Value
			c.store.Delete(victim.Hash(), lookup{o.key, o.variant})
		}
	}
	return e, ""
}

// ruleOf returns the rule by which the responses of a key vary, or nil.
func (c *Cache) ruleOf(hash uint64, k *key.Key) *rule {
	if e := c.store.Peek(hash, lookup{key: *k}); e != nil {
		return e.Value.rule
	}
	return nil
}

// announce makes it known, at the header of a response, how the key's responses
// vary: those who wait for it, and have another variant, begin a run of their
// own now. It takes nothing away from what is stored.
func (r *run) announce(v *verdict) {
	c := r.cache
	if e := c.store.Peek(r.hash, lookup{key: r.key}); e != nil && (e.Value.response != nil || e.Value.rule != nil) {
		return
	}
	made := r.newRule(v.vary)
	// Before it can be found, since who finds it asks for a variant; and not
	// while publishing, whose lock is acquired after that of flights.
	if variant, _ := made.vary.Of(r.asked.Header); !variant.IsZero() {
		r.fl.Alias(flightName(&r.key, variant, r.method))
	}
	r.fl.Publish(func() { r.ruleFor(v.vary, v.times, made) })
}

func (r *run) newRule(fields []string) *rule {
	made := &rule{vary: key.NewVary(fields, r.cache.seed), limit: r.policy.MaxVariants}
	made.born.Store(r.fl.Gen)
	return made
}

// ruleFor returns the rule that a response is stored under, and makes sure that
// it can be found for as long as the response. If there is one that does not
// name all that the response varies by, it is replaced by one that does, since a
// response that is kept apart by too many fields is right, and one that is kept
// apart by too few is another's. A new rule is the one that was made, if that will
// do. It returns nil if there can be none.
func (r *run) ruleFor(vary []string, times engine.Times, made *rule) *rule {
	c := r.cache
	e := c.store.Peek(r.hash, lookup{key: r.key})
	var known *rule
	// A run under it may be under way when the response has expired.
	horizon := times.Horizon().Add(r.policy.FillTimeout)
	switch {
	case e == nil:
	case e.Value.rule != nil:
		if known = e.Value.rule; known.vary.Covers(vary) && e.Times.Horizon() >= horizon {
			c.store.Use(e)
			return known
		}
		horizon = max(horizon, e.Times.Horizon())
	case e.Value.response != nil && len(unkeyed(r.asked.Header)) > 0 && e.State(c.store.Now()) != engine.Gone:
		// A request with fields that handlers may heed, and that nobody names,
		// does not take its place.
		return nil
	}
	fields := vary
	if known != nil {
		fields = key.Union(known.vary.Fields(), fields)
	}
	if known == nil || !known.vary.Covers(fields) {
		if known = made; known == nil || !known.vary.Covers(fields) {
			known = r.newRule(fields)
		}
	}
	put := &entry{
		Value: object{key: r.key, rule: known},
		Times: engine.NewTimes(times.Stored, horizon.Sub(times.Stored), 0, 0),
		Tags:  r.tagged(nil),
		Gen:   c.store.Generation(),
		Share: r.share,
	}
	if !c.store.Put(r.hash, put, c.cost(put), 0) {
		return nil
	}
	c.store.Use(put) // else it might make room for what is put under it
	return known
}

// tagged returns tags with those of the URL.
func (r *run) tagged(tags []string) []string {
	names := r.key.Names()
	all := make([]string, 0, len(names)+len(tags))
	for _, name := range names {
		all = append(all, name.Tag(r.cache.seed))
	}
	return append(all, tags...)
}

// unfit is called when it is known that the response is not stored: nobody
// joins the run any more. Where the next one will not be stored either, that is
// remembered for a while. It is not where that would take the place of what
// others can use, nor of an error or an accident.
func (r *run) unfit(reason string, lasting bool) {
	r.fl.Disown()
	if !lasting || reason == reasonEmpty || r.status >= 500 || r.method == http.MethodHead {
		return // a HEAD says nothing of what GET would bring
	}
	r.fl.Publish(func() { r.remember(reason) })
}

// remember notes for a while that responses are not shared: to requests like the
// one that has shown it, as far as the response's Vary and the request's own
// fields tell them apart from others.
func (r *run) remember(why string) {
	c, plain := r.cache, r.plain(r.asked)
	times := engine.NewTimes(c.store.Now(), passFor, passMore, 0)
	e, v, _ := c.find(r.hash, &r.key, r.asked.Header, c.store.Now())
	if e != nil {
		usable := e.State(c.store.Now()) != engine.Gone
		switch {
		case e.Value.response != nil && (!plain || usable && !replaces(r.status, true)):
			return
		case e.Value.private != "" && !e.Value.apart && !plain && usable:
			return
		}
	}
	if len(r.varies) > 0 {
		rule := r.ruleFor(r.varies, times, nil)
		if rule == nil {
			return
		}
		v, _ = rule.vary.Of(r.asked.Header)
		if v.IsZero() {
			return
		}
		rule.admit(r.fl.Gen)
	}
	mark := &entry{
		Value: object{key: r.key, variant: v.String(), private: why, apart: !plain},
		Times: times,
		Tags:  r.tagged(nil),
		Gen:   r.fl.Gen,
		Share: r.share,
	}
	c.store.Put(v.Mix(r.hash), mark, c.cost(mark), 0)
}
