package rfc9111

import (
	"net/http"
	"strconv"
	"testing"
)

func TestSelectRange(t *testing.T) {
	for _, tt := range []struct {
		field         string
		start, length int64
		want          Selection
	}{
		{"bytes=0-4", 0, 5, SelectPart},
		{"bytes=2-2", 2, 1, SelectPart},
		{"bytes=5-", 5, 5, SelectPart},
		{"bytes=0-", 0, 10, SelectPart},
		{"bytes=5-99", 5, 5, SelectPart},
		{"bytes=5-99999999999999999999", 5, 5, SelectPart},
		{"bytes=-3", 7, 3, SelectPart},
		{"bytes=-10", 0, 10, SelectPart},
		{"bytes=-99", 0, 10, SelectPart},
		{"BYTES=1-2", 1, 2, SelectPart},
		{"bytes= 1-2", 1, 2, SelectPart},

		{"bytes=10-", 0, 0, SelectNone},
		{"bytes=99999999999999999999-", 0, 0, SelectNone},
		{"bytes=99999999999999999999999-", 0, 0, SelectNone},
		{"bytes=9223372036854775808-", 0, 0, SelectNone},
		{"bytes=-99999999999999999999999", 0, 10, SelectPart},
		{"bytes=5-99999999999999999999999", 5, 5, SelectPart},
		{"bytes=10-12", 0, 0, SelectNone},
		{"bytes=-0", 0, 0, SelectNone},

		{"bytes=4-2", 0, 10, SelectWhole},
		{"bytes=0-1,3-4", 0, 10, SelectWhole},
		{"bytes=0-1, ", 0, 10, SelectWhole},
		{"bytes=", 0, 10, SelectWhole},
		{"bytes=-", 0, 10, SelectWhole},
		{"bytes=a-b", 0, 10, SelectWhole},
		{"bytes=+1-2", 0, 10, SelectWhole},
		{"bytes=1 -2", 0, 10, SelectWhole},
		{"bytes=--1", 0, 10, SelectWhole},
		{"bytes 0-4", 0, 10, SelectWhole},
		{"items=0-4", 0, 10, SelectWhole},
		{"", 0, 10, SelectWhole},
	} {
		start, length, got := SelectRange([]string{tt.field}, 10)
		if start != tt.start || length != tt.length || got != tt.want {
			t.Errorf("%q: %d+%d %d, want %d+%d %d", tt.field, start, length, got, tt.start, tt.length, tt.want)
		}
	}
	if _, _, got := SelectRange([]string{"bytes=0-1", "bytes=3-4"}, 10); got != SelectWhole {
		t.Errorf("two lines: %d", got)
	}
	if _, _, got := SelectRange([]string{"bytes=-5"}, 0); got != SelectWhole {
		t.Errorf("of nothing: %d", got)
	}
}

func FuzzSelectRange(f *testing.F) {
	for _, s := range []string{"bytes=0-4", "bytes=-3", "bytes=5-", "bytes=9-99999999999999999999", "bytes=99999999999999999999999-", "bytes=1-2,3-4"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		size = max(0, size)
		start, length, s := SelectRange([]string{field}, size)
		switch s {
		case SelectWhole:
			if start != 0 || length != size {
				t.Errorf("%d+%d of %d", start, length, size)
			}
		case SelectPart:
			if start < 0 || length < 1 || length > size-start {
				t.Errorf("%d+%d of %d", start, length, size)
			}
			// Asked for by its own name, the part is the same.
			name := "bytes=" + strconv.FormatInt(start, 10) + "-" + strconv.FormatInt(start+length-1, 10)
			if size <= 1<<59 {
				if a, n, again := SelectRange([]string{name}, size); a != start || n != length || again != s {
					t.Errorf("%q: %d+%d, as %q: %d+%d", field, start, length, name, a, n)
				}
			}
		case SelectNone:
			if start != 0 || length != 0 {
				t.Errorf("%d+%d", start, length)
			}
		}
	})
}

func TestIfRange(t *testing.T) {
	stored := fields("ETag", `"a"`, "Last-Modified", tuesday, "Date", wednesday)
	for _, tt := range []struct {
		name    string
		ifRange []string
		stored  http.Header
		want    bool
	}{
		{"none", nil, stored, true},
		{"the tag", []string{`"a"`}, stored, true},
		{"another tag", []string{`"b"`}, stored, false},
		{"a weak tag", []string{`W/"a"`}, stored, false},
		{"a weak tag is stored", []string{`W/"a"`}, fields("ETag", `W/"a"`), false},
		{"a list", []string{`"a", "b"`}, stored, false},
		{"two lines", []string{`"a"`, `"a"`}, stored, false},
		{"no tag is stored", []string{`"a"`}, fields(), false},
		{"the date", []string{tuesday}, stored, true},
		{"another date", []string{wednesday}, stored, false},
		{"a date too young to be strong", []string{tuesday}, fields("Last-Modified", tuesday, "Date", tuesday), false},
		{"no date is stored", []string{tuesday}, fields("Last-Modified", tuesday), false},
	} {
		request := http.Header{}
		if tt.ifRange != nil {
			request["If-Range"] = tt.ifRange
		}
		if got := IfRange(request, of(tt.stored)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
