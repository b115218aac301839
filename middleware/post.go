package middleware

import (
	"io"
	"net/http"
	"sync"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/rfc9111"
)

// A capture keeps the body of a response to POST that says that it is what GET
// would bring, while it goes to its client (RFC 9110 9.3.3).
type capture struct {
	x       *exchange
	verdict verdict
	gen     uint64
	place   *engine.Entry[object] // what is stored until the body is there; a purge removes it
	body    []byte
	broken  bool // or too large
}

// capture returns nil if the response is not one to be stored. What was stored
// before has been removed.
func (x *exchange) capture(status int, a *arrival) *capture {
	target, ok := x.target()
	if !ok || !rfc9111.LocatesSelf(target, headerOf(a.fields)) {
		return nil
	}
	c := x.cache
	x.q.key = x.key(x.r) // before the tags, which are of its origin
	x.hash = x.q.key.hash(c.seed)
	a.method = http.MethodPost
	v := verdict{status: status, length: a.length()}
	x.judge(&v, a)
	if !v.shared || len(v.vary) > 0 || v.search != noSearch || v.length > x.policy.MaxBodyBytes {
		return nil // a POST with Vary is too rare to be worth a variant, or a normal form
	}
	k := &capture{x: x, verdict: v, gen: c.store.Generation()}
	own := x.q.key.clone()
	k.place = &engine.Entry[object]{
		Value: object{key: own, private: reasonMethod, metrics: x.route(x.r)},
		Times: engine.NewTimes(c.store.Now(), passFor, 0, 0),
		Tags:  own.tagged(v.tags),
		Gen:   k.gen,
	}
	if !c.store.Put(x.hash, k.place, c.cost(k.place), 0) {
		return nil
	}
	return k
}

// write keeps p, which went to the client unless err says otherwise.
func (k *capture) write(p []byte, err error) {
	switch n := int64(len(p)); {
	case k.broken:
	case err != nil, int64(len(k.body))+n > k.x.policy.MaxBodyBytes, !k.x.cache.store.Reserve(n):
		k.broken = true
	default:
		k.body = append(k.body, p...)
	}
}

// store ends the capture. It stores the response if all of it was written.
func (k *capture) store(complete bool) {
	c := k.x.cache
	c.store.Release(int64(len(k.body)))
	v := &k.verdict
	if !complete || k.broken || v.length >= 0 && v.length != int64(len(k.body)) {
		c.metrics.notStored(reasonIncomplete)
		return
	}
	e, place := v.record(k.body), &k.place.Value
	e.Value.key, e.Value.sharing, e.Value.metrics = place.key, v.sharing, place.metrics
	e.Times, e.Tags, e.Gen = v.times(c.store.Now()), k.place.Tags, k.gen
	c.store.Replace(k.place, e, c.cost(e))
}

// A captured is the body of a response that its caller reads from base: what
// is read is kept as well.
type captured struct {
	io.ReadCloser
	resp *http.Response

	mu   sync.Mutex // a body may be closed while it is read
	kept *capture   // guarded by mu; nil when it has ended
}

// Read ends the capture at the end of the body.
func (b *captured) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	if b.kept != nil {
		b.kept.write(p[:n], nil)
	}
	b.mu.Unlock()
	if err != nil {
		b.end(err == io.EOF && len(b.resp.Trailer) == 0)
	}
	return n, err
}

// Close ends the capture of a body that was not read to its end.
func (b *captured) Close() error {
	b.end(false)
	return b.ReadCloser.Close()
}

func (b *captured) end(complete bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept != nil {
		b.kept.store(complete)
		b.kept = nil
	}
}
