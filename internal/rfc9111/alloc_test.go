//go:build !race

// The race detector allocates where the code does not.

package rfc9111

import (
	"net/http"
	"testing"
	"time"
)

// What runs for every request that is answered from store allocates nothing.
func TestAllocations(t *testing.T) {
	control := []string{`public, MAX-AGE=60, s-maxage="10", foo="a, b"`, "stale-while-revalidate=30, stale-if-error=60, must-revalidate"}
	age := []string{"10, 20"}
	dates := []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"}
	request := http.Header{
		"Accept-Encoding":   {"gzip, deflate, br, zstd"},
		"Accept-Language":   {"en-GB,en;q=0.9"},
		"If-None-Match":     {`"1", W/"2", "abc"`},
		"If-Modified-Since": {dates[0]},
	}
	dated := http.Header{"If-Modified-Since": {dates[0]}}
	stored := http.Header{"Etag": {`"abc"`}, "Last-Modified": {dates[0]}, "Expires": {dates[0]}}
	kept := of(stored)
	rawEncodings := [][]string{{"gzip, deflate, br, zstd"}, {"gzip;q=1.0, *;q=0"}, {"identity"}, {""}, {"gzip", "br"}}
	var cc CacheControl
	var date time.Time
	ok := true
	for _, tt := range []struct {
		name string
		run  func()
	}{
		{"ParseCacheControl", func() { cc = ParseCacheControl(control) }},
		{"ParseAge", func() { _, ok = ParseAge(age) }},
		{"ParseDate", func() {
			for _, s := range dates {
				date, ok = ParseDate(s, testNow)
			}
		}},
		{"Lifetime", func() { ok = Lifetime(stored, CacheControl{}, date, testNow).Explicit }},
		{"NotModified by tag", func() { ok = NotModified(request, kept, testNow) }},
		{"NotModified by date", func() { ok = NotModified(dated, kept, testNow) }},
		{"AppendNormalised", func() {
			var buf [128]byte
			key := buf[:0]
			for _, lines := range rawEncodings {
				key = AppendNormalised(key, "Accept-Encoding", lines)
			}
			ok = len(key) > 0
		}},
		{"IsHopByHop", func() { ok = !IsHopByHop("Etag") }},
	} {
		if got := testing.AllocsPerRun(100, tt.run); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
		if !ok {
			t.Errorf("%s: does not do what is measured", tt.name)
		}
	}
	if !cc.Public || date.IsZero() {
		t.Error("parsed nothing")
	}
}

func BenchmarkParseCacheControl(b *testing.B) {
	lines := []string{"public, max-age=60, stale-while-revalidate=30"}
	for b.Loop() {
		ParseCacheControl(lines)
	}
}

func BenchmarkAppendNormalised(b *testing.B) {
	lines := []string{"gzip, deflate, br, zstd"}
	var buf [128]byte
	for b.Loop() {
		AppendNormalised(buf[:0], "Accept-Encoding", lines)
	}
}
