package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseAge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  time.Duration
		ok    bool
	}{
		{"absent", nil, 0, false},
		{"empty", []string{""}, 0, false},
		{"seconds", []string{"7200"}, 2 * time.Hour, true},
		{"zero", []string{"0"}, 0, true},
		{"leading zeros", []string{"0010"}, 10 * time.Second, true},
		{"whitespace", []string{" 10\t"}, 10 * time.Second, true},
		{"first member, old", []string{"7200,0"}, 2 * time.Hour, true},
		{"first member, new", []string{"0, 7200"}, 0, true},
		{"first line, old", []string{"7200", "0"}, 2 * time.Hour, true},
		{"first line, new", []string{"0", "7200"}, 0, true},
		{"empty members do not count", []string{"", " ,, 5", "6"}, 5 * time.Second, true},
		{"an invalid first member is not passed over", []string{"abc, 7200"}, 0, false},
		{"negative", []string{"-7200"}, 0, false},
		{"fraction", []string{"7200.0"}, 0, false},
		{"parameter", []string{"7200;foo=bar"}, 0, false},
		{"numeric parameter", []string{"7200;foo=111"}, 0, false},
		{"quoted", []string{`"7200"`}, 0, false},
		{"2^31", []string{"2147483648"}, MaxDelta, true},
		{"above 2^63", []string{strings.Repeat("9", 30)}, MaxDelta, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := ParseAge(tt.lines); got != tt.want || ok != tt.ok {
				t.Errorf("ParseAge(%q) = %v, %t, want %v, %t", tt.lines, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzParseAge(f *testing.F) {
	f.Add("7200, 0", "1")
	f.Fuzz(func(t *testing.T, a, b string) {
		if d, ok := ParseAge([]string{a, b}); d < 0 || d > MaxDelta || !ok && d != 0 {
			t.Errorf("%q, %q: %v, %t", a, b, d, ok)
		}
	})
}

func TestInitialAge(t *testing.T) {
	at := func(seconds float64) time.Time { return testNow.Add(time.Duration(seconds * float64(time.Second))) }
	for _, tt := range []struct {
		name                    string
		age                     time.Duration
		date, request, response time.Time
		want                    time.Duration
	}{
		{"from the origin, at once", 0, at(0), at(0), at(0), 0},
		{"the time it took counts", 0, at(3), at(0), at(3), 3 * time.Second},
		{"on top of Age", 10 * time.Second, at(3), at(0), at(3), 13 * time.Second},
		{"an old Date without Age", 0, at(-7200), at(0), at(1), 7201 * time.Second},
		{"the larger of both", 30 * time.Second, at(-10), at(0), at(0), 30 * time.Second},
		{"Date in the future", 5 * time.Second, at(600), at(0), at(0), 5 * time.Second},
		{"no Date", 0, time.Time{}, at(0), at(2), 2 * time.Second},
		{"Date has whole seconds", 0, at(0), at(0.9), at(0.9), 0},
		{"clock set back meanwhile", 5 * time.Second, at(-60), at(0), at(-60), 5 * time.Second},
		{"no overflow", Unlimited, at(0), at(0), at(10), MaxDelta},
		{"a Date in antiquity", 0, time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), at(0), at(0), MaxDelta},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := InitialAge(tt.age, tt.date, tt.request, tt.response); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLifetime(t *testing.T) {
	at := func(d time.Duration) string { return testNow.Add(d).Format(http.TimeFormat) }
	explicit := func(d time.Duration) Freshness { return Freshness{d, true} }
	for _, tt := range []struct {
		name    string
		control string
		expires []string
		date    time.Time
		want    Freshness
	}{
		{"nothing", "", nil, testNow, Freshness{}},
		{"public says nothing about time", "public", nil, testNow, Freshness{}},
		{"max-age", "max-age=60", nil, testNow, explicit(time.Minute)},
		{"s-maxage over a shorter max-age", "max-age=0, s-maxage=60", []string{at(-10)}, testNow, explicit(time.Minute)},
		{"s-maxage over a longer max-age", "max-age=60, s-maxage=1", nil, testNow, explicit(time.Second)},
		{"max-age over a past Expires", "max-age=60", []string{at(-7200)}, testNow, explicit(time.Minute)},
		{"max-age over an invalid Expires", "max-age=60", []string{"0"}, testNow, explicit(time.Minute)},
		{"max-age=0 over a future Expires", "max-age=0", []string{at(time.Hour)}, testNow, explicit(0)},
		{"invalid max-age over a future Expires", "max-age=a", []string{at(time.Hour)}, testNow, explicit(0)},
		{"Expires", "", []string{at(time.Hour)}, testNow, explicit(time.Hour)},
		{"Expires counts from Date", "", []string{at(time.Hour)}, testNow.Add(-time.Hour), explicit(2 * time.Hour)},
		{"Expires before Date", "", []string{at(300 * time.Second)}, testNow.Add(400 * time.Second), explicit(0)},
		{"Expires at Date", "", []string{at(0)}, testNow, explicit(0)},
		{"Expires without Date", "", []string{at(time.Minute)}, time.Time{}, explicit(time.Minute)},
		{"Expires: 0", "", []string{"0"}, testNow, explicit(0)},
		{"empty Expires", "", []string{""}, testNow, explicit(0)},
		{"two Expires", "", []string{at(time.Hour), at(time.Hour)}, testNow, explicit(0)},
		{"Expires too far ahead", "", []string{"Fri, 31 Dec 9999 23:59:59 GMT"}, testNow, explicit(MaxDelta)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.expires != nil {
				h["Expires"] = tt.expires
			}
			got := Lifetime(h, ParseCacheControl([]string{tt.control}), tt.date, testNow)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestHeuristic(t *testing.T) {
	modified := func(ago time.Duration) http.Header {
		return http.Header{"Last-Modified": {testNow.Add(-ago).Format(http.TimeFormat)}}
	}
	expiring := modified(time.Hour)
	expiring.Set("Expires", "0")
	for _, tt := range []struct {
		name    string
		status  int
		h       http.Header
		control string
		want    time.Duration
	}{
		{"a tenth", 200, modified(100 * time.Second), "", 10 * time.Second},
		{"at most the limit", 200, modified(10000 * time.Hour), "", time.Hour},
		{"404 may", 404, modified(100 * time.Second), "", 10 * time.Second},
		{"403 may not", 403, modified(100 * time.Second), "", 0},
		{"unless it is public", 599, modified(100 * time.Second), "public", 10 * time.Second},
		{"not with max-age", 200, modified(100 * time.Second), "max-age=0", 0},
		{"not with s-maxage", 200, modified(100 * time.Second), "s-maxage=0", 0},
		{"not with an invalid Expires", 200, expiring, "", 0},
		{"modified in the future", 200, modified(-time.Hour), "", 0},
		{"no Last-Modified", 200, http.Header{}, "", 0},
		{"invalid Last-Modified", 200, http.Header{"Last-Modified": {"yesterday"}}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cc := ParseCacheControl([]string{tt.control})
			if got := Heuristic(tt.status, tt.h, cc, time.Time{}, testNow, time.Hour); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
