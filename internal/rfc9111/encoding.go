package rfc9111

import (
	"slices"
	"strings"
)

// The codings that servers use, sorted, so that a set of them fits into the
// bits of a word. The set is followed by the two members that are no codings.
var codings = [...]string{"br", "compress", "deflate", "gzip", "zstd", "*", "identity"}

const (
	knownCodings    = len(codings) - 2
	codingStar      = 1 << knownCodings
	codingIdentity  = 1 << (knownCodings + 1)
	codingUndefined = 0
)

// A codingSet is what an Accept-Encoding field accepts and refuses (RFC 9110
// 12.5.3). Bits are positions in codings; others are names not found there.
type codingSet struct {
	accepted, refused           uint
	otherAccepted, otherRefused []string
}

// appendEncodings appends the set of codings that an Accept-Encoding field
// accepts, which is what the response depends on: any of them can be read by
// all clients that accept the same set. Weights above zero are dropped. With
// them, every browser version would be a variant of its own. The response that
// is stored is then the one preferred by the client that came first.
//
// Unknown codings stay in the set. Dropping them, as is often done, serves a
// response in a new coding to clients that cannot read it.
//
// Fields that cannot be read are compared as they were sent. What such a field
// is normalised to cannot be read either, so it never equals a set.
func appendEncodings(dst []byte, lines []string) []byte {
	var set codingSet
	for _, line := range lines {
		for line != "" {
			var member string
			member, line, _ = strings.Cut(line, ",")
			member = trimOWS(member)
			if member != "" && !set.add(member) {
				return appendList(dst, join(lines, ", "))
			}
		}
	}
	return set.appendTo(dst)
}

// add takes one member, and reports whether it can be read and does not
// contradict an earlier one.
func (set *codingSet) add(member string) bool {
	name, parameter, weighted := strings.Cut(member, ";")
	name = trimOWS(name)
	accepted := true
	if weighted {
		q, value, _ := strings.Cut(parameter, "=")
		thousandths, ok := parseWeight(trimOWS(value))
		if !ok || !equalFold(trimOWS(q), "q") {
			return false
		}
		accepted = thousandths > 0
	}
	bit := codingBit(name)
	switch {
	case bit == codingUndefined:
		return isToken(name) && set.addOther(name, accepted)
	case accepted:
		set.accepted |= bit
	default:
		set.refused |= bit
	}
	return set.accepted&set.refused == 0
}

// addOther allocates, unlike the rest: it is for codings hardly anyone sends.
func (set *codingSet) addOther(name string, accepted bool) bool {
	name = strings.ToLower(name)
	same, opposite := &set.otherAccepted, set.otherRefused
	if !accepted {
		same, opposite = &set.otherRefused, set.otherAccepted
	}
	if !slices.Contains(*same, name) {
		*same = append(*same, name)
	}
	return !slices.Contains(opposite, name)
}

// appendTo writes the set in one order, so that equal sets are equal strings.
func (set *codingSet) appendTo(dst []byte) []byte {
	start := len(dst)
	member := func(name, weight string) {
		if len(dst) > start {
			dst = append(dst, ", "...)
		}
		dst = append(dst, name...)
		dst = append(dst, weight...)
	}
	for i, name := range codings[:knownCodings+1] {
		if set.accepted&(1<<i) != 0 {
			member(name, "")
		}
	}
	slices.Sort(set.otherAccepted)
	for _, name := range set.otherAccepted {
		member(name, "")
	}
	// What is not listed is refused too, and naming it means the same unless
	// there is a "*". It is kept apart all the same: many servers look for
	// "gzip" and not at its weight, and what they answer to "gzip;q=0" must
	// not reach those who do not name gzip at all.
	for i, name := range codings[:knownCodings] {
		if set.refused&(1<<i) != 0 {
			member(name, ";q=0")
		}
	}
	slices.Sort(set.otherRefused)
	for _, name := range set.otherRefused {
		member(name, ";q=0")
	}
	// Identity is accepted unless it is refused by its name, or by "*;q=0"
	// without being named.
	switch {
	case set.refused&codingIdentity != 0,
		set.refused&codingStar != 0 && set.accepted&codingIdentity == 0:
		member("identity", ";q=0")
	case len(dst) == start:
		member("identity", "")
	}
	return dst
}

// codingBit returns the bit of a coding, or codingUndefined. The names with
// "x-" are the same codings (RFC 9110 8.4.1.1, 8.4.1.3).
func codingBit(name string) uint {
	if equalFold(name, "x-gzip") || equalFold(name, "x-compress") {
		name = name[2:]
	}
	for i, known := range codings {
		if equalFold(name, known) {
			return 1 << i
		}
	}
	return codingUndefined
}
