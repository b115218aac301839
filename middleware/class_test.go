package middleware

import (
	"fmt"
	"net/http"
	"testing"
)

// Policies of one URL name different request fields as part of the key, as after
// a reload, or two clients of one cache. A response for user 7 is not one for
// tenant 7 (invariant 1).
func TestPoliciesWithOtherHeadersShareNothing(t *testing.T) {
	for _, row := range []struct {
		first, second Policy
		asked, then   []string
	}{
		{Policy{Headers: []string{"X-User-Id"}}, Policy{Headers: []string{"X-Tenant-Id"}}, []string{"X-User-Id", "7"}, []string{"X-Tenant-Id", "7", "X-User-Id", "8"}},
		{Policy{Headers: []string{"Cookie"}, TTL: 600e9}, Policy{Headers: []string{"X-Device"}}, []string{"Cookie", "mobile"}, []string{"X-Device", "mobile"}},
	} {
		for _, face := range faces {
			t.Run(face.name+fmt.Sprint(row.asked), func(t *testing.T) {
				c := newCache(t, Options{})
				origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=600")
					fmt.Fprintf(w, "user %q, tenant %q, cookie %q, device %q", r.Header.Get("X-User-Id"), r.Header.Get("X-Tenant-Id"), r.Header.Get("Cookie"), r.Header.Get("X-Device"))
				})
				first := get(face.mount(c, row.first, origin), "/", row.asked...).Body.String()
				w := get(face.mount(c, row.second, origin), "/", row.then...)
				if got := w.Body.String(); got == first {
					t.Errorf("%q got %s (%q)", row.then, got, w.Header()["Cache-Status"])
				}
			})
		}
	}
}

// A token in the key of one policy: the response to it is not for who sends
// another field of that value.
func TestTokenInTheKeyOfAnotherPolicy(t *testing.T) {
	c := newCache(t, Options{})
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "account of ", r.Header.Get("Authorization"))
	})
	before := c.Handler(Policy{Name: "a", Headers: []string{"Authorization"}})(origin)
	after := c.Handler(Policy{Name: "a", Headers: []string{"X-Lang"}})(origin)
	get(before, "/account", "Authorization", "alice")
	if w := get(after, "/account", "X-Lang", "alice", "Authorization", "mallory"); w.Body.String() != "account of mallory" {
		t.Errorf("mallory got %q (%q)", w.Body, w.Header()["Cache-Status"])
	}
	get(before, "/account") // without a token
	if w := get(after, "/account", "Authorization", "bob"); w.Body.String() != "account of bob" {
		t.Errorf("bob got %q (%q)", w.Body, w.Header()["Cache-Status"])
	}
}

// A configuration that is loaded again stops to share cookies, or reads the
// response's own Cache-Control: what the policy before has stored is not for the
// clients of this one (0022: "each get what their own allows").
func TestPoliciesThatShareDifferentlyShareNothing(t *testing.T) {
	for _, row := range []struct {
		name          string
		before, after Policy
		write         func(w http.ResponseWriter, n int)
		first         []string // fields of the first request
	}{
		{"cookies", Policy{Name: "a", SetCookie: StoreSetCookie}, Policy{Name: "a"}, func(w http.ResponseWriter, n int) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("Set-Cookie", fmt.Sprint("session=", n))
		}, nil},
		{"credentials", Policy{Name: "a", TTL: 600e9, Credentials: []string{}}, Policy{Name: "a", TTL: 600e9}, func(http.ResponseWriter, int) {}, []string{"X-Api-Key", "secret"}},
		{"targeted field", Policy{Name: "a"}, Policy{Name: "a", TargetedFields: []string{}}, func(w http.ResponseWriter, n int) {
			w.Header().Set("Cache-Control", "private")
			w.Header().Set("CDN-Cache-Control", "max-age=600")
		}, nil},
	} {
		for _, face := range faces {
			t.Run(row.name+" "+face.name, func(t *testing.T) {
				n := 0
				c := newCache(t, Options{})
				origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n++
					row.write(w, n)
					fmt.Fprint(w, "for user ", n)
				})
				get(face.mount(c, row.before, origin), "/", row.first...)
				w := get(face.mount(c, row.after, origin), "/")
				if w.Body.String() != "for user 2" || w.Header().Get("Set-Cookie") == "session=1" {
					t.Errorf("user 2 got %q with %q (%q)", w.Body, w.Header()["Set-Cookie"], w.Header()["Cache-Status"])
				}
			})
		}
	}
}
