package rfc9111

import (
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func set(seconds int64) Delta { return Delta{D: time.Duration(seconds) * time.Second, Set: true} }

func TestParseCacheControl(t *testing.T) {
	stale := CacheControl{MaxAge: set(0)}
	for _, tt := range []struct {
		name  string
		lines []string
		want  CacheControl
	}{
		{"absent", nil, CacheControl{}},
		{"empty members are no directives", []string{"", " , ,", "public,,max-age=1,"}, CacheControl{Public: true, MaxAge: set(1)}},
		{"all flags", []string{"no-store, no-cache, private, public, must-revalidate, proxy-revalidate, must-understand, no-transform, immutable, only-if-cached"},
			CacheControl{NoStore: true, NoCache: true, Private: true, Public: true, MustRevalidate: true, ProxyRevalidate: true,
				MustUnderstand: true, NoTransform: true, Immutable: true, OnlyIfCached: true}},
		{"all deltas", []string{"max-age=1,s-maxage=2,stale-while-revalidate=3", "stale-if-error=4", "max-stale=5 ,\tmin-fresh=6"},
			CacheControl{MaxAge: set(1), SMaxAge: set(2), StaleWhileRevalidate: set(3), StaleIfError: set(4), MaxStale: set(5), MinFresh: set(6)}},
		{"names in any case", []string{"MaX-aGe=3600, No-StOrE"}, CacheControl{NoStore: true, MaxAge: set(3600)}},
		{"case folding is ASCII: long s is no s", []string{"ſ-maxage=10"}, CacheControl{NoStore: true}},
		{"unknown directives are ignored", []string{"foobar, max-age=3600, x=y, z=\"a,b\", an-extension-with-a-very-long-name=1"}, CacheControl{MaxAge: set(3600)}},

		{"quoted value", []string{`max-age="3600"`}, CacheControl{MaxAge: set(3600)}},
		{"single quotes are no quotes", []string{`max-age='3600'`}, stale},
		{"inside the argument of another, before", []string{`extension="max-age=3600", max-age=1`}, CacheControl{MaxAge: set(1)}},
		{"inside the argument of another, after", []string{`max-age=1, extension="max-age=3600"`}, CacheControl{MaxAge: set(1)}},
		{"inside the argument of another, alone in a list", []string{`foo="a, max-age=100, public"`}, CacheControl{}},
		{"a quoted pair does not close the string", []string{`foo="a\", max-age=100"`}, CacheControl{}},
		{"leading zeros", []string{"max-age=003600"}, CacheControl{MaxAge: set(3600)}},

		{"no value", []string{"max-age"}, stale},
		{"empty value", []string{"max-age="}, stale},
		{"empty quoted value", []string{`max-age=""`}, stale},
		{"space before =", []string{"max-age =3600"}, stale},
		{"space after =", []string{"max-age= 3600"}, stale},
		{"spaces around =", []string{"max-age = 10"}, stale},
		{"fraction", []string{"max-age=10.5"}, stale},
		{"fraction of zero", []string{"max-age=3600.0"}, stale},
		{"negative", []string{"max-age=-1"}, stale},
		{"sign", []string{"max-age=+1"}, stale},
		{"trailing letter", []string{"max-age=1a"}, stale},
		{"leading letter", []string{"max-age=a100"}, stale},
		{"semicolon for comma", []string{"max-age=100; private"}, stale},
		{"escaped digits", []string{`max-age="\10"`}, stale},

		{"2^31-1", []string{"max-age=2147483647"}, CacheControl{MaxAge: set(math.MaxInt32)}},
		{"2^31", []string{"max-age=2147483648"}, CacheControl{MaxAge: set(1 << 31)}},
		{"above 2^31", []string{"max-age=99999999999"}, CacheControl{MaxAge: set(1 << 31)}},
		{"above 2^64", []string{"max-age=" + strings.Repeat("9", 100)}, CacheControl{MaxAge: set(1 << 31)}},

		{"duplicates: the smaller, second", []string{"max-age=1800, max-age=1"}, CacheControl{MaxAge: set(1)}},
		{"duplicates: the smaller, first", []string{"max-age=1", "max-age=1800"}, CacheControl{MaxAge: set(1)}},
		{"duplicates: an invalid one is 0", []string{"max-age=1800, max-age=x"}, stale},
		{"duplicates: the larger min-fresh", []string{"min-fresh=5, min-fresh=9, min-fresh=7"}, CacheControl{MinFresh: set(9)}},
		{"max-stale without a value", []string{"max-stale"}, CacheControl{MaxStale: Delta{math.MaxInt64, true}}},
		{"max-stale, the smaller", []string{"max-stale, max-stale=5"}, CacheControl{MaxStale: set(5)}},

		{"qualified private", []string{`private="x-user, SET-COOKIE"`}, CacheControl{PrivateFields: []string{"X-User", "Set-Cookie"}}},
		{"qualified no-cache, token form", []string{"no-cache=set-cookie"}, CacheControl{NoCacheFields: []string{"Set-Cookie"}}},
		{"qualified over two directives", []string{`no-cache="a"`, `no-cache=", b,"`}, CacheControl{NoCacheFields: []string{"A", "B"}}},
		{"qualified with quoted pairs", []string{`private="\a\b"`}, CacheControl{PrivateFields: []string{"Ab"}}},
		{"qualified and not: both", []string{`private="a", private`}, CacheControl{Private: true, PrivateFields: []string{"A"}}},
		{"an empty list qualifies nothing", []string{`private="", no-cache=" , "`}, CacheControl{Private: true, NoCache: true}},
		{"an empty argument qualifies nothing", []string{`private=`}, CacheControl{Private: true}},
		{"not a field name", []string{`private="a b"`}, CacheControl{Private: true}},
		{"spaces around = of a list", []string{`private = "a"`}, CacheControl{Private: true}},

		{"restrictions count with an argument", []string{"no-store=1, must-revalidate=x"}, CacheControl{NoStore: true, MustRevalidate: true}},
		{"permissions do not", []string{`public=1, immutable="x"`}, CacheControl{}},

		{"string never closed", []string{`max-age=60, foo="bar, private`}, CacheControl{NoStore: true, MaxAge: set(60)}},
		{"string continued on the next line", []string{`foo="bar`, `max-age=60"`}, CacheControl{NoStore: true}},
		{"text after a string", []string{`max-age="1"0`}, CacheControl{NoStore: true}},
		{"string in the middle", []string{`foo=a"b, max-age=1"`}, CacheControl{NoStore: true}},
		{"string as a name", []string{`"max-age=10"`}, CacheControl{NoStore: true}},
		{"two directives in one", []string{"private; max-age=60"}, CacheControl{NoStore: true}},
		{"colon for =", []string{"max-age:60"}, CacheControl{NoStore: true}},
		{"no name", []string{"=1, max-age=60"}, CacheControl{NoStore: true, MaxAge: set(60)}},
		{"must-understand cannot lift that", []string{`must-understand, a="`}, CacheControl{NoStore: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParseCacheControl(tt.lines); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseCacheControl(%q)\n got %+v\nwant %+v", tt.lines, got, tt.want)
			}
		})
	}
}

// format is the inverse of ParseCacheControl.
func format(cc CacheControl) string {
	var members []string
	flag := func(name string, is bool) {
		if is {
			members = append(members, name)
		}
	}
	fields := func(name string, list []string) {
		if len(list) > 0 {
			members = append(members, name+`="`+strings.Join(list, ", ")+`"`)
		}
	}
	delta := func(name string, d Delta) {
		switch {
		case d.Set && d.D == Unlimited:
			members = append(members, name)
		case d.Set:
			members = append(members, name+"="+strconv.FormatInt(int64(d.D/time.Second), 10))
		}
	}
	flag("no-store", cc.NoStore)
	flag("no-cache", cc.NoCache)
	flag("private", cc.Private)
	flag("public", cc.Public)
	flag("must-revalidate", cc.MustRevalidate)
	flag("proxy-revalidate", cc.ProxyRevalidate)
	flag("must-understand", cc.MustUnderstand)
	flag("no-transform", cc.NoTransform)
	flag("immutable", cc.Immutable)
	flag("only-if-cached", cc.OnlyIfCached)
	fields("no-cache", cc.NoCacheFields)
	fields("private", cc.PrivateFields)
	delta("max-age", cc.MaxAge)
	delta("s-maxage", cc.SMaxAge)
	delta("stale-while-revalidate", cc.StaleWhileRevalidate)
	delta("stale-if-error", cc.StaleIfError)
	delta("max-stale", cc.MaxStale)
	delta("min-fresh", cc.MinFresh)
	return strings.Join(members, ", ")
}

func FuzzParseCacheControl(f *testing.F) {
	f.Add("max-age=1, private=\"a, b\"", "no-cache")
	f.Add(`foo="a\", max-stale`, `x=", min-fresh=9`)
	f.Fuzz(func(t *testing.T, a, b string) {
		cc := ParseCacheControl([]string{a, b})
		if again := ParseCacheControl([]string{format(cc)}); !reflect.DeepEqual(again, cc) {
			t.Errorf("%q, %q: %+v written as %q is %+v", a, b, cc, format(cc), again)
		}
		for _, d := range []Delta{cc.MaxAge, cc.SMaxAge, cc.StaleWhileRevalidate, cc.StaleIfError, cc.MinFresh} {
			if d.D < 0 || d.D > MaxDelta || !d.Set && d.D != 0 {
				t.Errorf("%q, %q: %+v", a, b, d)
			}
		}
		// Another line only ever restricts, but for the permissions.
		one := ParseCacheControl([]string{a})
		if one.NoStore && !cc.NoStore || one.Private && !cc.Private || one.NoCache && !cc.NoCache ||
			one.MaxAge.Set && cc.MaxAge.D > one.MaxAge.D || one.SMaxAge.Set && cc.SMaxAge.D > one.SMaxAge.D {
			t.Errorf("%q is lifted by %q", a, b)
		}
	})
}

func TestCanonicalise(t *testing.T) {
	shared := make([]string, 1, 2)
	shared[0] = "a=1"
	h := http.Header{"Set-Cookie": shared, "set-cookie": {"b=2"}, "SET-COOKIE": {"c=3"}, "cache-control": {"private"}, "Date": {"x"}}
	got := Canonicalise(h)
	want := http.Header{"Set-Cookie": {"a=1", "c=3", "b=2"}, "Cache-Control": {"private"}, "Date": {"x"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(h) != 5 {
		t.Errorf("changed the original: %v", h)
	}
	if same := Canonicalise(got); len(same) != len(got) || &same["Date"][0] != &got["Date"][0] {
		t.Error("copied what is canonical")
	}
	if shared[:2][1] != "" {
		t.Error("wrote into an array that may be shared")
	}
}
