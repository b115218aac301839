package rfc9111

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestVaryFields(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
		star  bool
	}{
		{"absent", nil, nil, false},
		{"empty", []string{"", " ,"}, nil, false},
		{"one", []string{"accept-encoding"}, []string{"Accept-Encoding"}, false},
		{"sorted, each once, over all lines", []string{"foo , Bar", "FOO,,accept"}, []string{"Accept", "Bar", "Foo"}, false},
		{"star", []string{"*"}, nil, true},
		{"two stars", []string{"*, *"}, nil, true},
		{"star after nothing", []string{", *"}, nil, true},
		{"star on the second line", []string{"", "*"}, nil, true},
		{"star first", []string{"*, Foo"}, nil, true},
		{"star last", []string{"Foo, *"}, nil, true},
		{"no field name", []string{"Foo Bar"}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, star := VaryFields(http.Header{"Vary": tt.lines})
			if star != tt.star || len(got)+len(tt.want) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, %t", got, star)
			}
		})
	}
}

func normaliseField(name string, lines []string) string {
	return string(AppendNormalised(nil, name, lines))
}

func TestNormaliseField(t *testing.T) {
	const ae, al, other = "Accept-Encoding", "Accept-Language", "Foo"
	for _, tt := range []struct {
		name  string
		field string
		lines []string
		want  string
	}{
		{"absent", ae, nil, ""},
		{"empty: only identity", ae, []string{""}, "identity"},
		{"identity alone", ae, []string{"identity"}, "identity"},
		{"identity is implied", ae, []string{"gzip, identity"}, "gzip"},
		{"set in one order", ae, []string{"gzip, deflate,br", "ZSTD"}, "br, deflate, gzip, zstd"},
		{"weights are dropped", ae, []string{"br;q=0.5, gzip ; q=1.0"}, "br, gzip"},
		{"refused is kept apart from not named", ae, []string{"br;q=0, gzip;q=0.000"}, "br;q=0, gzip;q=0"},
		{"old names", ae, []string{"x-gzip, gzip"}, "gzip"},
		{"star", ae, []string{"*"}, "*"},
		{"star but for one", ae, []string{"br;q=0, *"}, "*, br;q=0"},
		{"star refused refuses identity", ae, []string{"gzip, *;q=0"}, "gzip, identity;q=0"},
		{"unless it is named", ae, []string{"identity, *;q=0"}, "identity"},
		{"identity refused", ae, []string{"identity;q=0, br"}, "br, identity;q=0"},
		{"nothing accepted", ae, []string{"*;q=0"}, "identity;q=0"},
		{"unknown codings stay", ae, []string{"dcz, DCB, gzip"}, "gzip, dcb, dcz"},
		{"unknown coding refused by a star", ae, []string{"*, foo;q=0"}, "*, foo;q=0"},
		{"contradiction: as sent", ae, []string{"gzip,gzip;q=0"}, "gzip, gzip;q=0"},
		{"invalid weight: as sent", ae, []string{"gzip;q=2,br"}, "gzip;q=2, br"},
		{"no weight: as sent", ae, []string{"gzip;level=9"}, "gzip;level=9"},

		{"language order", al, []string{"en, de"}, "de, en"},
		{"language case", al, []string{"eN", "De"}, "de, en"},
		{"language whitespace", al, []string{" en ,   de,,"}, "de, en"},
		{"language weights stay", al, []string{"fr ; Q=0.50, de;q=1.0, en;q=0.0"}, "de;q=1, en;q=0, fr;q=0.5"},
		{"language, invalid weight", al, []string{"de;q=1.50"}, "de;q=1.50"},
		{"language, empty", al, []string{" "}, ","},
		{"charset", "Accept-Charset", []string{"UTF-8, ISO-8859-1"}, "iso-8859-1, utf-8"},
		{"quotes have no place there", al, []string{`b, "a`}, `b, "a`},

		{"accept keeps order", "Accept", []string{"Text/HTML,application/json ; Q=0.90"}, "text/html, application/json;q=0.9"},
		{"accept, values of parameters have case", "Accept", []string{"text/x; Profile=A"}, "text/x;profile=A"},
		{"accept, quotes: as sent", "Accept", []string{`Text/x; p="A, b" ,y/Z`}, `Text/x; p="A, b", y/z`},

		{"unknown: lines are combined", other, []string{"1", "2"}, "1, 2"},
		{"unknown: whitespace", other, []string{" 1,2 "}, "1, 2"},
		{"unknown: case, order and empty members stay", other, []string{"b,,A"}, "b, , A"},
		{"unknown: commas in strings stay", other, []string{`a,"b,c"`}, `a, "b,c"`},
		{"unknown: empty is not absent", other, []string{""}, ","},
		{"unknown: a string over two lines", other, []string{`"a`, `b" ,c`}, `"a, b", c`},

		{"cookies are joined their own way", "Cookie", []string{"a=1", "b=2,3"}, "a=1; b=2,3"},
		{"credentials as sent", "Authorization", []string{"Digest a,b"}, "Digest a,b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := normaliseField(tt.field, tt.lines)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if prefixed := AppendNormalised([]byte("x"), tt.field, tt.lines); string(prefixed) != "x"+got {
				t.Errorf("after a prefix: %q", prefixed)
			}
		})
	}
}

var normalisedFields = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cookie", "Foo", "User-Agent",
}

func FuzzNormaliseField(f *testing.F) {
	f.Add("gzip;q=0, *, foo", "identity")
	f.Add(`text/*;q=0.50, "a`, `b" ,c`)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, name := range normalisedFields {
			for _, lines := range [][]string{{a}, {a, b}} {
				once := normaliseField(name, lines)
				if once == "" {
					t.Errorf("%s: %q looks absent", name, lines)
				}
				if twice := normaliseField(name, []string{once}); twice != once {
					t.Errorf("%s: %q gives %q, which gives %q", name, lines, once, twice)
				}
			}
			// Combining lines changes nothing (RFC 9110 5.2).
			sep := ", "
			if name == "Cookie" {
				sep = "; "
			}
			if normaliseField(name, []string{a, b}) != normaliseField(name, []string{a + sep + b}) {
				t.Errorf("%s: %q and %q change when combined", name, a, b)
			}
		}
	})
}

// FuzzEncodings checks that what a client accepts is what is left of its field.
func FuzzEncodings(f *testing.F) {
	f.Add("gzip, br;q=0.5, *;q=0")
	f.Add("*, identity;q=0, foo;q=0")
	f.Add("foo;q=0.3,FOO , x-gzip")
	f.Fuzz(func(t *testing.T, s string) {
		normalised := normaliseField("Accept-Encoding", []string{s})
		for _, coding := range []string{"br", "gzip", "compress", "zstd", "identity", "foo", "never-sent"} {
			before, readable := accepts(s, coding)
			after, still := accepts(normalised, coding)
			if readable != still || before != after {
				t.Errorf("%q as %q: %s accepted %t, then %t; readable %t, then %t",
					s, normalised, coding, before, after, readable, still)
			}
		}
	})
}

// accepts is RFC 9110 12.5.3 written down plainly.
func accepts(field, coding string) (accepted, readable bool) {
	weights := map[string]bool{}
	for member := range strings.SplitSeq(field, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		name, weight, weighted := strings.Cut(member, ";")
		name = strings.Trim(strings.ToLower(name), " \t")
		if name == "x-gzip" || name == "x-compress" {
			name = name[2:]
		}
		if !isToken(name) {
			return false, false
		}
		ok := true
		if weighted {
			q, value, _ := strings.Cut(weight, "=")
			thousandths, valid := parseWeight(strings.Trim(value, " \t"))
			if !valid || strings.Trim(strings.ToLower(q), " \t") != "q" {
				return false, false
			}
			ok = thousandths > 0
		}
		if before, seen := weights[name]; seen && before != ok {
			return false, false
		}
		weights[name] = ok
	}
	if ok, listed := weights[coding]; listed {
		return ok, true
	}
	star, listed := weights["*"]
	if coding == "identity" {
		return star || !listed, true
	}
	return star, true
}

func TestParseWeight(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int
		ok   bool
	}{
		{"1", 1000, true}, {"0", 0, true}, {"0.", 0, true}, {"1.000", 1000, true}, {"0.5", 500, true}, {"0.001", 1, true},
		{"", 0, false}, {".5", 0, false}, {"1.001", 0, false}, {"2", 0, false}, {"0.0001", 0, false}, {"00", 0, false}, {"0.x", 0, false}, {"-1", 0, false},
	} {
		if got, ok := parseWeight(tt.in); ok != tt.ok || ok && got != tt.want {
			t.Errorf("parseWeight(%q) = %d, %t", tt.in, got, ok)
		}
	}
}
