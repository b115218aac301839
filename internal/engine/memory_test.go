package engine

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	f := func(name string, maxBytes, live, cached, want int64) {
		t.Helper()
		if got := memoryLimit(maxBytes, live, cached); got != want {
			t.Errorf("%s: %d MiB, want %d MiB", name, got/mib, want/mib)
		}
	}
	f("empty", 256*mib, 5*mib, 0, 344*mib)
	f("full cache", 256*mib, 280*mib, 256*mib, 344*mib)
	f("full cache and requests", 256*mib, (256+32+12+100)*mib, 256*mib, (344+200)*mib)
	f("requests alone", 256*mib, (12+500)*mib, 0, (344+1000)*mib)
	f("no limit", math.MaxInt64, 5*mib, 0, math.MaxInt64)
}

// limited returns a cache that limits the memory of the process.
func limited(t *testing.T, maxBytes int64) *Cache[string, doc] {
	t.Helper()
	c, err := New(Config[string, doc]{MaxBytes: maxBytes, LimitMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantLimit checks that the limit is that of caches of maxBytes in all, in
// this process, which needs little beside.
func wantLimit(t *testing.T, when string, maxBytes int64) {
	t.Helper()
	got, least := debug.SetMemoryLimit(-1), maxBytes+maxBytes/4+memoryBase
	if maxBytes == 0 && got != math.MaxInt64 || maxBytes > 0 && (got < least || got > least+512<<20) {
		t.Errorf("%s: limit of %d MiB for %d MiB", when, got>>20, maxBytes>>20)
	}
}

// withoutLimit runs f in a process without a memory limit of its own.
func withoutLimit(t *testing.T, f func(t *testing.T)) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	synctest.Test(t, f)
}

func TestCachesLimitMemoryTogether(t *testing.T) {
	withoutLimit(t, func(t *testing.T) {
		const gib = 1 << 30
		a := limited(t, gib)
		wantLimit(t, "one cache", gib)
		b := limited(t, 2*gib)
		wantLimit(t, "two caches", 3*gib)
		time.Sleep(10 * memoryInterval)
		wantLimit(t, "later", 3*gib)
		a.Close()
		a.Close()
		wantLimit(t, "one of them closed", 2*gib)
		b.Close()
		wantLimit(t, "both closed", 0)
		c := limited(t, gib)
		wantLimit(t, "a new one", gib)
		c.Close()
		wantLimit(t, "all closed", 0)
	})
}

func TestLimitsOfTheProgramStay(t *testing.T) {
	const own = 5 << 40
	for _, when := range []string{"before", "meanwhile"} {
		withoutLimit(t, func(t *testing.T) {
			if when == "before" {
				debug.SetMemoryLimit(own)
			}
			c := limited(t, 1<<30)
			debug.SetMemoryLimit(own)
			time.Sleep(3 * memoryInterval)
			if got := debug.SetMemoryLimit(-1); got != own {
				t.Errorf("set %s: now %d", when, got)
			}
			c.Close()
			if got := debug.SetMemoryLimit(-1); got != own {
				t.Errorf("set %s, after Close: %d", when, got)
			}
		})
	}
	withoutLimit(t, func(t *testing.T) {
		t.Setenv("GOMEMLIMIT", "off")
		c := limited(t, 1<<30)
		wantLimit(t, "GOMEMLIMIT=off", 0)
		c.Close()
	})
}
