package cachefetch

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// Early refresh is XFetch, from "Optimal Probabilistic Cache Stampede
// Prevention" (Vattani, Chierichetti, Lowenstein; VLDB 2015): each hit on a
// value that takes d to load draws from an exponential distribution with mean
// beta*d, and refreshes the value if what it drew reaches its end. The rate at
// which hits do so rises on its own with how often the value is asked for, so
// that on average e^(1/beta) of the callers that share nothing begin a load,
// whether there are ten or ten thousand. Here they share a process; across a
// fleet of them the number stays what the paper says.

// maxEarlyRefresh bounds beta. At 10, a value is refreshed ten load times
// before its end on average, and more would only load it more often.
const maxEarlyRefresh = 10

// maxDraw bounds what is drawn, in means. One draw in nine million is larger,
// and is lost. In return a hit does not draw before that.
const maxDraw = 16

// earlyFrom returns the instant from which on hits on a value draw.
func earlyFrom(freshUntil engine.Instant, took time.Duration, beta float64) engine.Instant {
	ahead := maxDraw * beta * float64(took)
	if ahead <= 0 {
		return math.MaxInt64
	}
	if ahead >= float64(freshUntil) {
		return 0
	}
	return freshUntil - engine.Instant(ahead)
}

// refreshesEarly draws whether a hit refreshes a value that took a while to
// load and is fresh for another left.
func refreshesEarly(left, took time.Duration, beta float64) bool {
	return rand.ExpFloat64()*beta*float64(took) >= float64(left)
}
