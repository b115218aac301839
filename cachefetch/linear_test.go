package cachefetch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// Histories of calls that really run at the same time are checked to be
// linearizable: what they returned is what they would have returned one after
// the other, in some order in which each stands between its beginning and its
// end. A load brings what was not there before: who waits for one that a Set or
// a purge has overtaken gets its value as if it had come first, and nobody who
// came later does. What was loaded may be dropped at any time, as it is when a
// purge comes while it is being loaded. What was set may not.

// A linearOp is a call of one key. A call of several is one for each.
type linearOp struct {
	kind  string // fetch, get, set or remove
	key   string
	value int64 // of a set
}

// A linearResult is what it returned.
type linearResult struct {
	value int64 // 0 = none
	err   error
}

// A linearState is what is stored under a key, and all that was before: values
// are never stored twice, so none may come back.
type linearState struct {
	value  int64 // 0 = nothing is stored, or that there is nothing
	set    bool  // value was set
	before string
}

func (s linearState) holding(v int64, set bool) linearState {
	return linearState{value: v, set: set, before: s.before + fmt.Sprint(" ", s.value, " ")}
}

func (s linearState) had(v int64) bool { return strings.Contains(s.before, fmt.Sprint(" ", v, " ")) }

// step reports whether an operation may return what it has, and the state after.
func (s linearState) step(op linearOp, r linearResult) (bool, linearState) {
	switch {
	case op.kind == "set":
		return true, s.holding(op.value, true)
	case op.kind == "remove":
		return true, s.holding(0, false)
	case r.value != 0 && r.value == s.value:
		return true, s
	case s.set:
		return false, s
	case r.value == 0:
		return true, s.holding(0, false)
	}
	return op.kind == "fetch" && !s.had(r.value), s.holding(r.value, false)
}

var linearModel = porcupine.Model{
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(linearState).step(input.(linearOp), output.(linearResult))
	},
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := make(map[string][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(linearOp).key
			by[key] = append(by[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// The model itself must find what it is there for.
func TestLinearModelFindsFaults(t *testing.T) {
	op := func(call, end int64, kind string, value int64, r linearResult) porcupine.Operation {
		return porcupine.Operation{Input: linearOp{kind: kind, value: value}, Output: r, Call: call, Return: end}
	}
	for name, tt := range map[string]struct {
		ok      bool
		history []porcupine.Operation
	}{
		"a load that a delete overtakes": {true, []porcupine.Operation{
			op(1, 6, "fetch", 0, linearResult{value: 5}), op(2, 3, "remove", 0, linearResult{}), op(7, 8, "get", 0, linearResult{}),
		}},
		"it is stored all the same": {false, []porcupine.Operation{
			op(1, 6, "fetch", 0, linearResult{value: 5}), op(2, 3, "remove", 0, linearResult{}), op(4, 5, "get", 0, linearResult{}),
			op(7, 8, "get", 0, linearResult{value: 5}), op(9, 10, "get", 0, linearResult{}), op(11, 12, "get", 0, linearResult{value: 5}),
		}},
		"a value that comes back": {false, []porcupine.Operation{
			op(1, 2, "set", 5, linearResult{}), op(3, 4, "set", 6, linearResult{}), op(5, 6, "remove", 0, linearResult{}),
			op(7, 8, "fetch", 0, linearResult{value: 5}),
		}},
		"an error beside a value": {false, []porcupine.Operation{
			op(1, 2, "set", 5, linearResult{}), op(3, 4, "fetch", 0, linearResult{err: errUpstream}),
		}},
		"a load that undoes a set": {false, []porcupine.Operation{
			op(1, 4, "fetch", 0, linearResult{value: 5}), op(2, 3, "set", 6, linearResult{}), op(5, 6, "get", 0, linearResult{value: 5}),
		}},
		"a set that is lost": {false, []porcupine.Operation{
			op(1, 4, "fetch", 0, linearResult{err: ErrNotFound}), op(2, 3, "set", 6, linearResult{}), op(5, 6, "get", 0, linearResult{}),
		}},
	} {
		if got := porcupine.CheckOperations(linearModel, tt.history); got != tt.ok {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLinearizable(t *testing.T) {
	limit := 2 * time.Second
	if v := os.Getenv("FRESHET_SOAK"); v != "" {
		var err error
		if limit, err = time.ParseDuration(v); err != nil {
			t.Fatalf("FRESHET_SOAK: %v", err)
		}
	}
	began := time.Now()
	for rounds := 0; time.Since(began) < limit; rounds++ {
		if rounds%1000 == 0 && rounds > 0 {
			t.Logf("%v: %d histories", time.Since(began).Round(time.Second), rounds)
		}
		for _, h := range linearModel.Partition(happenLinearly(t)) {
			switch porcupine.CheckOperationsTimeout(linearModel, h, 20*time.Second) {
			case porcupine.Unknown:
				t.Log("a history took too long to check")
			case porcupine.Illegal:
				var all strings.Builder
				for _, o := range h {
					fmt.Fprintf(&all, "%d: %d to %d: %s\n", o.ClientId, o.Call, o.Return, linearModel.DescribeOperation(o.Input, o.Output))
				}
				t.Fatalf("history %d is not linearizable:\n%s", rounds, all.String())
			}
		}
	}
}

// A linearWorld is a cache and the clients that call it.
type linearWorld struct {
	c      *Cache[int64]
	clock  atomic.Int64 // of the history
	values atomic.Int64

	mu      sync.Mutex
	history []porcupine.Operation // guarded by mu
}

func happenLinearly(t *testing.T) []porcupine.Operation {
	// Closed here and not by t.Cleanup, which would hold each of the caches of an
	// hour to its end.
	c, err := New(Options[int64]{MaxBytes: 1 << 20, TTL: time.Hour, NegativeTTL: time.Hour, BatchSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	w := &linearWorld{c: c}
	var wg sync.WaitGroup
	for client := range 5 {
		wg.Go(func() {
			for range 12 {
				w.call(client)
			}
		})
	}
	wg.Wait()
	if err := w.c.Close(); err != nil {
		t.Error(err)
	}
	return w.history
}

// load brings a new value, an error, or the news that there is nothing. It may
// let others go first.
func (w *linearWorld) load() (int64, error) {
	for range rand.IntN(3) {
		runtime.Gosched()
	}
	switch rand.IntN(8) {
	case 0:
		return 0, errUpstream
	case 1:
		return 0, ErrNotFound
	}
	v := w.values.Add(1)
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
	}
	return v, nil
}

var linearKeys = []string{"a", "ab", "b"}

// call makes a random call and notes what came of it.
func (w *linearWorld) call(client int) {
	ctx := context.Background()
	key := linearKeys[rand.IntN(len(linearKeys))]
	began := w.clock.Add(1)
	note := func(op linearOp, r linearResult) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.history = append(w.history, porcupine.Operation{ClientId: client, Input: op, Output: r, Call: began, Return: w.clock.Add(1)})
	}
	switch rand.IntN(10) {
	case 0, 1, 2:
		r, err := w.c.FetchItem(ctx, key, func(context.Context, *Item[int64]) (Item[int64], error) {
			v, err := w.load()
			return Item[int64]{Value: v, Tags: []string{key}}, err
		})
		note(linearOp{kind: "fetch", key: key}, linearResult{r.Value, err})
	case 3:
		v, err := w.c.Fetch(ctx, key, func(context.Context) (int64, error) { return w.load() })
		note(linearOp{kind: "fetch", key: key}, linearResult{v, err})
	case 4:
		results, _ := w.c.FetchMany(ctx, linearKeys, func(_ context.Context, keys []string) (map[string]int64, error) {
			values, errs := make(map[string]int64), make(KeyErrors)
			for _, key := range keys {
				v, err := w.load()
				if errs[key] = err; err == nil {
					values[key] = v
				}
			}
			return values, errs
		})
		for i, r := range results {
			note(linearOp{kind: "fetch", key: linearKeys[i]}, linearResult{r.Value, r.Err})
		}
	case 5:
		v, _ := w.c.Get(key)
		note(linearOp{kind: "get", key: key}, linearResult{value: v})
	case 6:
		v := w.values.Add(1)
		if err := w.c.SetItem(ctx, key, Item[int64]{Value: v, Tags: []string{key}}); err == nil {
			note(linearOp{kind: "set", key: key, value: v}, linearResult{})
		}
	case 7:
		if err := w.c.Delete(ctx, key); err == nil {
			note(linearOp{kind: "remove", key: key}, linearResult{})
		}
	default:
		w.purge(ctx, key, note)
	}
}

// purge removes by a name what a Delete of each of its keys would, softly or
// not: there are no stale windows. Not by tag: what Fetch and FetchMany load
// has none.
func (w *linearWorld) purge(ctx context.Context, key string, note func(linearOp, linearResult)) {
	mode := []Mode{Hard, Soft}[rand.IntN(2)]
	prefix := key[:rand.IntN(2)]
	err := w.c.PurgePrefix(ctx, prefix, mode)
	if prefix == "" && rand.IntN(2) == 0 {
		err = w.c.Flush(ctx, mode)
	}
	for _, k := range linearKeys {
		if err == nil && strings.HasPrefix(k, prefix) {
			note(linearOp{kind: "remove", key: k}, linearResult{})
		}
	}
}
