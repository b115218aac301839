package key

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzKeyString: different keys are encoded differently. The parts of the
// other keys are the same text, cut at other places.
func FuzzKeyString(f *testing.F) {
	f.Add("a.example", "/x", "", "", "q=1", "", false, uint16(3), uint16(9))
	f.Add("\x02ab", "\x00", "\x01", "s", "", "\x80\x01", true, uint16(0), uint16(1))
	f.Fuzz(func(t *testing.T, host, path, rawPath, target, query, extra string, tls bool, from, by uint16) {
		all := host + path + rawPath + target + query + extra
		cut := func(n uint16) int { return int(n) % (len(all) + 1) }
		i, j := min(cut(from), cut(by)), max(cut(from), cut(by))
		parts := func(tls bool, p ...string) (Key, [7]string) {
			k := Key{TLS: tls, Host: p[0], Path: p[1], Query: p[4], rest: rest(p[2], p[3], p[5])}
			return k, [7]string{fmt.Sprint(tls), p[0], p[1], p[2], p[3], p[4], p[5]}
		}
		a, of := parts(tls, host, path, rawPath, target, query, extra)
		check := func(b Key, parts [7]string) {
			if same := parts == of; same != (a == b) || same != (a.String() == b.String()) {
				t.Errorf("%q and %q: same key %v, both encoded %q", of, parts, a == b, a.String())
			}
		}
		check(a, of)
		check(parts(tls, all, "", "", "", "", ""))
		check(parts(tls, all[:i], all[i:j], "", "", all[j:], ""))
		check(parts(tls, "", all[:i], all[i:j], "", "", all[j:]))
		check(parts(tls, host, path, all[:i], all[i:j], query, all[j:]))
		check(parts(!tls, host, path, rawPath, target, query, extra))
		check(parts(tls, path, host, target, rawPath, extra, query))
		check(parts(tls, a.String(), "", "", "", "", ""))
		check(parts(true, strings.TrimPrefix(host, "s"), path, rawPath, target, query, extra))
		if c := a.Clone(); c != a || c.String() != a.String() || c.Size() != a.Size() {
			t.Errorf("clone of %+v is %+v", a, c)
		}
	})
}

// FuzzQueryNormalise: normalising twice is normalising once, nothing that
// counts is lost or reordered within its name, and nothing else is left.
func FuzzQueryNormalise(f *testing.F) {
	f.Add("b=2&a=1&a=0&utm_x=3", "a", uint8(0))
	f.Add("b=2&a=1&&a=0;a=9&=&%zz=1&%61=7", "a", uint8(1))
	f.Add("utm_source=x&id=1&UTM_a", "utm_*", uint8(1))
	f.Add("&&b=&a&b=1", "", uint8(2))
	f.Fuzz(func(t *testing.T, raw, name string, mode uint8) {
		var q Query
		switch mode % 3 {
		case 0:
			q.Allow = []string{name, "id"}
		case 1:
			q.Ignore = []string{name, "ref", "utm_*"}
		default:
			q.Sort = true
		}
		once := q.Normalise(raw)
		if twice := q.Normalise(once); twice != once {
			t.Fatalf("%q: %q, then %q", raw, once, twice)
		}
		want := make(map[string][]string)
		keysParams(raw, func(name, pair string) {
			if keysCounts(&q, name) {
				want[name] = append(want[name], pair)
			}
		})
		got := make(map[string][]string)
		var names []string
		keysParams(once, func(name, pair string) {
			got[name] = append(got[name], pair)
			names = append(names, name)
		})
		if !maps.EqualFunc(got, want, slices.Equal) || !slices.IsSorted(names) {
			t.Fatalf("%+v: %q became %q", q, raw, once)
		}
	})
}

func keysParams(raw string, yield func(name, pair string)) {
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		name := pair
		if i := strings.IndexByte(pair, '='); i >= 0 {
			name = pair[:i]
		}
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		} else {
			name = spell(name, querySpecial)
		}
		yield(name, pair)
	}
}

// keysCounts is what the documentation of Query says.
func keysCounts(q *Query, name string) bool {
	if q.Allow != nil {
		return slices.Contains(q.Allow, name)
	}
	for _, pattern := range q.Ignore {
		if name == pattern || strings.HasSuffix(pattern, "*") && strings.HasPrefix(name, strings.TrimSuffix(pattern, "*")) {
			return false
		}
	}
	return true
}
