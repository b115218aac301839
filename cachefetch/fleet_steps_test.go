package cachefetch_test

import (
	"fmt"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

// remove changes upstream, and has a process remove what was before.
func (f *fleet) remove(p *process) {
	ctx, i := f.t.Context(), f.rnd.IntN(fleetKeys)
	mode := cachefetch.Mode(f.rnd.IntN(2))
	kind := f.rnd.IntN(10)
	affects := func(k int) bool { return k == i }
	switch kind {
	case 6, 7:
		affects = func(k int) bool { return fleetTag(k) == fleetTag(i) }
	case 8, 9:
		affects = func(int) bool { return true }
	}
	f.mu.Lock()
	var least [fleetKeys]int
	for k := range fleetKeys {
		if affects(k) {
			f.version[k]++
			least[k] = f.version[k]
		}
	}
	f.mu.Unlock()
	var err error
	name := "PurgePrefix"
	switch kind {
	case 0, 1, 2:
		name, mode, err = "Delete", cachefetch.Hard, p.c.Delete(ctx, fleetKey(i))
	case 3:
		name, mode, err = "Expire", cachefetch.Soft, p.c.Expire(ctx, fleetKey(i))
	case 4, 5:
		name, mode = "Set", cachefetch.Hard
		err = p.c.SetItem(ctx, fleetKey(i), cachefetch.Item[string]{Value: fmt.Sprint(fleetKey(i), " ", least[i]), Tags: []string{fleetTag(i)}})
	case 6, 7:
		name, err = "PurgeTag", p.c.PurgeTag(ctx, fleetTag(i), mode)
	case 8:
		err = p.c.PurgePrefix(ctx, "key", mode)
	case 9:
		name, err = "Flush", p.c.Flush(ctx, mode)
	}
	if err != nil {
		f.fail("process %d: %s: %v", p.n, name, err)
	}
	f.note("process %d: %s(%d), mode %d; versions %v", p.n, name, i, mode, least)
	p.removed = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, min := range least {
		if min > 0 {
			f.removals[k] = append(f.removals[k], removal{p, mode == cachefetch.Soft, p.removed, min})
		}
	}
}

// restart ends a process and starts another in its place.
func (f *fleet) restart(p *process) {
	if time.Since(p.removed) < 2*time.Minute || f.store.failing() {
		return // what it has removed is still to be looked after
	}
	if err := p.c.Close(); err != nil {
		f.fail("Close: %v", err)
	}
	f.procs[p.n] = &process{n: p.n, link: p.link, c: f.open(p.link)}
	f.mu.Lock()
	f.lost = time.Now().Add(3 * time.Second) // until it is connected
	f.mu.Unlock()
	f.note("process %d: restarted", p.n)
	if f.far {
		time.Sleep(3 * time.Second) // until it has heard whose clock is ahead
	}
}

func (f *fleet) step() {
	p := f.procs[f.rnd.IntN(len(f.procs))]
	switch n := f.rnd.IntN(100); {
	case n < 12:
		f.remove(p)
	case n < 70:
		i, fails, took := f.rnd.IntN(fleetKeys), f.rnd.IntN(5) == 0, time.Duration(0)
		switch f.rnd.IntN(8) {
		case 0:
			took = time.Duration(f.rnd.IntN(40_000)) * time.Millisecond
		case 1, 2:
			took = time.Duration(f.rnd.IntN(500)) * time.Millisecond
		}
		f.loads.Go(func() { f.fetch(p, i, took, fails) })
	case n < 72:
		f.restart(p)
	case n < 74:
		f.note("messages are lost")
		f.mu.Lock()
		f.lost = time.Now()
		f.mu.Unlock()
		f.store.Disconnect()
	case n < 76 && f.faulty:
		on := f.rnd.IntN(2) == 0
		f.note("faults: %v", on)
		f.store.setFaults(on)
	case n < 78:
		time.Sleep(time.Duration(f.rnd.IntN(150)) * time.Second)
	case n < 90:
		time.Sleep(time.Duration(f.rnd.IntN(2000)) * time.Millisecond)
	default:
		time.Sleep(time.Duration(f.rnd.IntN(30)) * time.Millisecond)
	}
}
