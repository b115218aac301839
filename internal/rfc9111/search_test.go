package rfc9111

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The examples of section 4, and what else may come.
func TestParseSearch(t *testing.T) {
	for _, row := range []struct {
		field string
		want  Search
		ok    bool
	}{
		{`params=("a")`, Search{names: []string{"a"}}, true},
		{`except=("x")`, Search{names: []string{"x"}, except: true}, true},
		{`except=()`, Search{except: true}, true},
		{`params=("utm_source" "utm_medium" "utm_campaign")`, Search{names: []string{"utm_campaign", "utm_medium", "utm_source"}}, true},
		{`except=("productId")`, Search{names: []string{"productId"}, except: true}, true},
		{`key-order`, Search{anyOrder: true}, true},
		{`key-order=?1`, Search{anyOrder: true}, true},
		{`except=("x"), key-order`, Search{names: []string{"x"}, except: true, anyOrder: true}, true},
		{`key-order, except=("x")`, Search{names: []string{"x"}, except: true, anyOrder: true}, true},
		{`params=("b" "a" "b")`, Search{names: []string{"a", "b"}}, true},
		{`params=("%C3%A9+%E6%B0%97")`, Search{names: []string{"é 気"}}, true},
		{`params=("a"), unknown=1`, Search{names: []string{"a"}}, true},
		{`params=("a";x=1);y=2`, Search{names: []string{"a"}}, true}, // parameters mean nothing

		// Valid, and as if it were not there.
		{field: `params=()`},
		{field: `key-order=?0`},
		{field: `params=(), key-order=?0`},
		{field: `unknown`},
		{field: ``},

		// Not valid.
		{field: `key-order="not a boolean"`},
		{field: `params="not an inner list"`},
		{field: `params=(not-a-string)`},
		{field: `params=?0`},
		{field: `params=?1`},
		{field: `params`},
		{field: `params=?1, except=("x")`},
		{field: `params=("a"), except=("x")`},
		{field: `params=(), except=()`},
		{field: `except="not an inner list"`},
		{field: `except=(not-a-string)`},
		{field: `except=?1`},
		{field: `key-order=("a"), params=("a")`},
		{field: `key-order=1, params=("a")`},
		{field: `params=("a" 1)`},
		{field: `params=("a"`},
		{field: `params=("é")`},
	} {
		got, ok := ParseSearch([]string{row.field})
		if ok != row.ok || !got.Equal(row.want) {
			t.Errorf("%s: %+v %v, want %+v", row.field, got, ok, row.want)
		}
	}
	if _, ok := ParseSearch(nil); ok {
		t.Error("an absent field is a rule")
	}
	if got, ok := ParseSearch([]string{`params=("a")`, "key-order"}); !ok || !got.Equal(Search{names: []string{"a"}, anyOrder: true}) {
		t.Errorf("two lines: %+v %v", got, ok)
	}
}

// The examples of section 5, and what must stay apart.
func TestSearchNormal(t *testing.T) {
	for _, row := range []struct {
		field, a, b string
		same        bool
	}{
		{`key-order`, "a=x", "%61=%78", true},
		{`key-order`, "a=é", "a=%C3%A9", true},
		{`key-order`, "a=%f6", "a=%ef%bf%bd", true},
		{`key-order`, "a=x&&&&", "a=x", true},
		{`key-order`, "a=", "a", true},
		{`key-order`, "a=%20", "a= &", true},
		{`key-order`, "a=+", "a= &", true},
		{`key-order`, "", "&", true},
		{`params=("%C3%A9+%E6%B0%97")`, "é 気=1", "é+気=2", true},
		{`params=("%C3%A9+%E6%B0%97")`, "%C3%A9%20気=3", "%C3%A9+%E6%B0%97=4", true},

		{`key-order`, "a=1&b=2", "b=2&a=1", true},
		{`key-order`, "a=1&a=2", "a=2&a=1", false},
		{`key-order`, "b=&a=1&a=2", "a=1&b&a=2", true},
		{`key-order`, "a=1", "A=1", false},
		{`key-order`, "a=1%26b=2", "a=1&b=2", false},
		{`key-order`, "a%3D=1", "a==1", false},
		{`key-order`, "=", "", false},
		{`key-order`, "a=%zz", "a=%25zz", true}, // see Unambiguous
		{`key-order`, "a=%e2%82", "a=%ef%bf%bd", true},
		{`key-order`, "a=%e2%82", "a=%ef%bf%bd%ef%bf%bd", false},
		{`key-order`, "a=%ed%a0%80", "a=%ef%bf%bd%ef%bf%bd%ef%bf%bd", true},
		{`key-order`, "a=%ef%bb%bfx", "a=x", false}, // the mark is part of the value
		{`params=("utm")`, "id=1&utm=x", "id=1", true},
		{`params=("utm")`, "id=1&u%74m=x", "utm&id=1&utm", true},
		{`params=("utm")`, "id=1&UTM=x", "id=1", false},
		{`params=("utm")`, "id=1&utm2=x", "id=1", false},
		{`params=("utm")`, "a=1&b=2", "b=2&a=1", false},
		{`params=("utm")`, "id=1;utm=x", "id=1", false},
		{`params=("utm"), key-order`, "a=1&utm=3&b=2", "b=2&a=1", true},
		{`except=("id")`, "id=1&x=2", "y&id=1", true},
		{`except=("id")`, "id=1", "id=2", false},
		{`except=("id")`, "id=1", "", false},
		{`except=("id" "n")`, "id=1&n=2", "n=2&id=1", false},
		{`except=("id" "n"), key-order`, "id=1&n=2", "n=2&x&id=1", true},
		{`except=()`, "id=1", "", true},
	} {
		s, ok := ParseSearch([]string{row.field})
		if !ok {
			t.Fatalf("%s: not a rule", row.field)
		}
		if a, b := s.Normal(row.a), s.Normal(row.b); (a == b) != row.same {
			t.Errorf("%s: %q and %q: %q and %q", row.field, row.a, row.b, a, b)
		}
		if got := equivalent(s, row.a, row.b); got != row.same {
			t.Errorf("%s: %q and %q: the draft says %v", row.field, row.a, row.b, got)
		}
	}
}

// equivalent is section 5 word by word.
func equivalent(s Search, a, b string) bool {
	list := func(raw string) (params [][2]string) {
		for _, pair := range strings.Split(raw, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			name, value = naiveDecode(name), naiveDecode(value)
			if slices.Contains(s.names, name) == s.except {
				params = append(params, [2]string{name, value})
			}
		}
		for i := range params { // bubble sort is stable
			for j := 1; s.anyOrder && j < len(params)-i; j++ {
				if params[j][0] < params[j-1][0] {
					params[j], params[j-1] = params[j-1], params[j]
				}
			}
		}
		return params
	}
	return slices.Equal(list(a), list(b))
}

// naiveDecode escapes what is no escape, and leaves the rest to net/url. What
// is not UTF-8 it replaces by the longest beginnings of characters.
func naiveDecode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '%' {
			if _, err := url.QueryUnescape(s[i:min(i+3, len(s))]); err != nil {
				b.WriteString("%25")
				continue
			}
		}
		b.WriteByte(s[i])
	}
	decoded, _ := url.QueryUnescape(b.String())
	var out []rune
	for len(decoded) > 0 {
		r, n := []rune(decoded)[0], len(string([]rune(decoded)[0]))
		if !strings.HasPrefix(decoded, string(r)) { // not a character
			for n = min(3, len(decoded)); n > 1 && !begins(decoded[:n]); n-- {
			}
		}
		out, decoded = append(out, r), decoded[n:]
	}
	return string(out)
}

// begins reports whether some character's encoding goes on after s.
func begins(s string) bool {
	for _, c := range []string{"\x80", "\x8f", "\x90", "\x9f", "\xa0", "\xbf"} { // the second byte has tighter bounds
		for _, rest := range []string{"", "\x80", "\x80\x80"} {
			if r := []rune(s + c + rest); len(r) == 1 && r[0] != 0xFFFD {
				return true
			}
		}
	}
	return false
}

func TestUnambiguous(t *testing.T) {
	for raw, want := range map[string]bool{
		"": true, "a=1&b=%20+": true, "a=é": true, "a=%C3%A9": true, "a=%c3&b=%a9": false,
		"a=1;b=2": false, "a=%": false, "a=%zz": false, "a=%1": false, "a=%f6": false, "a=\xf6": false, "a=%3b": true,
	} {
		if got := Unambiguous(raw); got != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}

// FuzzSearch: two queries have the same normal form iff they are equivalent,
// and it is its own.
func FuzzSearch(f *testing.F) {
	f.Add(`params=("a")`, "a=1&b=2", "b=2")
	f.Add(`key-order`, "a=%f6&b", "b&a=%ef%bf%bd")
	f.Add(`except=("a" "%C3%A9"), key-order`, "é=1&a=2", "a=2&c&%C3%a9=1")
	f.Add(`key-order`, "a=%e2%82%f0%90%80=+%", "a%zz&&==&=&\xff")
	f.Add(`key-order`, "a=%f4%90%80%ed%a0", "%e0%80%c0%80")
	f.Fuzz(func(t *testing.T, field, a, b string) {
		s, ok := ParseSearch([]string{field})
		if !ok {
			return
		}
		na, nb := s.Normal(a), s.Normal(b)
		if want := equivalent(s, a, b); (na == nb) != want {
			t.Errorf("%+v: %q and %q are %q and %q, equivalent: %v", s, a, b, na, nb, want)
		}
		if again := s.Normal(na); again != na || !equivalent(s, a, na) {
			t.Errorf("%+v: %q: %q, then %q", s, a, na, again)
		}
		if !Unambiguous(na) {
			t.Errorf("%q is ambiguous", na)
		}
	})
}
