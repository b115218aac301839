package proc

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const stat = "42 (a (odd) name) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 7 0 1000 1 2 3"
	const status = "Name:\ta (odd) name\nVmPeak:\t  99 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n"
	got, err := parse(stat, status)
	if want := (Usage{3 * time.Second, 1 << 20, 2 << 20}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, bad := range [][2]string{{"", status}, {"1 (x) S 1 2", status}, {"42 (x) S 1 42 42 0 -1 4194304 100 0 0 0 a b 0 0", status}, {stat, "VmRSS:\tmuch\n"}} {
		if got, err := parse(bad[0], bad[1]); err == nil {
			t.Errorf("%q, %q: %+v", bad[0], bad[1], got)
		}
	}
}
