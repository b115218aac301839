package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A field that goes no further than the gateway chooses no stored response.
func TestFieldsOfConnectionChooseNothing(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprintf(w, "%q %q", r.Header.Get("Accept-Language"), r.Header.Get("X-Key"))
	})
	c := testConfig(up)
	c.Routes[0].Policy = cachemw.Policy{TTL: time.Minute, Headers: []string{"X-Key"}}
	s, client := start(t, c, Options{}), testClient(t)
	f := func(connection, language, key, want string) {
		t.Helper()
		if _, got := fetch(t, client, "GET", s.base+"/", nil, "Connection", connection, "Accept-Language", language, "X-Key", key); got != want {
			t.Errorf("%s %s %s: %s, want %s", connection, language, key, got, want)
		}
	}
	f("keep-alive, accept-language,\tX-KEY", "de", "k", `"" ""`)
	f("keep-alive", "de", "k", `"de" "k"`)
	f("accept-language", "de", "k", `"" "k"`)
	f("te, upgrade, , connection", "de", "k", `"de" "k"`)
}

// A request of HTTP/2 that is not as long as it says is malformed (RFC 9113
// 8.1.1). net/http would pass it on without its body.
func TestLengthOfHTTP2(t *testing.T) {
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c := testConfig(up)
	c.H2C = true
	s := start(t, c, Options{})
	f := func(want string, lengths ...string) {
		t.Helper()
		fields := []string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}
		for _, n := range lengths {
			fields = append(fields, "content-length", n)
		}
		if got := askH2C(t, s.Addr(), fields...); !slices.Contains(strings.Fields(want), got) {
			t.Errorf("%q: %s, want %s", lengths, got, want)
		}
	}
	// Net/http refuses some of these itself (Go 1.27), and makes one of two that
	// are equal.
	f("200")
	f("200", "0")
	f("400 reset", "5")
	f("400 reset", "x")
	f("400 reset", "0", "5")
	f("400 200", "0", "0")
}
