package rfc9111

import (
	"net/http"
	"strings"
	"time"
)

// A Delta is the argument of a directive that takes a number of seconds.
type Delta struct {
	D   time.Duration
	Set bool // whether the directive is present; D is 0 when it is not
}

// CacheControl is the parsed form of a Cache-Control field, of a request or a
// response (5.2). The zero value is the absence of every directive.
type CacheControl struct {
	NoStore         bool // 5.2.1.5, 5.2.2.5; also set when the field is malformed
	NoCache         bool // 5.2.1.4, 5.2.2.4, unqualified form only
	Private         bool // 5.2.2.7, unqualified form only
	Public          bool // 5.2.2.9
	MustRevalidate  bool // 5.2.2.2
	ProxyRevalidate bool // 5.2.2.8
	MustUnderstand  bool // 5.2.2.3
	NoTransform     bool // 5.2.1.6, 5.2.2.6
	Immutable       bool // RFC 8246
	OnlyIfCached    bool // 5.2.1.7

	// The qualified forms no-cache="..." and private="..." name response
	// fields, here in canonical spelling. They leave NoCache and Private
	// false; see [StripFields].
	NoCacheFields []string
	PrivateFields []string

	MaxAge               Delta // 5.2.1.1, 5.2.2.1
	SMaxAge              Delta // 5.2.2.10
	StaleWhileRevalidate Delta // RFC 5861 3
	StaleIfError         Delta // RFC 5861 4
	MaxStale             Delta // 5.2.1.2; Unlimited without an argument
	MinFresh             Delta // 5.2.1.3
}

// ParseCacheControl parses all lines of a Cache-Control field. It allocates
// only for directives that list field names.
//
// It reads doubtful input to the stricter side (4.2.1):
//
//   - a number of seconds that is missing, negative, fractional, or set apart
//     from its "=" by whitespace counts as 0: already stale;
//   - one too large counts as [MaxDelta];
//   - of several values of one directive the most restrictive counts, which
//     is the smallest, but for min-fresh the largest;
//   - an empty or unreadable list of field names makes the directive
//     unqualified;
//   - where the list cannot be divided into directives for certain, because a
//     quote is misplaced or a name is not a token ("private; max-age=60"),
//     nothing is granted: NoStore is set.
//
// Both token and quoted-string arguments are accepted (5.2). Directives inside
// the quoted argument of another one do not count. Unknown directives are
// ignored (5.2.3).
func ParseCacheControl(lines []string) CacheControl {
	var cc CacheControl
	malformed := false
	for _, line := range lines {
		for line != "" {
			end, closed := memberEnd(line)
			if !closed || !cc.parseDirective(trimOWS(line[:end])) {
				malformed = true
			}
			if end == len(line) {
				break
			}
			line = line[end+1:]
		}
	}
	if malformed {
		cc.NoStore = true
		// Or else it would lift no-store again (5.2.2.3).
		cc.MustUnderstand = false
	}
	return cc
}

// An argument is what follows the "=" of a directive.
type argument struct {
	text    string // without quotes, quoted pairs still escaped
	present bool
	spaced  bool // whitespace beside the "=", which the grammar does not allow
}

// parseDirective applies one list member and reports whether it was well
// formed. An empty member is (RFC 9110 5.6.1.2).
func (cc *CacheControl) parseDirective(member string) bool {
	if member == "" {
		return true
	}
	var arg argument
	name, value, found := strings.Cut(member, "=")
	if found {
		arg.present = true
		arg.text = trimOWS(value)
		trimmed := trimOWS(name)
		arg.spaced = len(trimmed) != len(name) || len(arg.text) != len(value)
		name = trimmed
	}
	if strings.IndexByte(arg.text, '"') >= 0 {
		if arg.text[0] != '"' || quotedLen(arg.text) != len(arg.text) {
			return false
		}
		arg.text = arg.text[1 : len(arg.text)-1]
	}
	if !isToken(name) {
		return false
	}
	cc.apply(name, arg)
	return true
}

// apply sets what the directive says. Directives that restrict count whether
// or not they have an argument they should not have; those that only permit
// (public, immutable) do not count then.
func (cc *CacheControl) apply(name string, arg argument) {
	var buf [len("stale-while-revalidate")]byte // the longest name known
	if len(name) > len(buf) {
		return
	}
	switch string(appendLower(buf[:0], name)) {
	case "no-store":
		cc.NoStore = true
	case "no-cache":
		arg.qualify(&cc.NoCache, &cc.NoCacheFields)
	case "private":
		arg.qualify(&cc.Private, &cc.PrivateFields)
	case "public":
		cc.Public = cc.Public || !arg.present
	case "must-revalidate":
		cc.MustRevalidate = true
	case "proxy-revalidate":
		cc.ProxyRevalidate = true
	case "must-understand":
		cc.MustUnderstand = true
	case "no-transform":
		cc.NoTransform = true
	case "immutable":
		cc.Immutable = cc.Immutable || !arg.present
	case "only-if-cached":
		cc.OnlyIfCached = true
	case "max-age":
		cc.MaxAge.lower(arg.seconds())
	case "s-maxage":
		cc.SMaxAge.lower(arg.seconds())
	case "stale-while-revalidate":
		cc.StaleWhileRevalidate.lower(arg.seconds())
	case "stale-if-error":
		cc.StaleIfError.lower(arg.seconds())
	case "max-stale":
		if arg.present {
			cc.MaxStale.lower(arg.seconds())
		} else {
			cc.MaxStale.lower(Unlimited)
		}
	case "min-fresh":
		cc.MinFresh = Delta{D: max(cc.MinFresh.D, arg.seconds()), Set: true}
	}
}

// lower sets d, keeping the smaller value if there is one already.
func (d *Delta) lower(v time.Duration) {
	if !d.Set || v < d.D {
		*d = Delta{D: v, Set: true}
	}
}

// seconds returns the argument as delta-seconds, 0 if it is none. Ignoring the
// directive instead would hand the response to an Expires field, a heuristic
// or a default that its author meant to replace (4.2.1).
func (a argument) seconds() time.Duration {
	if a.spaced {
		return 0
	}
	d, _ := parseSeconds(a.text)
	return d
}

// qualify appends the field names in the argument of no-cache or private to
// fields, or sets all if there are none to be read (5.2.2.4, 5.2.2.7).
func (a argument) qualify(all *bool, fields *[]string) {
	names := *fields
	text := unquote(a.text)
	if a.spaced {
		text = "" // not certain to be read alike by everyone
	}
	for text != "" {
		var name string
		name, text, _ = strings.Cut(text, ",")
		name = trimOWS(name)
		if name == "" {
			continue
		}
		if !isToken(name) {
			*all = true
			return
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	if len(names) == len(*fields) {
		*all = true
		return
	}
	*fields = names
}
