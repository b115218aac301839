package key

import (
	"hash/maphash"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A URL has one name, however it is spelled, and two URLs have two.
func TestName(t *testing.T) {
	for _, row := range []struct{ url, want string }{
		{"http://a.example/x", "a.example/x"},
		{"https://a.example/x", "a.example/x"},
		{"http://A.EXAMPLE/x", "a.example/x"},
		{"http://a.example:80/x", "a.example/x"},
		{"https://a.example:443/x", "a.example/x"},
		{"http://a.example:/x", "a.example/x"},
		{"http://a.example:8080/x", "a.example:8080/x"},
		{"http://[::1]:80/x", "[::1]/x"},
		{"http://[::80]/x", "[::80]/x"},
		{"http://a.example", "a.example/"},
		{"http://a.example/", "a.example/"},
		{"http://a.example/%70roducts", "a.example/products"},
		{"http://a.example/%7Euser", "a.example/~user"},
		{"http://a.example/a%2fb", "a.example/a%2Fb"},
		{"http://a.example/a%2Fb", "a.example/a%2Fb"},
		{"http://a.example/caf%c3%a9", "a.example/caf\xc3\xa9"},
		{"http://a.example/caf\u00e9", "a.example/caf\xc3\xa9"},
		{"http://a.example/x%3Fa", "a.example/x%3Fa"},
		{"http://a.example/%2541", "a.example/%2541"},
		{"http://a.example/a%20b", "a.example/a b"},
		{"http://a.example/x?b=2&a=1", "a.example/x?b=2&a=1"},
		{"http://a.example/x?%61=%31", "a.example/x?a=1"},
		{"http://a.example/x?a=1%262", "a.example/x?a=1%262"},
		{"http://a.example/x?a=1%2b2", "a.example/x?a=1%2B2"},
		{"http://a.example/x?a=1+2", "a.example/x?a=1+2"},
		{"http://a.example/x?", "a.example/x"},
		{"http://a.example/x?%zz", "a.example/x?%zz"},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := NameOf(u).String(); got != row.want {
			t.Errorf("%s: %q, want %q", row.url, got, row.want)
		}
	}
}

// The name that a URL has is among those of the key of a request for it, and an
// ordinary key is one of the keys of its name: whatever is stored is found by
// its name.
func FuzzKeyIsFoundByItsName(f *testing.F) {
	f.Add("a.example", "/x", "q=1")
	f.Add("A.example:80", "/%70roducts", "%71=1&utm=2")
	f.Add("a.example", "/a%2Fb", "")
	f.Add("a", "/a%2Fb{c}", "")
	f.Add("[::1]:443", "/caf%c3%a9", "a=1;b=2")
	f.Add("a", "//x", "?")
	seed := maphash.MakeSeed()
	f.Fuzz(func(t *testing.T, host, path, query string) {
		target := path
		if query != "" {
			target += "?" + query
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(path, "/") || u.Host != "" || strings.ContainsAny(path, "?#") {
			return // no URL
		}
		r := &http.Request{Method: "GET", Host: host, URL: u, RequestURI: target}
		whole := *u
		whole.Scheme, whole.Host = "http", host
		name := NameOf(&whole)
		k := new(Rules).Of(r)
		names := k.Names()
		if len(names) != 1 || names[0] != name || names[0].Tag(seed) != name.Tag(seed) {
			t.Fatalf("%q %q: the URL is %q, its key %q", host, target, name, names)
		}
		if !k.Ordinary() {
			return
		}
		if keys := name.Ordinary(); keys[0] != k {
			t.Errorf("%q %q: %+v is ordinary, and %q has %+v", host, target, k, name, keys)
		}
	})
}

// respell spells a text in another way: what need not be encoded may be, and
// hex digits have two cases.
func respell(s, special string, how uint64) string {
	const upper, lower = "0123456789ABCDEF", "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		how = how*6364136223846793005 + 1442695040888963407
		digits := upper
		if how>>60&1 == 1 {
			digits = lower
		}
		switch c := s[i]; {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			v := unhex(s[i+1])<<4 | unhex(s[i+2])
			b.WriteString("%" + string(digits[v>>4]) + string(digits[v&15]))
			i += 2
		case how>>61&1 == 1 && strings.IndexByte(special, c) < 0:
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Two spellings of one URL have one name, which is its own.
func FuzzNameHasNoSpelling(f *testing.F) {
	f.Add("a.example", "/x/y", "q=1", uint64(1))
	f.Add("A.example", "/a%2Fb", "a=1%262&c", uint64(2))
	f.Add("a.example", "/%2541", "%2b+", uint64(3))
	f.Add("[::1]", "/caf%c3%a9", "", uint64(4))
	f.Fuzz(func(t *testing.T, host, path, query string, how uint64) {
		name := Name{spellHost(host), spellPath(path), spell(query, querySpecial)}
		other := Name{spellHost(strings.ToUpper(strings.ToLower(host))), spellPath(respell(path, pathSpecial, how)), spell(respell(query, querySpecial, how), querySpecial)}
		small, again := strings.ToLower(host), strings.ToLower(strings.ToUpper(strings.ToLower(host)))
		if small == again && name != other { // there are letters of which that is not so
			t.Errorf("%q %q %q: %q and %q", host, path, query, name, other)
		}
		twice := Name{spellHost(name.host), spellPath(name.path), spell(name.query, querySpecial)}
		if twice != name {
			t.Errorf("%q, then %q", name, twice)
		}
	})
}

// The name under the rules of a route is that of the key by these rules.
func TestNameUnderRules(t *testing.T) {
	for _, q := range []Query{{}, {Sort: true}, {Allow: []string{"a", "b"}}, {Ignore: []string{"utm_*"}}} {
		for _, target := range []string{"/x?b=2&a=1&utm_x=1", "/x?%62=2&a=%31", "/x?", "/x?c=1", "/x?b=2&&a=1&b=1"} {
			r := httptest.NewRequest("GET", target, nil)
			r.Host = "a.example"
			rules := Rules{Query: q}
			k := rules.Of(r)
			u := *r.URL
			u.Host = r.Host
			if got, want := k.Names()[0], NameOf(&u).Under(&q); got != want {
				t.Errorf("%+v %s: the key has %q, the URL %q", q, target, got, want)
			}
		}
	}
}

// A prefix is compared without encoding, at the beginning of host and path.
func TestNameHasPrefix(t *testing.T) {
	for _, row := range []struct {
		url, prefix string
		want        bool
	}{
		{"http://a.example/x/y", "https://A.example:443/x/", true},
		{"http://a.example/caf%C3%A9/y", "http://a.example/café/", true},
		{"http://a.example/x", "http://a.example", true},
		{"http://a.example/xy", "http://a.example/x", true},
		{"http://a.example/y", "http://a.example/x", false},
		{"http://a.example.evil/x", "http://a.example/", false},
		{"http://b.example/x", "http://a.example/", false},
	} {
		u, _ := url.Parse(row.url)
		p, _ := url.Parse(row.prefix)
		if got := NameOf(u).HasPrefix(Prefix(p)); got != row.want {
			t.Errorf("%s under %s: %v", row.url, row.prefix, got)
		}
	}
}
