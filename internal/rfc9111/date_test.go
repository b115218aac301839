package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestParseDate(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want string // RFC 3339, or empty when invalid
	}{
		{"IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"},
		{"RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"},
		{"asctime", "Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z"},
		{"asctime, two digits", "Sun Nov 16 08:49:37 1994", "1994-11-16T08:49:37Z"},
		{"asctime, leading zero", "Sun Nov 06 08:49:37 1994", "1994-11-06T08:49:37Z"},
		{"far future", "Sun, 21 Nov 2286 04:46:39 GMT", "2286-11-21T04:46:39Z"},
		{"past 2^31 seconds", "Tue, 19 Jan 2038 14:14:08 GMT", "2038-01-19T14:14:08Z"},
		{"wrong day name: the date counts", "Thu Aug  8 02:01:18 2050", "2050-08-08T02:01:18Z"},
		{"29 February", "Sat, 29 Feb 2048 00:00:00 GMT", "2048-02-29T00:00:00Z"},
		{"leap second", "Sat, 31 Dec 2016 23:59:60 GMT", "2016-12-31T23:59:59Z"},

		{"day name in capitals", "THU, 18 Aug 2050 02:01:18 GMT", "2050-08-18T02:01:18Z"},
		{"month in capitals", "Thu, 18 AUG 2050 02:01:18 GMT", "2050-08-18T02:01:18Z"},
		{"zone in mixed case", "Thu, 18 Aug 2050 02:01:18 gMT", "2050-08-18T02:01:18Z"},
		{"RFC 850 in lower case", "thursday, 18-aug-50 02:01:18 gmt", "2050-08-18T02:01:18Z"},
		{"asctime in capitals", "THU AUG  8 02:01:18 2050", "2050-08-08T02:01:18Z"},

		{"50 years ahead at most", "Tuesday, 24-Nov-76 12:00:00 GMT", "2076-11-24T12:00:00Z"},
		{"more than 50 years ahead", "Tuesday, 24-Nov-76 12:00:01 GMT", "1976-11-24T12:00:01Z"},
		{"RFC 850, last year of the century", "Friday, 01-Jan-99 00:00:00 GMT", "1999-01-01T00:00:00Z"},

		{"empty", "", ""},
		{"zero", "0", ""},
		{"minus one", "-1", ""},
		{"comma alone", "Sun,", ""},
		{"UTC", "Thu, 18 Aug 2050 02:01:18 UTC", ""},
		{"other zone", "Thu, 18 Aug 2050 02:01:18 AEST", ""},
		{"numeric zone", "Thu, 18 Aug 2050 02:01:18 +0000", ""},
		{"no zone", "Thu, 18 Aug 2050 02:01:18", ""},
		{"asctime with a zone", "Thu Aug  8 02:01:18 2050 GMT", ""},
		{"two-digit year", "Thu, 18 Aug 50 02:01:18 GMT", ""},
		{"RFC 850, four-digit year", "Thursday, 18-Aug-2050 02:01:18 GMT", ""},
		{"no comma", "Thu 18 Aug 2050 02:01:18 GMT", ""},
		{"dashes", "Thu, 18-Aug-2050 02:01:18 GMT", ""},
		{"double spaces", "Thu, 18  Aug  2050 02:01:18 GMT", ""},
		{"asctime, three spaces", "Sun Nov   6 08:49:37 1994", ""},
		{"asctime, one-digit day", "Sun Nov 6 08:49:37 1994", ""},
		{"one-digit day", "Thu, 8 Aug 2050 02:01:18 GMT", ""},
		{"one-digit hour", "Thu, 18 Aug 2050 2:01:18 GMT", ""},
		{"dots in the time", "Thu, 18 Aug 2050 02.01.18 GMT", ""},
		{"fraction of a second", "Thu, 18 Aug 2050 02:01:18.5 GMT", ""},
		{"trailing junk", "Thu, 18 Aug 2050 02:01:18 GMT+1", ""},
		{"trailing space", "Thu, 18 Aug 2050 02:01:18 GMT ", ""},
		{"leading space", " Thu, 18 Aug 2050 02:01:18 GMT", ""},
		{"two dates", "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", ""},
		{"no such day name", "Foo, 18 Aug 2050 02:01:18 GMT", ""},
		{"long day name", "Thursday, 18 Aug 2050 02:01:18 GMT", ""},
		{"no such month", "Thu, 18 Foo 2050 02:01:18 GMT", ""},
		{"hour 24", "Thu, 18 Aug 2050 24:00:00 GMT", ""},
		{"minute 60", "Thu, 18 Aug 2050 00:60:00 GMT", ""},
		{"second 60 at noon", "Thu, 18 Aug 2050 12:00:60 GMT", ""},
		{"day 0", "Thu, 00 Aug 2050 02:01:18 GMT", ""},
		{"30 February", "Thu, 30 Feb 2050 02:01:18 GMT", ""},
		{"29 February in no leap year", "Thu, 29 Feb 2050 02:01:18 GMT", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ParseDate(tt.in, testNow)
			if ok != (tt.want != "") || ok && got.Format(time.RFC3339) != tt.want {
				t.Errorf("ParseDate(%q) = %v, %t, want %q", tt.in, got, ok, tt.want)
			}
		})
	}
}

func TestParseDateCenturies(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		now  int
		want int
	}{
		{"next century is near", "Monday, 01-Jan-10 00:00:00 GMT", 2090, 2110},
		{"this century", "Monday, 01-Jan-80 00:00:00 GMT", 2090, 2080},
		{"last century is nearer than 50 years ahead", "Monday, 01-Jan-80 00:00:00 GMT", 2010, 1980},
		{"a leap day that only the last century had", "Monday, 29-Feb-00 00:00:00 GMT", 2090, 2000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(tt.now, 6, 1, 0, 0, 0, 0, time.UTC)
			if got, ok := ParseDate(tt.in, now); !ok || got.Year() != tt.want {
				t.Errorf("ParseDate(%q) in %d = %v, %t, want the year %d", tt.in, tt.now, got, ok, tt.want)
			}
		})
	}
}

func TestDateField(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, tt := range []struct {
		name  string
		lines []string
		want  bool
	}{
		{"one line", []string{date}, true},
		{"whitespace around a value is no part of it", []string{"\t" + date + " "}, true},
		{"absent", nil, false},
		{"two lines, even equal ones", []string{date, date}, false},
	} {
		if _, ok := DateField(http.Header{"Date": tt.lines}, "Date", testNow); ok != tt.want {
			t.Errorf("%s: %t", tt.name, ok)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", int64(784111777))
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT", int64(0))
	f.Add("sun nov  6 08:49:37 1994", int64(4102444800))
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		// Whatever a date is written as, it is read as.
		want := time.Unix(unix%(8000*365*86400), 0).UTC()
		if want.Year() >= 1 && want.Year() <= 9999 {
			for _, layout := range []string{http.TimeFormat, time.ANSIC} {
				if got, ok := ParseDate(want.Format(layout), testNow); !ok || !got.Equal(want) {
					t.Errorf("%q = %v, %t", want.Format(layout), got, ok)
				}
			}
			const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"
			if got, ok := ParseDate(want.Format(rfc850), want); !ok || !got.Equal(want) {
				t.Errorf("%q = %v, %t", want.Format(rfc850), got, ok)
			}
		}
		// Whatever is read, the lenient parser of net/http reads the same.
		got, ok := ParseDate(s, testNow)
		if !ok || strings.Contains(s, ":60") {
			return
		}
		reference, err := http.ParseTime(s[:len(s)-3] + strings.ToUpper(s[len(s)-3:]))
		if err != nil {
			t.Fatalf("%q is read as %v, and refused by net/http: %v", s, got, err)
		}
		if got.YearDay() != reference.YearDay() && got.Year() == reference.Year() || got.Unix()%86400 != reference.Unix()%86400 {
			t.Errorf("%q = %v, net/http says %v", s, got, reference)
		}
	})
}
