package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestNotModifiedByTag(t *testing.T) {
	for _, tt := range []struct {
		name   string
		asked  []string
		stored []string
		want   bool
	}{
		{"equal", []string{`"abc"`}, []string{`"abc"`}, true},
		{"different", []string{`"abd"`}, []string{`"abc"`}, false},
		{"tags have case", []string{`"ABC"`}, []string{`"abc"`}, false},
		{"weak in the list", []string{`W/"abc"`}, []string{`"abc"`}, true},
		{"weak in store", []string{`"abc"`}, []string{`W/"abc"`}, true},
		{"star", []string{"*"}, []string{`"abc"`}, true},
		{"star, no tag in store", []string{" * "}, nil, true},
		{"star in a list is no tag", []string{`*, "x"`}, []string{`"abc"`}, false},
		{"a tag that looks like a star", []string{`"*"`}, []string{`"abc"`}, false},
		{"list, first", []string{`"abc", "1", "2"`}, []string{`"abc"`}, true},
		{"list, middle", []string{`"1","abc","2"`}, []string{`"abc"`}, true},
		{"list, last", []string{`"1", W/"2" , W/"abc"`}, []string{`"abc"`}, true},
		{"list, second line", []string{`"1"`, `"abc"`}, []string{`"abc"`}, true},
		{"list, empty members", []string{`,, "abc",`}, []string{`"abc"`}, true},
		{"no tag in store", []string{`"abc"`}, nil, false},
		{"two tags in store", []string{`"abc"`}, []string{`"abc"`, `"abc"`}, false},
		{"a list in store", []string{`"abc"`}, []string{`"abc", "abd"`}, false},
		{"empty tag", []string{`""`}, []string{`""`}, true},
		{"empty field", []string{""}, []string{`""`}, false},
		{"comma in a tag", []string{`"a,b"`}, []string{`"a,b"`}, true},
		{"comma in a tag divides nothing", []string{`"a,abc"`}, []string{`abc"`}, false},
		{"a backslash escapes nothing", []string{`"a\", "b"`}, []string{`"b"`}, true},
		{"obs-text", []string{"\"abc\xfc\""}, []string{"\"abc\xfc\""}, true},
		{"substring", []string{`"abcdef"`}, []string{`"abc"`}, false},

		{"unquoted in the list", []string{`abc`}, []string{`"abc"`}, true},
		{"unquoted in store", []string{`"1", "abc"`}, []string{`abc`}, true},
		{"unquoted in both", []string{`1, abc`}, []string{`abc`}, true},
		{"weakness flag in lower case", []string{`w/"abc"`}, []string{`w/"abc"`}, true},
		{"weakness flag with a backslash", []string{`W\"abc"`}, []string{`W\"abc"`}, true},
		{"weakness flag without a slash", []string{`W"abc"`}, []string{`W"abc"`}, true},
		{"never closed", []string{`"abc`}, []string{`"abc"`}, false},
		{"never closed in store", []string{`"abc`}, []string{`"abc`}, false},
		{"junk after a tag", []string{`"abc"x, "1"`}, []string{`"abc"`}, false},
		{"the list goes on after junk", []string{`"1"x, "abc"`}, []string{`"abc"`}, true},
		{"whitespace in a tag", []string{`"a b"`}, []string{`"a b"`}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := http.Header{"If-None-Match": tt.asked}
			if got := NotModified(request, &Validators{Etag: tt.stored}, testNow); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestNotModifiedByDate(t *testing.T) {
	at := func(d time.Duration) string { return testNow.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		name   string
		asked  http.Header
		stored http.Header
		want   bool
	}{
		{"no condition", http.Header{}, http.Header{"Last-Modified": {at(0)}, "Etag": {`"a"`}}, false},
		{"equal", http.Header{"If-Modified-Since": {at(-time.Minute)}}, http.Header{"Last-Modified": {at(-time.Minute)}}, true},
		{"modified before", http.Header{"If-Modified-Since": {at(0)}}, http.Header{"Last-Modified": {at(-time.Hour)}}, true},
		{"modified after", http.Header{"If-Modified-Since": {at(-time.Hour)}}, http.Header{"Last-Modified": {at(0)}}, false},
		{"other format", http.Header{"If-Modified-Since": {testNow.Format("Monday, 02-Jan-06 15:04:05 GMT")}}, http.Header{"Last-Modified": {at(0)}}, true},
		{"invalid condition", http.Header{"If-Modified-Since": {"x"}}, http.Header{"Last-Modified": {at(0)}}, false},
		{"two conditions", http.Header{"If-Modified-Since": {at(0), at(0)}}, http.Header{"Last-Modified": {at(0)}}, false},
		{"invalid Last-Modified", http.Header{"If-Modified-Since": {at(0)}}, http.Header{"Last-Modified": {"x"}, "Date": {at(0)}}, false},
		{"Date for Last-Modified", http.Header{"If-Modified-Since": {at(0)}}, http.Header{"Date": {at(0)}}, true},
		{"Date for Last-Modified, newer", http.Header{"If-Modified-Since": {at(-time.Hour)}}, http.Header{"Date": {at(0)}}, false},
		{"time of storing for Date", http.Header{"If-Modified-Since": {at(0)}}, http.Header{}, true},
		{"time of storing for Date, newer", http.Header{"If-Modified-Since": {at(-time.Second)}}, http.Header{}, false},
		{"If-None-Match comes first and matches", http.Header{"If-None-Match": {`"a"`}, "If-Modified-Since": {at(-time.Hour)}},
			http.Header{"Etag": {`"a"`}, "Last-Modified": {at(0)}}, true},
		{"If-None-Match comes first and does not", http.Header{"If-None-Match": {`"b"`}, "If-Modified-Since": {at(0)}},
			http.Header{"Etag": {`"a"`}, "Last-Modified": {at(0)}}, false},
		{"also when it is empty", http.Header{"If-None-Match": {""}, "If-Modified-Since": {at(0)}}, http.Header{"Last-Modified": {at(0)}}, false},
		{"conditions for the origin do not count", http.Header{"If-Match": {`"a"`}, "If-Unmodified-Since": {at(0)}},
			http.Header{"Etag": {`"a"`}, "Last-Modified": {at(0)}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := NotModified(tt.asked, of(tt.stored), testNow); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestStripConditional(t *testing.T) {
	h := http.Header{"Accept": {"x"}}
	for _, name := range ConditionalHeaders {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s is not canonical", name)
		}
		h.Set(name, "x")
	}
	StripConditional(h)
	if len(h) != 1 {
		t.Errorf("left: %v", h)
	}
}

func FuzzEntityTags(f *testing.F) {
	f.Add(`"a", W/"b"`, "c")
	f.Add(`a, "b`, "d,e")
	f.Fuzz(func(t *testing.T, list, opaque string) {
		// Any list is read to its end, in pieces of it.
		for rest := list; rest != ""; {
			before := len(rest)
			var tag entityTag
			tag, rest, _ = cutTag(rest)
			if len(rest) >= before || !strings.Contains(list, tag.opaque) {
				t.Fatalf("%q: %+v, rest %q", list, tag, rest)
			}
		}
		// A valid tag is found at the end of any list of valid tags.
		if strings.ContainsFunc(opaque, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
			return
		}
		tag := `"` + opaque + `"`
		stored := &Validators{Etag: []string{tag}}
		for _, field := range []string{tag, "W/" + tag, `"1", W/"2",` + tag} {
			if !NotModified(http.Header{"If-None-Match": {field}}, stored, testNow) {
				t.Errorf("%q is not found in %q", tag, field)
			}
		}
		// A tag matches a list only if its characters are in there.
		if NotModified(http.Header{"If-None-Match": {list}}, stored, testNow) && trimOWS(list) != "*" &&
			!strings.Contains(list, opaque) {
			t.Errorf("%q is found in %q", tag, list)
		}
	})
}

func of(h http.Header) *Validators {
	return &Validators{h["Etag"], h["Last-Modified"], h["Date"]}
}
