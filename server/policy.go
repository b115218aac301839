package server

import (
	"errors"
	"strings"
	"unicode"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func validatePolicy(l *errorList, path string, p cachemw.Policy, check func(cachemw.Policy) error) {
	l.addOptions(path+".", check(p))
}

func validateLimit(l *errorList, path string, o cachemw.LimitOptions) {
	l.addOptions(path+".", o.Validate())
}

// addOptions reports what is wrong with options that a configuration has under
// a path, each where it stands in the file, in the file's words.
func (l *errorList) addOptions(path string, err error) {
	for _, e := range flatten(err) {
		var o *cachemw.OptionError
		if errors.As(e, &o) {
			l.add(path+fileName(o.Field), "%s: %s", o.Given(), o.Because(fileName))
		} else {
			l.add(strings.TrimSuffix(path, "."), "%v", e)
		}
	}
}

// fileName returns how a field of options is called in a file: max_body_bytes
// for MaxBodyBytes, status_ttl.404 for StatusTTL[404]. Those of the cache stand
// at its top.
func fileName(field string) string {
	field = strings.TrimPrefix(field, "Options.")
	var name strings.Builder
	var last rune
	for _, r := range field {
		switch {
		case r == '[':
			name.WriteByte('.')
		case r == ']':
		case unicode.IsUpper(r):
			if unicode.IsLower(last) {
				name.WriteByte('_')
			}
			name.WriteRune(unicode.ToLower(r))
		default:
			name.WriteRune(r)
		}
		last = r
	}
	return name.String()
}

// flatten takes apart what errors.Join has put together.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}
