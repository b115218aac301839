package proc

import (
	"runtime/metrics"
	"time"
)

// Collector returns the CPU time that this process has spent on garbage
// collection and altogether. Both are the Go runtime's estimates: it counts
// time that the system gave to others as well, so they must be compared with
// each other and not with Usage.CPU.
func Collector() (gc, all time.Duration) {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(s)
	seconds := func(i int) time.Duration { return time.Duration(s[i].Value.Float64() * float64(time.Second)) }
	return seconds(0), seconds(1) - seconds(2)
}
