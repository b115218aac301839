package middleware

import (
	"net/http"
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
			if got := sameValues(tt.fields, tt.stored, tt.asked); got != tt.want {
				t.Errorf("sameValues = %t", got)
			}
			vs := newVariants(tt.fields, 2, 0)
			added := vs.add(tt.stored, func(*variant) bool { return true })
			for range 2 { // the second time by the line as it was sent
				if got := vs.find(tt.asked) == added; got != tt.want {
					t.Errorf("found = %t", got)
				}
			}
		})
	}
}
