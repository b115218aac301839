package cachefetch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

const (
	chaosTTL    = 10 * time.Second
	chaosBudget = 50 * time.Millisecond
)

// An upstream holds one version after the other of some keys, and knows since
// when each is no longer the right one. It belongs to one goroutine.
type upstream struct {
	keys    []string
	version map[string]int
	ended   map[string]time.Time // "key version" to the time the next one came
	least   map[string]int       // the oldest version that may be returned, after deletes and sets
}

func newUpstream(name string, keys int) *upstream {
	u := &upstream{version: map[string]int{}, ended: map[string]time.Time{}, least: map[string]int{}}
	for i := range keys {
		u.keys = append(u.keys, fmt.Sprint(name, i))
	}
	return u
}

var padding = strings.Repeat(".", 300)

func (u *upstream) value(key string) string {
	return fmt.Sprint(key, " ", u.version[key], " ", padding)
}

func (u *upstream) change(key string) {
	u.ended[fmt.Sprint(key, " ", u.version[key])] = time.Now()
	u.version[key]++
}

// check says what is wrong with v as the value of key.
func (u *upstream) check(key, v string) string {
	parts := strings.Split(v, " ")
	if len(parts) != 3 || parts[0] != key || parts[2] != padding {
		return "another key's, or nobody's"
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil || version > u.version[key] {
		return "there was no such version"
	}
	if version < u.least[key] {
		return fmt.Sprintf("version %d, but %d was set or deleted", version, u.least[key])
	}
	if end, ok := u.ended[fmt.Sprint(key, " ", version)]; ok && time.Since(end) > chaosTTL {
		return fmt.Sprintf("version %d, which has ended %v ago", version, time.Since(end))
	}
	return ""
}

// run makes random operations on caches that share a backend. settle is called
// after each change.
func (u *upstream) run(t *testing.T, rnd *rand.Rand, ops int, settle func(), caches ...*cachefetch.Cache[string]) {
	ctx := t.Context()
	for range ops {
		time.Sleep(time.Millisecond) // clocks that stand still tell no order
		c := caches[rnd.IntN(len(caches))]
		key := u.keys[rnd.IntN(len(u.keys))]
		switch n := rnd.IntN(100); {
		case n < 4:
			u.change(key) // and nobody is told
		case n < 8:
			u.change(key)
			if err := c.Delete(ctx, key); err != nil {
				t.Errorf("Delete: %v", err)
			}
			u.least[key] = u.version[key]
			settle()
		case n < 12:
			u.change(key)
			if err := c.Set(ctx, key, u.value(key)); err != nil {
				t.Errorf("Set: %v", err)
			}
			u.least[key] = u.version[key]
			settle()
		case n < 20:
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		default:
			start := time.Now()
			v, err := c.Fetch(ctx, key, func(context.Context) (string, error) { return u.value(key), nil })
			if err != nil {
				t.Errorf("Fetch(%q): %v", key, err)
			} else if wrong := u.check(key, v); wrong != "" {
				t.Errorf("Fetch(%q) = %.20q: %s", key, v, wrong)
			}
			// A read of the value, and one of the mark of flushes.
			if took := time.Since(start); took > 2*chaosBudget {
				t.Errorf("Fetch(%q) took %v", key, took)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestBackendChaos: whatever a backend does, a Fetch is at most slower. It is
// never wrong, and never fails.
func TestBackendChaos(t *testing.T) {
	for name, faults := range map[string]backendtest.Faults{
		"none":      {},
		"fails":     {Fail: 0.3},
		"down":      {Fail: 1},
		"panics":    {Panic: 0.3},
		"slow":      {Slow: 0.3, SlowFor: 200 * time.Millisecond},
		"stuck":     {Slow: 0.02, SlowFor: time.Minute},
		"corrupts":  {Corrupt: 0.5, Extend: 0.1},
		"truncates": {Truncate: 0.5},
		"mixes up":  {Other: 0.5, Version: 0.1},
		"old":       {Old: 0.7},
		"loses":     {Lose: 0.5},
		"late":      {Late: 0.5},
		"garbage":   {Garbage: 0.5},
		"all": {
			Fail: 0.05, Lose: 0.05, Late: 0.05, Panic: 0.05, Slow: 0.05, SlowFor: 100 * time.Millisecond, Corrupt: 0.1,
			Truncate: 0.1, Extend: 0.1, Other: 0.1, Old: 0.1, Garbage: 0.1, Version: 0.1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := backendtest.NewFaulty(new(backendtest.Memory), 1)
				f.Misbehave(faults)
				c := node(t, f, func(o *cachefetch.Options[string]) {
					// Little room here, so that much is read from the backend.
					o.MaxBytes, o.TTL, o.BackendTimeout = 16<<10, chaosTTL, chaosBudget
				})
				var wg sync.WaitGroup
				for g := range uint64(4) {
					u, rnd := newUpstream(string(rune('a'+g)), 25), rand.New(rand.NewPCG(g, 0))
					wg.Go(func() { u.run(t, rnd, 400, func() {}, c) })
				}
				wg.Wait()
				f.Misbehave(backendtest.Faults{})
				s := c.Stats()
				t.Logf("%d hits, %d loads; backend: %+v", s.Hits, s.Loads, s.Backend)
				switch {
				case name == "down" && (s.Backend.Opened != 2 || s.Backend.Errors > 100):
					t.Errorf("down: the breakers of reads and writes opened %d times, and it was asked %d times", s.Backend.Opened, s.Backend.Errors)
				case name == "none" && s.Backend.Hits < s.Loads/2:
					t.Errorf("%d hits of the backend beside %d loads: nothing is tested", s.Backend.Hits, s.Loads)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Hour) // what is stuck lets go
			})
		})
	}
}

// TestBackendFleet: three processes with all capabilities are like one. What
// one deletes or sets, none returns an older value of.
func TestBackendFleet(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, rnd := new(backendtest.Memory), rand.New(rand.NewPCG(seed, 0))
				var caches []*cachefetch.Cache[string]
				for range 3 {
					caches = append(caches, node(t, b, func(o *cachefetch.Options[string]) {
						o.MaxBytes, o.TTL, o.BackendTimeout = 16<<10, chaosTTL, chaosBudget
					}))
				}
				synctest.Wait() // they subscribe
				u := newUpstream("a", 25)
				settle := func() {
					synctest.Wait()
					if rnd.IntN(10) == 0 {
						b.Disconnect()
						synctest.Wait()
					}
				}
				u.run(t, rnd, 500, settle, caches...)
			})
		})
	}
}
