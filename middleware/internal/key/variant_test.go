package key

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"testing"
)

// Two requests get the same variant iff they agree in the fields (RFC 9111 4.1).
func TestSameValues(t *testing.T) {
	type header = http.Header
	foo := func(lines ...string) header { return header{"Foo": lines} }
	for _, tt := range []struct {
		name          string
		stored, asked header
		fields        []string
		want          bool
	}{
		{"no fields", foo("1"), foo("2"), nil, true},
		{"equal", foo("1"), foo("1"), []string{"Foo"}, true},
		{"different", foo("1"), foo("2"), []string{"Foo"}, false},
		{"absent in both", header{}, header{}, []string{"Foo"}, true},
		{"absent in one", header{}, foo("1"), []string{"Foo"}, false},
		{"absent is not empty", header{}, foo(""), []string{"Foo"}, false},
		{"a key without lines is absent", header{"Foo": nil}, header{}, []string{"Foo"}, true},
		{"empty in both", foo(""), foo(" "), []string{"Foo"}, true},
		{"lines are combined", foo("1", "2"), foo("1,2"), []string{"Foo"}, true},
		{"two empty lines are empty", foo("", ""), foo(""), []string{"Foo"}, true},
		{"one of two differs", header{"A": {"1"}, "B": {"2"}}, header{"A": {"1"}, "B": {"3"}}, []string{"A", "B"}, false},
		{"others do not count", header{"A": {"1"}, "B": {"2"}}, header{"A": {"1"}}, []string{"A"}, true},
		{"encodings", header{"Accept-Encoding": {"gzip, br"}}, header{"Accept-Encoding": {"br;q=0.9,gzip"}}, []string{"Accept-Encoding"}, true},
		{"encodings that the other cannot read", header{"Accept-Encoding": {"gzip, br"}}, header{"Accept-Encoding": {"gzip"}}, []string{"Accept-Encoding"}, false},
		{"values do not run into each other", header{"A": {"1"}, "B": {"23"}}, header{"A": {"12"}, "B": {"3"}}, []string{"A", "B"}, false},
		{"no preference is not identity", header{}, header{"Accept-Encoding": {""}}, []string{"Accept-Encoding"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := SameValues(tt.fields, tt.stored, tt.asked); got != tt.want {
				t.Errorf("SameValues = %t", got)
			}
			if len(tt.fields) == 0 {
				return
			}
			v := NewVary(tt.fields, maphash.MakeSeed())
			stored, _ := v.Of(tt.stored)
			for i := range 2 { // the second time by the line as it was sent
				asked, known := v.Of(tt.asked)
				if got := asked == stored; got != tt.want {
					t.Errorf("the same variant = %t", got)
				}
				if i == 1 && !known && len(tt.fields) == 1 && len(tt.asked[tt.fields[0]]) == 1 {
					t.Error("the spelling was not learnt")
				}
				v.Learn(tt.asked, asked)
			}
		})
	}
}

// Values longer than what is told apart by are no variant, and spellings that
// come without end are not all remembered.
func TestVaryIsBounded(t *testing.T) {
	v := NewVary([]string{"Foo"}, maphash.MakeSeed())
	if variant, _ := v.Of(http.Header{"Foo": {strings.Repeat("x", MaxVariantBytes+1)}}); !variant.IsZero() {
		t.Error("a variant of too long a value")
	}
	for i := range 1000 {
		h := http.Header{"Foo": {fmt.Sprint(i)}}
		variant, _ := v.Of(h)
		v.Learn(h, variant)
		if n := len(*v.spelled.Load()); n > maxSpelled {
			t.Fatalf("%d spellings", n)
		}
	}
}

// Only requests without any of the fields have the plain variant.
func TestPlainValues(t *testing.T) {
	v := NewVary([]string{"A", "B"}, maphash.MakeSeed())
	for _, row := range []struct {
		h    http.Header
		want bool
	}{{http.Header{}, true}, {http.Header{"C": {"1"}}, true}, {http.Header{"A": {""}}, false}, {http.Header{"B": {"1"}}, false}} {
		if variant, _ := v.Of(row.h); v.PlainValues(variant.String()) != row.want {
			t.Errorf("%v: %v", row.h, !row.want)
		}
	}
}
