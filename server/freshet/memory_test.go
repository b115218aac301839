package main

import (
	"math"
	"testing"
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

func TestSize(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var s size
		if err := s.Set(text); err != nil || s.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, s.String(), err, want)
		}
	}
	f("256MiB", "256MiB")
	f("2048KiB", "2MiB")
	f("3GiB", "3GiB")
	f("1KB", "1000")
	f("1536", "1536")
}
