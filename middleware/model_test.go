package middleware_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The model is a random test of what must always hold, by the exported names
// alone. From a seed it draws a plan (model_plan_test.go): a policy, some places
// of an origin that does what origins do (model_origin_test.go), clients who
// come, go and read as clients do (model_client_test.go), and removals between
// them. Each body says what it is a part of (model_body_test.go), so whatever a
// client got can be judged afterwards (model_check_test.go) without a second
// cache to compare with. A history that fails is made small
// (model_shrink_test.go).
//
// TestModel has a clock of its own and a network in memory; TestModelSockets
// has real ones, and with them what really runs side by side.

const (
	modelSeeds  = 80
	socketSeeds = 8
	socketWidth = 8 // at once: their clients mostly sleep
)

func TestModel(t *testing.T) {
	each(t, modelSeeds, runtime.GOMAXPROCS(0), func(t *testing.T, seed uint64) bool {
		h := newPlan(seed, virtualPace)
		return judge(t, h, func(h *plan) (m *world, faults []fault) {
			synctest.Test(t, func(t *testing.T) { m, faults = happenVirtually(t, h) })
			return m, faults
		})
	})
}

func TestModelSockets(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		each(t, socketSeeds, socketWidth, func(t *testing.T, seed uint64) bool {
			return judge(t, newPlan(seed, socketPace), func(h *plan) (*world, []fault) {
				m, end, err := newWorld(h, sockets{})
				if err != nil {
					t.Fatal(err)
				}
				m.happen()
				end()
				return m, m.check()
			})
		})
	})
	for began := time.Now(); runtime.NumGoroutine() > before+2; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// happenVirtually has a plan happen in the bubble of the caller.
func happenVirtually(t *testing.T, h *plan) (*world, []fault) {
	m, end, err := newWorld(h, pipes{})
	if err != nil {
		t.Fatal(err)
	}
	m.happen()
	end()
	time.Sleep(time.Hour)
	synctest.Wait()
	if left := bubbled(); len(left) > 0 {
		// The end of the bubble is a panic then, and no word of the test's is heard.
		_, _ = os.Stderr.WriteString("model: seed " + strconv.FormatUint(h.seed, 10) + ": left after Close:\n" + strings.Join(left, "\n\n") + "\n" + h.String())
		m.fault("goroutines", "%d are left after Close, the first: %s", len(left), left[0])
	}
	return m, m.check()
}

// judge fails t if a plan does not go as promised.
func judge(t *testing.T, h *plan, happen func(*plan) (*world, []fault)) bool {
	m, faults := happen(h)
	if len(faults) == 0 {
		return true
	}
	all := len(h.ops)
	small, again, faults := shrink(h, faults, happen, 30*time.Second)
	if again != nil {
		m = again
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	t.Error(report(small, m, faults, all, test))
	return false
}

// each tests seeds from 1 to n, width of them at once, or the one in
// FRESHET_SEED, or, beginning where the clock does, what half of FRESHET_SOAK is
// enough for.
func each(t *testing.T, n uint64, width int, test func(t *testing.T, seed uint64) bool) {
	if v := os.Getenv("FRESHET_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
		for range 10 { // it may go otherwise each time
			if !test(t, seed) {
				return
			}
		}
		return
	}
	first, began, limit := uint64(1), time.Now(), time.Duration(0)
	if v := os.Getenv("FRESHET_SOAK"); v != "" {
		var err error
		if limit, err = time.ParseDuration(v); err != nil {
			t.Fatalf("FRESHET_SOAK: %v", err)
		}
		limit /= 2 // each of the two tests
		first = uint64(began.UnixMicro())
	}
	var count atomic.Uint64
	var failed atomic.Bool
	var all sync.WaitGroup
	for w := range width {
		all.Go(func() {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				for !failed.Load() {
					i := count.Add(1) - 1
					if limit == 0 && i >= n || limit > 0 && time.Since(began) > limit {
						return
					}
					if limit > 0 && i%1000 == 0 {
						t.Logf("%v: seed %d", time.Since(began).Round(time.Second), first+i)
					}
					if !test(t, first+i) {
						failed.Store(true)
					}
				}
			})
		})
	}
	all.Wait()
	if limit > 0 {
		t.Logf("%d histories from seed %d on", count.Load(), first)
	}
}
