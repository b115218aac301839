package cachefetch

import "time"

// For tests of processes whose clocks differ, which are in another package.

// ShiftValue returns what a backend holds as if it had been written by a clock
// that is d ahead.
func ShiftValue(b []byte, d time.Duration) []byte {
	e, err := parseEnvelope(b)
	if err != nil {
		return b
	}
	for _, at := range []*int64{&e.stamp.at, &e.freshUntil, &e.revalidateUntil, &e.errorUntil, &e.keepUntil} {
		if *at != 0 {
			*at += int64(d)
		}
	}
	b, err = appendEnvelope(nil, &e, func(dst []byte) ([]byte, error) { return append(dst, e.value...), nil })
	if err != nil {
		panic(err)
	}
	return b
}

// ShiftMessage is ShiftValue for a message.
func ShiftMessage(b []byte, d time.Duration) []byte {
	prefix, p, ok := parseMessage(b)
	if !ok {
		return b
	}
	p.stamp.at += int64(d)
	return appendMessage(nil, prefix, p)
}
