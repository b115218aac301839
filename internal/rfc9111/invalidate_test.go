package rfc9111

import (
	"net/http"
	"net/url"
	"testing"
)

func TestLocatesSelf(t *testing.T) {
	for _, tt := range []struct {
		target string
		h      http.Header
		want   bool
	}{
		{"http://a/x", fields("Content-Location", "/x"), true},
		{"http://a/x", fields("Content-Location", "x"), true},
		{"http://a/x?q=1", fields("Content-Location", "HTTP://A:80/x?q=1"), true},
		{"http://a/x", fields("Content-Location", ""), true}, // a reference to the same document
		{"http://a/x", fields(), false},
		{"http://a/x", fields("Location", "/x"), false},
		{"http://a/x", fields("Content-Location", "/x?"), false},
		{"http://a/x", fields("Content-Location", "/y"), false},
		{"http://a/x", fields("Content-Location", "http://b/x"), false},
		{"http://a/x", fields("Content-Location", "/x", "Content-Location", "/x"), false},
		{"http://a/x", fields("Content-Location", "/%zz"), false},
	} {
		target, _ := url.Parse(tt.target)
		if got := LocatesSelf(target, tt.h); got != tt.want {
			t.Errorf("%s %q: %v, want %v", tt.target, tt.h, got, tt.want)
		}
	}
}
