package cachefetch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// What must hold of every call however calls, loads and purges overlap, where
// a model cannot say exactly what each of them returns.

// A happening is a call that begins at some instant, no two at the same.
type happening struct {
	Kind string
	Key  string
	Keys []string
	Name string
	At   time.Duration
	Took time.Duration // of the load
	Fail bool
}

var happenings = rapid.Custom(func(t *rapid.T) happening {
	return happening{
		Kind: rapid.SampledFrom([]string{"fetch", "fetch", "fetch", "many", "delete", "tag", "prefix", "flush"}).Draw(t, "kind"),
		Key:  rapid.SampledFrom(modelKeys).Draw(t, "key"),
		Keys: rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys), 1, 4, rapid.ID).Draw(t, "keys"),
		Name: rapid.SampledFrom([]string{"red", "a", "b"}).Draw(t, "name"),
		At:   time.Duration(rapid.IntRange(0, 300).Draw(t, "at")) * 100 * time.Millisecond,
		Took: time.Duration(rapid.IntRange(0, 40).Draw(t, "took")) * 100 * time.Millisecond,
		Fail: rapid.Bool().Draw(t, "fail"),
	}
})

func TestModelConcurrent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hs := rapid.SliceOfN(happenings, 2, 40).Draw(rt, "happenings")
		var w *world
		synctest.Test(t, func(t *testing.T) {
			o := modelOptions
			o.SoftTimeout = time.Second
			c, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			w = &world{c: c, began: time.Now()}
			var wg sync.WaitGroup
			for i, h := range hs {
				wg.Go(func() {
					time.Sleep(h.At + time.Duration(i)*time.Microsecond)
					w.do(h)
				})
			}
			wg.Wait()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // for loads that nobody waits for any more
		})
		if len(w.broken) > 0 {
			rt.Fatal(strings.Join(w.broken, "\n"))
		}
	})
}

type world struct {
	c     *Cache[string]
	began time.Time

	mu     sync.Mutex
	purges []modelPurge
	broken []string
}

// A modelPurge has removed, when it returned at at, what it applies to.
type modelPurge struct {
	happening
	at time.Duration
}

// hasRed reports whether loads of key give it the tag "red". Those of a batch
// do not.
func hasRed(key string) bool { return strings.Contains(key, "b") }

func (p *modelPurge) applies(key string, tag bool) bool {
	switch p.Kind {
	case "delete":
		return p.Key == key
	case "tag":
		return tag && p.Name == "red"
	case "prefix":
		return strings.HasPrefix(key, p.Name)
	}
	return true
}

// value is what upstream returns for a load that begins now.
func (w *world) value(key string, took time.Duration, tag bool) string {
	return fmt.Sprintf("%q %d %d %v", key, time.Since(w.began), took, tag)
}

func (w *world) do(h happening) {
	ctx, called := context.Background(), time.Since(w.began)
	var err error
	switch h.Kind {
	case "fetch":
		r, _ := w.c.FetchItem(ctx, h.Key, func(ctx context.Context, _ *Item[string]) (Item[string], error) {
			it := Item[string]{Value: w.value(h.Key, h.Took, hasRed(h.Key))}
			if hasRed(h.Key) {
				it.Tags = []string{"red"}
			}
			time.Sleep(h.Took)
			if h.Fail {
				return Item[string]{}, errUpstream
			}
			return it, nil
		})
		w.check(h.Key, called, r)
		return
	case "many":
		results, _ := w.c.FetchMany(ctx, h.Keys, func(_ context.Context, keys []string) (map[string]string, error) {
			values := make(map[string]string)
			for _, key := range keys {
				values[key] = w.value(key, h.Took, false)
			}
			time.Sleep(h.Took)
			if h.Fail {
				return nil, errUpstream
			}
			return values, nil
		})
		for i, key := range h.Keys {
			w.check(key, called, results[i])
		}
		return
	case "delete":
		err = w.c.Delete(ctx, h.Key)
	case "tag":
		err = w.c.PurgeTag(ctx, h.Name, Hard)
	case "prefix":
		err = w.c.PurgePrefix(ctx, h.Name, Hard)
	case "flush":
		err = w.c.Flush(ctx, Hard)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.purges = append(w.purges, modelPurge{h, called})
	if err != nil {
		w.broken = append(w.broken, err.Error())
	}
}

// check checks the result of a call that began at called.
func (w *world) check(key string, called time.Duration, r Result[string]) {
	now := time.Since(w.began)
	w.mu.Lock()
	defer w.mu.Unlock()
	fail := func(format string, args ...any) {
		w.broken = append(w.broken, fmt.Sprintf("fetch of %q at %v returned at %v %+v: ", key, called, now, r)+fmt.Sprintf(format, args...))
	}
	if r.Source == None {
		if r.Err == nil {
			fail("neither value nor error")
		}
		return
	}
	var of string
	var began, took time.Duration
	var tag bool
	if _, err := fmt.Sscanf(r.Value, "%q %d %d %t", &of, &began, &took, &tag); err != nil {
		fail("%v", err)
		return
	}
	if of != key {
		fail("the value of another key")
	}
	if i := slices.IndexFunc(w.purges, func(p modelPurge) bool {
		return p.applies(key, tag) && began < p.at && p.at < called
	}); i >= 0 {
		fail("loaded before %+v, which came before the call", w.purges[i])
	}
	// FetchMany has looked at some values before it waited for others.
	age := r.Age
	switch {
	case now-began-took < age || age < called-began-took:
		fail("it is %v old", now-began-took)
	case r.Source == Fresh && age >= modelTTL:
		fail("it is not fresh")
	case r.Source == Stale && age >= modelTTL+modelSIE:
		fail("it is outside its windows")
	case (r.Source == Loaded || r.Source == Coalesced) && age > now-called:
		fail("it was loaded %v ago", age)
	}
	if limit := called + 2*4*time.Second + time.Second; now > limit {
		fail("took too long")
	}
}
