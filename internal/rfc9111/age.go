package rfc9111

import "time"

// ParseAge returns the value of an Age field (5.1). It is a singleton, but
// the first member is used when a cache on the way made a list of it, over all
// lines. A first member that is not a number of seconds makes the field
// invalid, and an invalid field is to be ignored: the result is 0 and false.
//
// Taking the largest member looks safer, and lets any cache on the way undo
// the freshness that the origin gave.
func ParseAge(lines []string) (time.Duration, bool) {
	for _, line := range lines {
		for line != "" {
			var member string
			member, line = cutMember(line)
			if member != "" {
				return parseSeconds(member)
			}
		}
	}
	return 0, false
}

// InitialAge returns the corrected_initial_age of a response (4.2.3): how old
// it was when it arrived. The time it took to answer counts, because an Age is
// relative to the time the request was sent.
//
// A zero date means that there is no usable Date field, and then the response
// is taken to be generated when it arrived (RFC 9110 6.6.1). A Date in the
// future, or a clock that was set back in between, never makes an age smaller.
func InitialAge(age time.Duration, date, requestTime, responseTime time.Time) time.Duration {
	var apparent time.Duration
	if !date.IsZero() {
		// Date has a resolution of one second. Without truncation a
		// response dated by its own server would be born up to a second
		// old, and max-age=1 would often mean nothing.
		apparent = responseTime.Sub(date).Truncate(time.Second)
	}
	delay := max(0, responseTime.Sub(requestTime))
	corrected := clampAge(age) + clampAge(delay)
	return clampAge(max(apparent, corrected))
}

// clampAge keeps sums from overflowing (1.2.2).
func clampAge(d time.Duration) time.Duration {
	return min(max(0, d), MaxDelta)
}
