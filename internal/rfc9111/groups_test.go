package rfc9111

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestGroups(t *testing.T) {
	for _, row := range []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{`"a"`}, []string{"a"}},
		{[]string{`"a", "b c"`, `"d\"e"`}, []string{"a", "b c", `d"e`}},
		{[]string{`"a";x=1, "b"`}, []string{"a", "b"}}, // parameters are ignored
		{[]string{`a`}, nil},         // a token is no string
		{[]string{`"a", 1`}, nil},    // one wrong member spoils all
		{[]string{`("a" "b")`}, nil}, // nor is an inner list
		{[]string{`"a", `}, nil},
		{[]string{`"a`}, nil},
		{[]string{"\"\u00e9\""}, nil},
		{[]string{`"` + strings.Repeat("x", 32) + `"` + strings.Repeat(`, "y"`, 31)}, append([]string{strings.Repeat("x", 32)}, slices.Repeat([]string{"y"}, 31)...)},
	} {
		if got := Groups(row.lines); !slices.Equal(got, row.want) {
			t.Errorf("%q: %q, want %q", row.lines, got, row.want)
		}
	}
}

func TestSurrogateKeys(t *testing.T) {
	h := http.Header{
		"Surrogate-Key": {" a  b\tc", "d"},
		"Cache-Tag":     {"e f, g,,", " "},
	}
	if got, want := SurrogateKeys(h), []string{"a", "b", "c", "d", "e f", "g"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := SurrogateKeys(http.Header{}); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}

// FuzzGroups: what is read is what a list of these strings would be read as.
func FuzzGroups(f *testing.F) {
	f.Add(`"a", "b"`)
	f.Add(`"a\\";q="x" , "b"`)
	f.Add(`tok, "x"`)
	f.Fuzz(func(t *testing.T, line string) {
		groups := Groups([]string{line})
		escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		quoted := make([]string, len(groups))
		for i, group := range groups {
			quoted[i] = `"` + escape.Replace(group) + `"`
		}
		if again := Groups(quoted); !slices.Equal(again, groups) {
			t.Errorf("%q: %q, and again %q", line, groups, again)
		}
	})
}
