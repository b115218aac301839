package rfc9111

import (
	"net/http"
	"strconv"

	"github.com/dunglas/httpsfv"
)

// ResponseControl returns the cache directives of a response for a cache with
// this target list (RFC 9213 2.2): those of the first targeted field that is
// valid and not empty, or else those of Cache-Control. When targeted is true,
// Expires does not count either. Names are canonical.
func ResponseControl(h http.Header, targets []string) (cc CacheControl, targeted bool) {
	for _, name := range targets {
		if lines := h[name]; len(lines) > 0 {
			if cc, ok := ParseTargeted(lines); ok {
				return cc, true
			}
		}
	}
	return ParseCacheControl(h["Cache-Control"]), false
}

// ParseTargeted parses all lines of a targeted field. It is a dictionary of
// structured values and read strictly: one that is empty or cannot be parsed
// is ignored as a whole, and ok is false (RFC 9213 2.1).
//
// Values of the wrong type are not consumed. Where that leaves a choice, the
// stricter is taken: "max-age=1.5" is a lifetime of 0, and "private=1" means
// everything. Parameters are ignored.
func ParseTargeted(lines []string) (cc CacheControl, ok bool) {
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(d.Names()) == 0 {
		return CacheControl{}, false
	}
	for _, name := range d.Names() {
		member, _ := d.Get(name)
		arg := argument{present: true}
		list := name == "no-cache" || name == "private" // of field names
		if item, ok := member.(httpsfv.Item); ok {
			switch v := item.Value.(type) {
			case bool:
				if !v {
					continue // as if it were not there
				}
				arg.present = false
			case int64:
				if !list {
					arg.text = strconv.FormatInt(v, 10)
				}
			case string:
				if list {
					arg.text = v
				}
			}
		}
		cc.apply(name, arg)
	}
	return cc, true
}
