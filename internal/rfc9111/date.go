package rfc9111

import (
	"net/http"
	"time"
)

// ParseDate parses an HTTP-date in any of its three formats (RFC 9110 5.6.7),
// in any letter case (4.2). The time now serves only to complete the two-digit
// year of the RFC 850 format.
//
// http.ParseTime is not used because it accepts what the grammar refuses, such
// as double spaces and an hour of one digit, and a response whose Expires is
// invalid has to be stale (5.3). It also refuses "gmt". The day name has to be
// one, but need not be the right one: the date is what counts.
func ParseDate(s string, now time.Time) (time.Time, bool) {
	p := dateParser{rest: s, ok: true}
	switch {
	case len(s) > 3 && s[3] == ',':
		return p.imfFixdate()
	case len(s) > 3 && s[3] == ' ':
		return p.asctime()
	default:
		return p.rfc850(now)
	}
}

// DateField returns the date in the named field of h. A field that is absent,
// invalid, or has several lines is no date.
func DateField(h http.Header, name string, now time.Time) (time.Time, bool) {
	return dateOf(h[name], now)
}

func dateOf(lines []string, now time.Time) (time.Time, bool) {
	if len(lines) != 1 {
		return time.Time{}, false
	}
	return ParseDate(trimOWS(lines[0]), now)
}

// A dateParser consumes rest from the left. Once ok is false it stays so, and
// what the methods return has no meaning.
type dateParser struct {
	rest string
	ok   bool
}

// imfFixdate parses "Sun, 06 Nov 1994 08:49:37 GMT".
func (p *dateParser) imfFixdate() (time.Time, bool) {
	p.name(shortDays[:])
	p.literal(", ")
	day := p.digits(2)
	p.literal(" ")
	month := p.name(months[:]) + 1
	p.literal(" ")
	year := p.digits(4)
	p.literal(" ")
	clock := p.clock()
	p.literal(" gmt")
	return p.time(year, month, day, clock)
}

// rfc850 parses "Sunday, 06-Nov-94 08:49:37 GMT".
func (p *dateParser) rfc850(now time.Time) (time.Time, bool) {
	p.name(longDays[:])
	p.literal(", ")
	day := p.digits(2)
	p.literal("-")
	month := p.name(months[:]) + 1
	p.literal("-")
	year := p.digits(2)
	p.literal(" ")
	clock := p.clock()
	p.literal(" gmt")

	// RFC 9110 5.6.7: a time more than 50 years ahead is the most recent such
	// year in the past instead. The century is that of the limit and not of
	// now, so that "10" is 2110 to a reader in 2090.
	limit := now.UTC().AddDate(50, 0, 0)
	year += limit.Year() / 100 * 100
	if t, ok := p.time(year, month, day, clock); ok && !t.After(limit) {
		return t, true
	}
	// Also reached for a 29 February that only the earlier year has.
	return p.time(year-100, month, day, clock)
}

// asctime parses "Sun Nov  6 08:49:37 1994".
func (p *dateParser) asctime() (time.Time, bool) {
	p.name(shortDays[:])
	p.literal(" ")
	month := p.name(months[:]) + 1
	p.literal(" ")
	var day int
	if p.rest != "" && p.rest[0] == ' ' {
		p.literal(" ")
		day = p.digits(1)
	} else {
		day = p.digits(2)
	}
	p.literal(" ")
	clock := p.clock()
	p.literal(" ")
	year := p.digits(4)
	return p.time(year, month, day, clock)
}

// clock parses "08:49:37" into seconds since midnight.
func (p *dateParser) clock() int {
	hour := p.digits(2)
	p.literal(":")
	minute := p.digits(2)
	p.literal(":")
	second := p.digits(2)
	if hour == 23 && minute == 59 && second == 60 {
		// A leap second. time.Time has none, and 4.2 wants the nearest
		// time that is not later.
		second = 59
	}
	if hour > 23 || minute > 59 || second > 59 {
		p.ok = false
	}
	return hour*3600 + minute*60 + second
}

// time assembles the result, if nothing is left over and the day exists.
func (p *dateParser) time(year, month, day, clock int) (time.Time, bool) {
	if !p.ok || p.rest != "" {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, clock, 0, time.UTC)
	// time.Date turns 30 February into 2 March.
	if t.Day() != day {
		return time.Time{}, false
	}
	return t, true
}

// literal consumes want, which is in lower case.
func (p *dateParser) literal(want string) {
	if len(p.rest) < len(want) || !equalFold(p.rest[:len(want)], want) {
		p.ok = false
		return
	}
	p.rest = p.rest[len(want):]
}

// digits consumes exactly n digits.
func (p *dateParser) digits(n int) int {
	if len(p.rest) < n {
		p.ok = false
		return 0
	}
	v := 0
	for i := range n {
		c := p.rest[i]
		if c < '0' || c > '9' {
			p.ok = false
			return 0
		}
		v = v*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	return v
}

// name consumes one of the names and returns its index.
func (p *dateParser) name(names []string) int {
	for i, name := range names {
		if len(p.rest) >= len(name) && equalFold(p.rest[:len(name)], name) {
			p.rest = p.rest[len(name):]
			return i
		}
	}
	p.ok = false
	return 0
}

var (
	shortDays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	longDays  = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	months    = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
)
