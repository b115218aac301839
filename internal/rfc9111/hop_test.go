package rfc9111

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
)

func TestStripConnection(t *testing.T) {
	h := http.Header{
		"Connection": {"a, B", ",keep-alive , close"}, "A": {"1"}, "B": {"2"}, "C": {"3"},
		"Keep-Alive": {"x"}, "Proxy-Connection": {"x"}, "Proxy-Authenticate": {"x"}, "Proxy-Authorization": {"x"},
		"Proxy-Authentication-Info": {"x"}, "Te": {"x"}, "Transfer-Encoding": {"x"}, "Upgrade": {"x"},
		"Cache-Control": {"max-age=1"}, "Trailer": {"x"},
	}
	StripConnection(h)
	want := http.Header{"C": {"3"}, "Cache-Control": {"max-age=1"}, "Trailer": {"x"}}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestIsHopByHop(t *testing.T) {
	for name, want := range map[string]bool{"Connection": true, "Te": true, "Upgrade": true, "Set-Cookie": false, "": false} {
		if IsHopByHop(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func TestInvalidates(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		status int
		want   bool
	}{
		{"POST", "POST", 200, true},
		{"PUT, created", "PUT", 201, true},
		{"DELETE, no content", "DELETE", 204, true},
		{"a redirect is no error", "POST", 303, true},
		{"unknown safety", "M-SEARCH", 200, true},
		{"methods are case-sensitive", "get", 200, true},
		{"client error", "POST", 404, false},
		{"server error", "DELETE", 500, false},
		{"not final", "POST", 103, false},
		{"GET", "GET", 200, false},
		{"PROPFIND", "PROPFIND", 207, false},
		{"REPORT", "REPORT", 207, false},
		{"SEARCH", "SEARCH", 207, false},
		{"QUERY", "QUERY", 200, false},
		{"MOVE", "MOVE", 201, true},
		{"HEAD", "HEAD", 200, false},
		{"OPTIONS", "OPTIONS", 200, false},
		{"TRACE", "TRACE", 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Invalidates(tt.method, tt.status); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestInvalidationTargets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		target string
		h      http.Header
		want   []string

		method, destination string
	}{
		{name: "Destination of MOVE", target: "http://a.example/x", method: "MOVE", destination: "http://a.example/y", want: []string{"http://a.example/y"}},
		{name: "Destination of COPY", target: "http://a.example/x", method: "COPY", destination: "/y", want: []string{"http://a.example/y"}},
		{name: "Destination elsewhere", target: "http://a.example/x", method: "MOVE", destination: "http://b.example/y"},
		{name: "Destination of another method", target: "http://a.example/x", method: "PUT", destination: "/y"},
		{"nothing named", "http://a.example/x", http.Header{}, nil, "", ""},
		{"both", "http://a.example/x/", http.Header{"Location": {"y"}, "Content-Location": {"/z?q=1#top"}},
			[]string{"http://a.example/x/y", "http://a.example/z?q=1"}, "", ""},
		{"each once", "http://a.example/x", http.Header{"Location": {"/y"}, "Content-Location": {"http://a.example/y"}}, []string{"http://a.example/y"}, "", ""},
		{"not the target itself", "http://a.example/x#f", http.Header{"Location": {"/x"}, "Content-Location": {"#g"}}, nil, "", ""},
		{"the default port is the same origin", "http://a.example/x", http.Header{"Location": {"HTTP://A.example:80/y"}}, []string{"http://a.example/y"}, "", ""},
		{"no path is the root", "http://a.example/x", http.Header{"Location": {"http://a.example"}}, []string{"http://a.example/"}, "", ""},
		{"no user information", "http://a.example/x", http.Header{"Location": {"http://u:p@a.example/y"}}, []string{"http://a.example/y"}, "", ""},
		{"IPv6", "http://[::1]:8080/x", http.Header{"Location": {"//[::1]:8080/y"}}, []string{"http://[::1]:8080/y"}, "", ""},
		{"other host", "http://a.example/x", http.Header{"Location": {"http://b.example/y", "//b.example/z"}}, nil, "", ""},
		{"a longer host", "http://a.example/x", http.Header{"Location": {"http://a.example.org/y"}}, nil, "", ""},
		{"other port", "http://a.example/x", http.Header{"Location": {"http://a.example:8080/y"}}, nil, "", ""},
		{"TLS ends in front of the service", "http://a.example/x", http.Header{"Location": {"https://a.example/y"}}, []string{"http://a.example/y"}, "", ""},
		{"other scheme", "http://a.example/x", http.Header{"Location": {"mailto:a@a.example", "ftp://a.example/y"}}, nil, "", ""},
		{"not a URL", "http://a.example/x", http.Header{"Location": {"http://[", "%zz", "\x00"}}, nil, "", ""},
		{"target without a host", "/x", http.Header{"Location": {"/y"}}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := url.Parse(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if got := InvalidationTargets(target, tt.method, tt.destination, tt.h); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := InvalidationTargets(nil, "POST", "", http.Header{"Location": {"/y"}}); got != nil {
		t.Errorf("no target: %q", got)
	}
}

func FuzzInvalidationTargets(f *testing.F) {
	f.Add("//b.example/y")
	f.Add("http://a.example:80@b.example/")
	f.Add(`\\b.example\y`)
	f.Fuzz(func(t *testing.T, location string) {
		target := &url.URL{Scheme: "http", Host: "a.example", Path: "/x"}
		for _, s := range InvalidationTargets(target, "MOVE", location, http.Header{"Location": {location}}) {
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "http" || u.Host != "a.example" || u.Fragment != "" || u.User != nil {
				t.Errorf("%q gives %q (%v)", location, s, err)
			}
		}
	})
}
