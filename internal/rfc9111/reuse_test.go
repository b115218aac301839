package rfc9111

import (
	"testing"
	"time"
)

func TestReuse(t *testing.T) {
	for _, tt := range []struct {
		request       string
		age, lifetime int
		forbidden     bool
		want          Use
	}{
		{"", 10, 60, false, UseAnyway},
		{"", 60, 60, false, UseByState},
		{"no-cache", 0, 60, false, UseValidated},
		{"no-cache, max-stale", 90, 60, false, UseValidated},
		{"no-store", 10, 60, false, UseAnyway},
		{"only-if-cached", 10, 60, false, UseAnyway},
		{"only-if-cached", 90, 60, false, UseByState},

		{"max-age=30", 30, 60, false, UseAnyway},
		{"max-age=30", 31, 60, false, UseValidated},
		{"max-age=0", 0, 60, false, UseAnyway},
		{"max-age=0", 1, 60, false, UseValidated},
		{"max-age=x", 1, 60, false, UseValidated},
		{"max-age=600", 90, 60, false, UseValidated},
		{"max-age=30, max-stale=600", 90, 60, false, UseValidated},
		{"max-age=120, max-stale=30", 90, 60, false, UseAnyway},

		{"min-fresh=20", 40, 60, false, UseAnyway},
		{"min-fresh=20", 41, 60, false, UseValidated},
		{"min-fresh=0", 90, 60, false, UseValidated},

		{"max-stale", 9000, 60, false, UseAnyway},
		{"max-stale", 9000, 60, true, UseValidated},
		{"max-stale=30", 90, 60, false, UseAnyway},
		{"max-stale=30", 91, 60, false, UseValidated},
		{"max-stale=30", 61, 60, true, UseValidated},
		{"max-stale=x", 61, 60, false, UseValidated},
		{"max-stale=0", 60, 60, false, UseAnyway},
	} {
		cc := ParseCacheControl([]string{tt.request})
		age, lifetime := time.Duration(tt.age)*time.Second, time.Duration(tt.lifetime)*time.Second
		if got := Reuse(cc, age, lifetime, tt.forbidden); got != tt.want {
			t.Errorf("%q at %d of %d, forbidden %v: %d, want %d", tt.request, tt.age, tt.lifetime, tt.forbidden, got, tt.want)
		}
	}
}
