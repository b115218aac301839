package stored

import (
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"
)

// What a stored field does to that of the outside.
func TestApplyModes(t *testing.T) {
	for _, row := range []struct {
		name   string
		before []string // nil: absent
		field  Field
		want   []string // nil: absent
	}{
		{"set", []string{"theirs"}, Field{"X", []string{"1", "2"}, Set}, []string{"1", "2"}},
		{"set, absent", nil, Field{"X", []string{"1"}, Set}, []string{"1"}},
		{"set to nothing", []string{"theirs"}, Field{"X", []string{}, Set}, []string{}},
		{"add", []string{"theirs"}, Field{"X", []string{"1"}, Add}, []string{"theirs", "1"}},
		{"add, absent", nil, Field{"X", []string{"1"}, Add}, []string{"1"}},
		{"add the same", []string{"1"}, Field{"X", []string{"1"}, Add}, []string{"1", "1"}},
		{"add to Vary", []string{"A"}, Field{"Vary", []string{"A", "B"}, Add}, []string{"A", "B"}},
		{"default", []string{"theirs"}, Field{"X", []string{"1"}, Default}, []string{"theirs"}},
		{"default, absent", nil, Field{"X", []string{"1"}, Default}, []string{"1"}},
		{"default, none wanted", []string{}, Field{"X", []string{"1"}, Default}, []string{}},
		{"remove", []string{"theirs"}, Field{Name: "X", Mode: Remove}, nil},
		{"remove, absent", nil, Field{Name: "X", Mode: Remove}, nil},
	} {
		for name, apply := range map[string]func(h http.Header, f Field){
			"Apply": func(h http.Header, f Field) { Apply(h, []Field{f}) },
			"Header": func(h http.Header, f Field) {
				var r Response
				r.Make(&Draft{Status: 200, Fields: []Field{f}}, nil, time.Now())
				r.Header(h, true, "7", "freshet; hit")
				if h.Get("Age") != "7" || h.Get("Cache-Status") != "freshet; hit" {
					t.Errorf("%s: %q", row.name, h)
				}
			},
		} {
			t.Run(row.name+" by "+name, func(t *testing.T) {
				h := make(http.Header)
				theirs := append(make([]string, 0, 8), row.before...)
				if row.before != nil {
					h[row.field.Name] = theirs
				}
				kept := slices.Clone(row.field.Values)
				apply(h, row.field)
				got, there := h[row.field.Name]
				if !slices.Equal(got, row.want) || there != (row.want != nil) {
					t.Errorf("%q, want %q", got, row.want)
				}
				// What the client does with it reaches nobody.
				got = append(got, "appended")
				for i := range got {
					got[i] = "edited"
				}
				if !slices.Equal(row.field.Values, kept) || row.field.Mode != Default && slices.Contains(theirs[:cap(theirs)], "appended") {
					t.Errorf("stored are %q, and what was outside is %q", row.field.Values, theirs[:cap(theirs)])
				}
			})
		}
	}
}

// Values of one field do not run into those of the next, nor into what comes
// after them, and one client's are not another's.
func TestHeaderValuesAreApart(t *testing.T) {
	var r Response
	draft := Draft{Status: 200, Fields: []Field{{"A", []string{"1"}, Set}, {"B", []string{"2", "3"}, Add}}, Upstream: []string{"up; hit"}, Unsized: true}
	r.Make(&draft, []byte("body"), time.Now())
	for range 2 {
		for _, content := range []bool{true, false} {
			h := make(http.Header)
			r.Header(h, content, "7", "freshet; hit")
			want := http.Header{"A": {"1"}, "B": {"2", "3"}, "Age": {"7"}, "Cache-Status": {"up; hit", "freshet; hit"}}
			if content {
				want["Content-Length"] = []string{"4"}
			}
			if !reflect.DeepEqual(h, want) {
				t.Errorf("content %v: %q, want %q", content, h, want)
			}
			for name := range h { // none of them reaches another
				h[name] = append(h[name], name)
				h[name][0] = name
			}
			for name, values := range h {
				if len(values) != len(want[name])+1 || values[0] != name || values[len(values)-1] != name {
					t.Errorf("%s is %q", name, values)
				}
			}
		}
	}
}

// A response has the fields of its draft and those that can be told of its body,
// and a 304 of it those that do not describe the content.
func TestMakeResponse(t *testing.T) {
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name  string
		draft Draft
		body  string
		want  http.Header
	}{
		{"as it is", Draft{Status: 200, Fields: []Field{{"X", []string{"1"}, Set}}}, "body", http.Header{"X": {"1"}}},
		{"unsized", Draft{Status: 200, Unsized: true}, "body", http.Header{"Content-Length": {"4"}}},
		{"unsized and empty", Draft{Status: 200, Unsized: true, Untyped: true}, "", http.Header{"Content-Length": {"0"}}},
		{"untyped", Draft{Status: 200, Untyped: true}, "<html>", http.Header{"Content-Type": {"text/html; charset=utf-8"}}},
		{"without a body", Draft{Status: 204, Unsized: true, Untyped: true}, "", http.Header{}},
		{"a field removed", Draft{Status: 200, Fields: []Field{{Name: "X", Mode: Remove}}}, "", http.Header{}},
	} {
		var r Response
		kept := slices.Clone(row.draft.Fields)
		r.Make(&row.draft, []byte(row.body), date)
		if got := HeaderOf(r.Fields()); len(got) != len(row.want) || string(r.Body) != row.body {
			t.Errorf("%s: %q %q", row.name, got, r.Body)
		} else {
			for name, values := range row.want {
				if !slices.Equal(got[name], values) {
					t.Errorf("%s: %s is %q, want %q", row.name, name, got[name], values)
				}
			}
		}
		notModified := make(http.Header)
		r.Header(notModified, false, "0", "")
		for name := range notModified {
			if DescribesContent(name) {
				t.Errorf("%s: a 304 has %s", row.name, name)
			}
		}
		if !slices.EqualFunc(row.draft.Fields, kept, func(a, b Field) bool { return a.Name == b.Name }) {
			t.Errorf("%s: the draft was changed", row.name)
		}
		if cap(r.Body) != len(r.Body) {
			t.Errorf("%s: a body of %d may grow to %d in place", row.name, len(r.Body), cap(r.Body))
		}
	}
}
