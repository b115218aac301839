package metrics

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// Buckets are the upper bounds of all histograms, in seconds: from a hit in
// memory to the slowest upstream. The usual ones begin at 5 ms and are thin
// around 3 s.
var Buckets = [...]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 20, 30, 60}

// bounds are Buckets in nanoseconds.
var bounds = func() (b [len(Buckets)]time.Duration) {
	for i, seconds := range Buckets {
		b[i] = time.Duration(seconds * float64(time.Second))
	}
	return b
}()

// A Histogram counts durations by [Buckets]. It takes no lock: one that does,
// as the library's own, makes all hits of a route wait for each other.
type Histogram struct {
	counts [len(Buckets) + 1]atomic.Uint64 // by bucket, the last one beyond all
	sum    atomic.Int64                    // nanoseconds

	// instant are durations too short to be worth reading the clock for, kept
	// off the cache lines of the others.
	_       [64]byte
	instant [stripes]struct {
		n atomic.Uint64
		_ [56]byte
	}
}

// stripes keeps processors that count at the same time apart.
const stripes = 4

// Update counts a duration.
func (h *Histogram) Update(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Instant counts a duration that is below the first bucket's bound and is
// taken for 0. Of calls with different hints, some do not meet at one place
// in memory.
func (h *Histogram) Instant(hint uint64) { h.instant[hint%stripes].n.Add(1) }

// Count returns how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	for i := range h.instant {
		n += h.instant[i].n.Load()
	}
	return n
}

// write writes the series. Its count is the sum of the buckets as they were
// read, so that the two agree whatever is counted meanwhile.
func (h *Histogram) write(w io.Writer, name, labels string) {
	var n uint64
	for i := range h.instant {
		n += h.instant[i].n.Load()
	}
	open := labels[:len(labels)-1] + `,le="`
	for i, bound := range Buckets {
		n += h.counts[i].Load()
		fmt.Fprintf(w, "%s_bucket%s%s\"} %d\n", name, open, strconv.FormatFloat(bound, 'g', -1, 64), n)
	}
	n += h.counts[len(Buckets)].Load()
	fmt.Fprintf(w, "%s_bucket%s+Inf\"} %d\n", name, open, n)
	fmt.Fprintf(w, "%s_sum%s %s\n", name, labels, number(time.Duration(h.sum.Load()).Seconds()))
	fmt.Fprintf(w, "%s_count%s %d\n", name, labels, n)
}
