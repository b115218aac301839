// Package load puts an open load on an HTTP/1.1 service: requests are sent
// when a schedule says so, also while the service does not answer, and
// latency counts from that moment.
package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Result is what became of the requests of a schedule. Each of those due is
// one of good, refused, wrong, failed and unanswered.
type Result struct {
	Due        int // requests that the schedule has
	Good       int // answered 200
	Refused    int // answered 503
	Wrong      int // answered otherwise
	Failed     int // connection refused, reset, or no HTTP
	Unanswered int // neither within the timeout
	Unsent     int // of the unanswered, never sent for want of a connection

	Failures map[string]int // what went wrong, and how often
	BySecond []int          // good answers in each second since the beginning

	HitsBySecond []time.Duration // p99 of the hits due in each second; 0 where there were none

	Took      time.Duration // from the first moment of the schedule until the last answer or timeout
	Scheduled time.Duration // the length of the schedule
	Latency   Latency       // of the good and the unanswered, which count until they were given up
	Hit       Latency       // of the good ones that were hits of a cache
	Miss      Latency       // of the good ones that were not
	Refusal   Latency       // of the refused
	Error     Latency       // of the wrong and the failed; an error can be quick
	Lag       Latency       // how late the generator itself was

	Dialled      int // connections to the service
	PeakInFlight int // requests sent and not answered
}

// GoodPerSecond is the rate of good answers in the second half of the
// schedule, when the service is as busy as it gets.
func (r *Result) GoodPerSecond() float64 {
	end := int(r.Scheduled / time.Second)
	if end < 2 {
		return float64(r.Good) / max(r.Took, r.Scheduled, 1).Seconds()
	}
	good := 0
	for _, n := range r.BySecond[min(end/2, len(r.BySecond)):min(end, len(r.BySecond))] {
		good += n
	}
	return float64(good) / float64(end-end/2)
}

// A Latency is a distribution in a few numbers.
type Latency struct {
	Mean, P50, P95, P99, Max time.Duration
}

// A recorder counts durations in a histogram of fixed size whose buckets are
// 0.1 % wide.
type recorder struct{ h *hdrhistogram.Histogram }

const longest = 10 * time.Minute

func newRecorder() recorder {
	return recorder{hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)}
}

func (r recorder) record(d time.Duration) {
	_ = r.h.RecordValue(int64(min(max(d, 0), longest)))
}

func (r recorder) latency() Latency {
	if r.h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(q float64) time.Duration { return time.Duration(r.h.ValueAtQuantile(q)) }
	return Latency{Mean: time.Duration(r.h.Mean()), P50: at(50), P95: at(95), P99: at(99), Max: time.Duration(r.h.Max())}
}
