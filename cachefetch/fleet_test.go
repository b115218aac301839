package cachefetch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

// The fleet: three processes on one store, with clocks up to a second apart, a
// store that shows changes late, delays, failures before and after the fact,
// lost connections, restarts, and every set of capabilities. What was removed is
// never served again by the process that removed it, and by the others not
// after a time that is documented.

const (
	fleetStale = 3 * time.Second
	fleetKeys  = 6

	// How long after a removal others may serve what was before: what came
	// late to the backend for a minute and, without messages, what they hold
	// for its time. With messages, what it takes to hear one.
	fleetLate        = time.Minute + 5*time.Second
	fleetHeard       = 2 * time.Second
	fleetHeardFailed = 10 * time.Minute // while calls fail
)

// A fleet is one run.
type fleet struct {
	t        *testing.T
	rnd      *rand.Rand
	store    *fleetStore
	set      int // of capabilities
	ttl      time.Duration
	faulty   bool
	far      bool // a clock is further ahead than is allowed
	procs    [3]*process
	loads    sync.WaitGroup
	log      []string
	start    time.Time
	mu       sync.Mutex
	version  [fleetKeys]int // guarded by mu; upstream
	removals [fleetKeys][]removal
	broken   string // guarded by mu
	lost     time.Time
}

// A removal says that after it a version must not be served that is older.
type removal struct {
	by   *process
	soft bool
	at   time.Time // when it returned
	min  int
}

// A process is a cache, until it is restarted.
type process struct {
	n       int
	link    *link
	c       *cachefetch.Cache[string]
	removed time.Time // last
}

func newFleet(t *testing.T, seed uint64) *fleet {
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := &fleet{
		t: t, rnd: rnd, start: time.Now(), set: int(seed % capabilities), faulty: rnd.IntN(2) == 0,
		store: &fleetStore{rnd: rand.New(rand.NewPCG(seed, 2))},
	}
	lag := time.Duration(rnd.IntN(3)) * 300 * time.Millisecond
	f.ttl = 5 * time.Second
	if f.set&hasInvalidations != 0 && rnd.IntN(2) == 0 {
		f.ttl = 10 * time.Minute
	}
	f.far = f.set&hasInvalidations != 0 && !f.faulty && rnd.IntN(3) == 0
	for i := range f.procs {
		l := &link{s: f.store, lag: lag, ahead: time.Duration(rnd.IntN(900)) * time.Millisecond}
		if f.far && i == 0 {
			l.ahead += 2*time.Second + time.Duration(rnd.Int64N(int64(time.Second)<<rnd.IntN(12)))
		}
		f.procs[i] = &process{n: i, link: l, c: f.open(l)}
		f.note("process %d: clock %v ahead, lag %v", i, l.ahead, lag)
	}
	return f
}

func (f *fleet) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf("%10.4f ", time.Since(f.start).Seconds())+fmt.Sprintf(format, args...))
}

func (f *fleet) open(l *link) *cachefetch.Cache[string] {
	c, err := cachefetch.New(cachefetch.Options[string]{
		MaxBytes: 1 << 20, TTL: f.ttl, BackendTTL: time.Hour, StaleIfError: fleetStale,
		Backend: l.with(f.set), LoadTimeout: time.Minute, LeaseWait: 2 * time.Second,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func fleetKey(i int) string { return fmt.Sprint("key", i) }
func fleetTag(i int) string { return fmt.Sprint("tag", i%2) }

// load is what upstream answers: what it had at the beginning.
func (f *fleet) load(i int, took time.Duration, fails bool) cachefetch.LoadFunc[string] {
	return func(context.Context, *cachefetch.Item[string]) (cachefetch.Item[string], error) {
		f.mu.Lock()
		v := f.version[i]
		f.mu.Unlock()
		time.Sleep(took)
		if fails {
			return cachefetch.Item[string]{}, errUpstream
		}
		return cachefetch.Item[string]{Value: fmt.Sprint(fleetKey(i), " ", v), Tags: []string{fleetTag(i)}}, nil
	}
}

// fetch fetches and checks what comes.
func (f *fleet) fetch(p *process, i int, took time.Duration, fails bool) {
	called := time.Now()
	min, fresh := f.least(p, i, called)
	r, err := p.c.FetchItem(f.t.Context(), fleetKey(i), f.load(i, took, fails))
	if errors.Is(err, errUpstream) || errors.Is(err, cachefetch.ErrClosed) || errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		f.fail("process %d: Fetch(%d): %v", p.n, i, err)
		return
	}
	f.note("process %d: Fetch(%d) = %q, %v, called %v ago", p.n, i, r.Value, r.Source, time.Since(called))
	if r.Err != nil { // it was stored, and must not have been removed while this waited
		min, fresh = f.least(p, i, time.Now().Add(-time.Millisecond))
	}
	_, s, _ := strings.Cut(r.Value, " ")
	v, _ := strconv.Atoi(s)
	if v < min || v < fresh && r.Source == cachefetch.Fresh {
		f.fail("process %d: Fetch(%d) = %q, %v, called %v ago, want %d, or %d if fresh", p.n, i, r.Value, r.Source, time.Since(called), min, fresh)
	}
}

func (f *fleet) fail(format string, args ...any) {
	f.note(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == "" {
		f.broken = fmt.Sprintf(format, args...)
	}
}

// least returns the oldest version of a key that a process may return to who
// calls now, at all and as fresh.
func (f *fleet) least(p *process, i int, now time.Time) (hard, fresh int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.removals[i] {
		bound := time.Duration(0)
		switch {
		case r.by == p:
		case f.far:
			continue
		case f.faulty:
			bound = fleetHeardFailed
		case f.set&hasInvalidations == 0:
			bound = fleetLate + f.ttl + fleetStale
		case f.lost.Before(r.at.Add(-fleetHeard)):
			bound = fleetHeard
		default:
			bound = fleetLate
		}
		if now.Sub(r.at) < bound {
			continue
		}
		if fresh = max(fresh, r.min); !r.soft {
			hard = max(hard, r.min)
		}
	}
	return hard, fresh
}

// run makes random steps, and looks at everything when all is over.
func (f *fleet) run(steps int) {
	time.Sleep(3 * time.Second) // they connect
	for range steps {
		if f.step(); f.failed() {
			break
		}
	}
	f.store.setFaults(false)
	f.loads.Wait()
	time.Sleep(fleetHeardFailed + fleetLate)
	for _, p := range f.procs {
		for i := range fleetKeys {
			f.fetch(p, i, 0, false)
		}
	}
	for _, p := range f.procs {
		if err := p.c.Close(); err != nil {
			f.fail("Close: %v", err)
		}
	}
}

func (f *fleet) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken != ""
}

// TestFleet tests seeds from 1 on, or the one in FRESHET_SEED, or, beginning
// where the clock does, what FRESHET_SOAK is enough for.
func TestFleet(t *testing.T) {
	first, n, limit, began := uint64(1), uint64(6*capabilities), time.Duration(0), time.Now()
	if testing.Short() {
		n = capabilities
	}
	if v := os.Getenv("FRESHET_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
		first, n = seed, 1
	} else if v := os.Getenv("FRESHET_SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("FRESHET_SOAK: %v", err)
		}
		limit, first = d, uint64(began.UnixMicro())
	}
	for seed := first; limit == 0 && seed < first+n || limit > 0 && time.Since(began) < limit; seed++ {
		if limit > 0 && (seed-first)%1000 == 0 {
			t.Logf("%v: seed %d", time.Since(began).Round(time.Second), seed)
		}
		var f *fleet
		synctest.Test(t, func(t *testing.T) {
			f = newFleet(t, seed)
			f.run(150)
			time.Sleep(time.Hour) // what is late ends
		})
		if f.broken != "" {
			t.Fatalf("%s\nset %04b, faulty: %v, far: %v; again with FRESHET_SEED=%d\n%s", f.broken, f.set, f.faulty, f.far, seed, strings.Join(tail(f.log, 400), "\n"))
		}
	}
}

func tail(lines []string, n int) []string { return lines[max(len(lines)-n, 0):] }
