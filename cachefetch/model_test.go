package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The model is a plain map of what has to be stored, with nothing of what makes
// a cache fast. Loads take no time and refreshes are waited for, so that it
// says exactly what each call returns.

const (
	modelTTL      = 10 * time.Second
	modelSWR      = 5 * time.Second
	modelSIE      = 20 * time.Second
	modelNegative = 3 * time.Second
)

var modelOptions = Options[string]{
	MaxBytes: 1 << 20, TTL: modelTTL, StaleWhileRevalidate: modelSWR, StaleIfError: modelSIE,
	NegativeTTL: modelNegative, RefreshBackoff: 1, FailureTTL: 1, BatchSize: 2,
}

type modelEntry struct {
	value      string
	none       bool // that there is nothing was stored
	etag       string
	tags       []string
	ttl        time.Duration // as given
	stored     time.Time
	freshUntil time.Time
	swr, sie   time.Duration
}

func (e *modelEntry) soften(now time.Time) {
	if now.Before(e.freshUntil) {
		e.freshUntil = now
	}
}

func (e *modelEntry) fresh(now time.Time) bool { return now.Before(e.freshUntil) }
func (e *modelEntry) refreshed(now time.Time) bool {
	return !e.fresh(now) && now.Before(e.freshUntil.Add(e.swr))
}
func (e *modelEntry) usable(now time.Time) bool {
	return e.fresh(now) || now.Before(e.freshUntil.Add(e.sie))
}

// certain reports whether the entry cannot have been swept.
func (e *modelEntry) certain(now time.Time) bool {
	end := e.freshUntil.Add(max(e.swr, e.sie))
	if e.etag != "" {
		end = end.Add(keepForValidation)
	}
	return now.Before(end)
}

// A modelOp is one call, and what upstream does if it is asked.
type modelOp struct {
	Kind     string
	Key      string
	Keys     []string
	Name     string // tag or prefix
	Mode     Mode
	Upstream string
	TTL      time.Duration
	Tags     []string
	ETag     bool
	Move     time.Duration
}

var (
	modelKeys = []string{"", "a", "ab", "b", "b/c"}
	modelTags = []string{"red", "blue"}
)

var modelOps = rapid.Custom(func(t *rapid.T) modelOp {
	return modelOp{
		Kind:     rapid.SampledFrom([]string{"fetch", "fetch", "fetch", "many", "set", "delete", "expire", "tag", "prefix", "flush", "move", "move"}).Draw(t, "kind"),
		Key:      rapid.SampledFrom(modelKeys).Draw(t, "key"),
		Keys:     rapid.SliceOfN(rapid.SampledFrom(modelKeys), 0, 6).Draw(t, "keys"),
		Name:     rapid.SampledFrom([]string{"red", "blue", "", "a", "b", "b/"}).Draw(t, "name"),
		Mode:     rapid.SampledFrom([]Mode{Hard, Soft}).Draw(t, "mode"),
		Upstream: rapid.SampledFrom([]string{"value", "value", "same", "error", "none", "private"}).Draw(t, "upstream"),
		TTL:      rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Second, -1}).Draw(t, "ttl"),
		Tags:     rapid.SliceOfNDistinct(rapid.SampledFrom(modelTags), 0, 2, rapid.ID).Draw(t, "tags"),
		ETag:     rapid.Bool().Draw(t, "etag"),
		Move:     time.Duration(rapid.IntRange(1, 8000).Draw(t, "move")) * time.Millisecond,
	}
})

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(modelOps, 1, 50).Draw(rt, "ops")
		var broken string
		synctest.Test(t, func(t *testing.T) {
			c, err := New(modelOptions)
			if err != nil {
				t.Fatal(err)
			}
			m := &model{c: c, m: make(map[string]*modelEntry)}
			for i, op := range ops {
				m.do(op)
				synctest.Wait() // for refreshes
				time.Sleep(time.Microsecond)
				m.lookAtAll()
				if m.broken != "" {
					broken = fmt.Sprintf("operation %d, %+v: %s", i, op, m.broken)
					break
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		if broken != "" {
			rt.Fatal(broken)
		}
	})
}

type model struct {
	c      *Cache[string]
	m      map[string]*modelEntry
	seq    int
	broken string
}

func (m *model) fail(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf(format, args...)
	}
}

func (m *model) do(op modelOp) {
	ctx, now := context.Background(), time.Now()
	var err error
	switch op.Kind {
	case "fetch":
		m.fetch(op, now)
	case "many":
		m.many(op, now)
	case "set":
		m.seq++
		it := m.item(op)
		m.store(op.Key, it, nil)
		err = m.c.SetItem(ctx, op.Key, it)
	case "delete":
		delete(m.m, op.Key)
		err = m.c.Delete(ctx, op.Key)
	case "expire":
		m.purge(Soft, func(key string, _ *modelEntry) bool { return key == op.Key })
		err = m.c.Expire(ctx, op.Key)
	case "tag":
		m.purge(op.Mode, func(_ string, e *modelEntry) bool { return slices.Contains(e.tags, op.Name) })
		err = m.c.PurgeTag(ctx, op.Name, op.Mode)
	case "prefix":
		m.purge(op.Mode, func(key string, _ *modelEntry) bool { return strings.HasPrefix(key, op.Name) })
		err = m.c.PurgePrefix(ctx, op.Name, op.Mode)
	case "flush":
		m.purge(op.Mode, func(string, *modelEntry) bool { return true })
		err = m.c.Flush(ctx, op.Mode)
	case "move":
		time.Sleep(op.Move)
	}
	if err != nil {
		m.fail("%v", err)
	}
}

func (m *model) purge(mode Mode, applies func(key string, e *modelEntry) bool) {
	for key, e := range m.m {
		switch {
		case !applies(key, e):
		case mode == Soft:
			e.soften(time.Now())
		default:
			delete(m.m, key)
		}
	}
}

// item is what upstream has now.
func (m *model) item(op modelOp) Item[string] {
	it := Item[string]{Value: fmt.Sprint("v", m.seq), TTL: op.TTL, Tags: op.Tags}
	if op.ETag {
		it.ETag = fmt.Sprint(m.seq)
	}
	return it
}

func (m *model) store(key string, it Item[string], err error) {
	e := &modelEntry{value: it.Value, etag: it.ETag, tags: it.Tags, ttl: it.TTL, stored: time.Now(), swr: modelSWR, sie: modelSIE}
	ttl := orDefault(it.TTL, modelTTL)
	if err != nil {
		ttl = orDefault(it.TTL, modelNegative)
		e.value, e.etag, e.none, e.swr, e.sie = "", "", true, 0, 0
		if ttl == 0 {
			delete(m.m, key)
			return
		}
	}
	e.freshUntil = e.stored.Add(ttl)
	m.m[key] = e
}

// load is what upstream answers to the load of key, given old. It books in
// the model what has to be stored.
func (m *model) load(op modelOp, key string, old *Item[string]) (Item[string], error) {
	m.seq++
	e := m.m[key]
	switch {
	case old == nil && e != nil && !e.none && e.certain(time.Now()):
		m.fail("load of %q was not given %q", key, e.value)
	case old != nil && (e == nil || e.none):
		m.fail("load of %q was given %q, which must be gone", key, old.Value)
	case old != nil && (old.Value != e.value || old.ETag != e.etag || old.TTL != e.ttl || !slices.Equal(old.Tags, e.tags)):
		m.fail("load of %q was given %+v, want %+v", key, *old, *e)
	}
	it := m.item(op)
	switch {
	case op.Upstream == "error":
		return Item[string]{}, errUpstream
	case op.Upstream == "none":
		m.store(key, it, ErrNotFound)
		return it, fmt.Errorf("no %q: %w", key, ErrNotFound)
	case op.Upstream == "private":
		delete(m.m, key)
		it.NoStore = true
	case op.Upstream == "same" && old != nil:
		it = Item[string]{NotModified: true, Value: "ignored"}
		m.store(key, *old, nil)
	default:
		m.store(key, it, nil)
	}
	return it, nil
}

// check compares what a fetch of key returned with what it has to, given what
// was stored before. What was loaded is booked by now.
func (m *model) check(key string, was *modelEntry, now time.Time, upstream string, loads int, got Result[string]) {
	state, want := "missing", Result[string]{}
	wantLoads := 1
	switch {
	case was != nil && was.fresh(now):
		state, want, wantLoads = "fresh", Result[string]{Value: was.value, Source: Fresh, Age: now.Sub(was.stored)}, 0
	case was != nil && was.refreshed(now):
		state, want = "refreshed behind", Result[string]{Value: was.value, Source: Stale, Age: now.Sub(was.stored)}
	case upstream == "error" && was != nil && was.usable(now):
		state, want = "usable after an error", Result[string]{Value: was.value, Source: Stale, Age: now.Sub(was.stored), Err: errUpstream}
	case upstream == "error":
		want = Result[string]{Err: errUpstream}
	case upstream == "none":
		want = Result[string]{Err: ErrNotFound}
	default:
		want = Result[string]{Value: fmt.Sprint("v", m.seq), Source: Loaded}
		if e := m.m[key]; e != nil {
			want.Value = e.value // validated, perhaps
		}
	}
	if was != nil && was.none && was.fresh(now) {
		want = Result[string]{Err: ErrNotFound, Age: now.Sub(was.stored)}
	}
	if got.Value != want.Value || got.Source != want.Source || got.Age != want.Age || !errors.Is(got.Err, want.Err) || (got.Err == nil) != (want.Err == nil) {
		m.fail("%q is %s: got %+v, want %+v", key, state, got, want)
	}
	if loads != wantLoads {
		m.fail("%q is %s: %d loads", key, state, loads)
	}
}

func (m *model) fetch(op modelOp, now time.Time) {
	was := m.was(op.Key)
	loads := 0
	r, err := m.c.FetchItem(context.Background(), op.Key, func(_ context.Context, old *Item[string]) (Item[string], error) {
		loads++
		return m.load(op, op.Key, old)
	})
	synctest.Wait()
	if (err != nil) != (r.Source == None) {
		m.fail("error %v beside %+v", err, r)
	}
	m.check(op.Key, was, now, op.Upstream, loads, r)
}

// was returns a copy of the entry of key.
func (m *model) was(key string) *modelEntry {
	e := m.m[key]
	if e == nil {
		return nil
	}
	was := *e
	return &was
}

func (m *model) many(op modelOp, now time.Time) {
	if op.Upstream == "same" || op.Upstream == "private" { // a batch cannot say so
		op.Upstream = "value"
	}
	op.TTL, op.Tags, op.ETag = 0, nil, false
	was := make(map[string]*modelEntry)
	for _, key := range op.Keys {
		was[key] = m.was(key)
	}
	loads := make(map[string]int)
	booked := make(chan struct{}, 1) // calls of the load are side by side
	results, _ := m.c.FetchMany(context.Background(), op.Keys, func(_ context.Context, keys []string) (map[string]string, error) {
		booked <- struct{}{}
		defer func() { <-booked }()
		if len(keys) > modelOptions.BatchSize {
			m.fail("%d keys in one batch", len(keys))
		}
		values, errs := map[string]string{}, KeyErrors{}
		for _, key := range keys {
			loads[key]++
			it, err := m.loadPlain(op, key)
			if values[key] = it.Value; err != nil {
				delete(values, key)
				errs[key] = err
			}
		}
		return values, errs
	})
	synctest.Wait()
	if len(results) != len(op.Keys) {
		m.fail("%d results for %d keys", len(results), len(op.Keys))
		return
	}
	for i, key := range op.Keys {
		m.check(key, was[key], now, op.Upstream, loads[key], results[i])
	}
}

// loadPlain is load for a batch, which is given nothing.
func (m *model) loadPlain(op modelOp, key string) (Item[string], error) {
	e := m.m[key]
	delete(m.m, key)
	it, err := m.load(op, key, nil)
	if err != nil && !errors.Is(err, ErrNotFound) && e != nil {
		m.m[key] = e
	}
	return it, err
}

// lookAtAll compares what Get returns with the model.
func (m *model) lookAtAll() {
	now := time.Now()
	for _, key := range modelKeys {
		e := m.m[key]
		v, ok := m.c.Get(key)
		if want := e != nil && !e.none && e.fresh(now); ok != want || ok && v != e.value {
			m.fail("Get(%q) = %q, %v, want %+v", key, v, ok, e)
		}
	}
}
