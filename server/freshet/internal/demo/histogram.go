package demo

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets of about 6 % width, from 1 microsecond
// to beyond an hour: 16 for each power of two. Recording is one atomic add.
// Its memory is fixed. The zero value is empty.
type histogram struct {
	buckets [buckets]atomic.Uint64
}

const (
	stepBits = 4
	steps    = 1 << stepBits
	buckets  = 32 * steps
)

// bucket returns the index for d. Below 16 microseconds buckets are one
// microsecond wide; above, the four bits after the leading one are kept.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	shift := max(bits.Len64(us)-1-stepBits, 0)
	return min(shift*steps+int(us>>shift), buckets-1)
}

// middle returns the duration in the middle of bucket i.
func middle(i int) time.Duration {
	shift, step := 0, i
	if i >= 2*steps {
		shift = i/steps - 1
		step = i%steps + steps
	}
	low := time.Duration(step) << shift
	return (low*2 + 1<<shift) * time.Microsecond / 2
}

func (h *histogram) record(d time.Duration) { h.buckets[bucket(d)].Add(1) }

// interval is what a histogram counted between two takes.
type interval struct {
	counts [buckets]uint64
	total  uint64
}

// take returns what was counted since the last take, and begins anew.
func (h *histogram) take() *interval {
	v := &interval{}
	for i := range h.buckets {
		if h.buckets[i].Load() == 0 {
			continue
		}
		n := h.buckets[i].Swap(0)
		v.counts[i] = n
		v.total += n
	}
	return v
}

// quantile returns the duration that the share q of all did not exceed, give
// or take the width of a bucket, zero if there were none.
func (v *interval) quantile(q float64) time.Duration {
	if v.total == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(v.total))), 1)
	for i, n := range v.counts {
		if rank <= n {
			return middle(i)
		}
		rank -= n
	}
	return 0
}
