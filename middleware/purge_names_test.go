package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A purge finds what is stored under keys that hold more than a URL.
func TestPurgeUnusualKeys(t *testing.T) {
	mount := func(prefix string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return http.StripPrefix(prefix, h) }
	}
	plain := func(h http.Handler) http.Handler { return h }
	for _, row := range []struct {
		name    string
		policy  Policy
		outside func(http.Handler) http.Handler
		target  string
		fields  []string
		url     string
		want    bool
	}{
		{"headers", Policy{Headers: []string{"X-Tenant"}}, plain, "/a?b=1", []string{"X-Tenant", "t"}, "http://example.com/a?b=1", true},
		{"headers, another query", Policy{Headers: []string{"X-Tenant"}}, plain, "/a?b=1", []string{"X-Tenant", "t"}, "http://example.com/a?b=2", false},
		{"query, as stored", Policy{Query: Query{Allow: []string{"id"}}}, plain, "/a?utm=1&id=1", nil, "http://example.com/a?id=1", true},
		{"query, as sent", Policy{Query: Query{Allow: []string{"id"}}}, plain, "/a?id=1", nil, "http://example.com/a?x=y&id=1", true},
		{"query, sorted", Policy{Query: Query{Sort: true}}, plain, "/a?b=1&a=1", nil, "http://example.com/a?b=1&a=1", true},
		{"query, another", Policy{Query: Query{Allow: []string{"id"}}}, plain, "/a?id=1", nil, "http://example.com/a?id=2", false},
		{"stripped prefix", Policy{}, mount("/api"), "/api/a", nil, "http://example.com/api/a", true},
		{"stripped prefix, inner path", Policy{}, mount("/api"), "/api/a", nil, "http://example.com/a", false},
		{"stripped prefix, encoded", Policy{}, mount("/api"), "/api/caf%C3%A9", nil, "http://example.com/api/café", true},
		{"host in capitals", Policy{}, plain, "http://EXAMPLE.com/a", nil, "http://example.com/a", true},
	} {
		for _, mode := range []Mode{Hard, Soft} {
			for _, vary := range []string{"", "X-V"} {
				t.Run(fmt.Sprint(row.name, mode, vary), func(t *testing.T) {
					c := newCache(t, Options{})
					h := row.outside(c.Handler(row.policy)(&purgeOrigin{vary: vary}))
					get(h, row.target, row.fields...)
					if w := get(h, row.target, row.fields...); !keysHit(w) {
						t.Fatalf("not stored: %q", w.Header())
					}
					if err := c.PurgeURL(t.Context(), row.url, mode); err != nil {
						t.Fatal(err)
					}
					if purged := !keysHit(get(h, row.target, row.fields...)); purged != row.want {
						t.Errorf("purged %v", purged)
					}
				})
			}
		}
	}
}

// tagged answers with the version and the fields that the path asks for.
func tagged(version *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600, stale-while-revalidate=3600")
		if r.URL.Path == "/vary" {
			w.Header().Set("Vary", "X-V")
		}
		for name, values := range r.URL.Query() {
			w.Header()[name] = values
		}
		fmt.Fprintf(w, "v%d", version.Load())
	})
}

func TestPurgeTag(t *testing.T) {
	own := func(u *url.URL, h http.Header) []string {
		return []string{"path:" + u.Path, "type:" + h.Get("X-Type"), "\x00http://example.com/", ""}
	}
	for _, row := range []struct {
		name, target, tag string
		want              bool
	}{
		{"Surrogate-Key", "/a?Surrogate-Key=one+two", "two", true},
		{"Surrogate-Key, second line", "/a?Surrogate-Key=one&Surrogate-Key=two", "two", true},
		{"case counts", "/a?Surrogate-Key=one", "One", false},
		{"not a prefix", "/a?Surrogate-Key=one", "on", false},
		{"Cache-Tag", "/a?Cache-Tag=one,+two+three", "two three", true},
		{"Cache-Tag is no Surrogate-Key", "/a?Cache-Tag=one+two", "two", false},
		{"a variant", "/vary?Surrogate-Key=one", "one", true},
		{"the policy's", "/a", "path:/a", true},
		{"the policy's, of the response", "/a?X-Type=x", "type:x", true},
		{"another", "/a?Surrogate-Key=one", "two", false},
		{"a group is no tag", `/a?Cache-Groups="one"`, "one", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCache(t, Options{})
			h := c.Handler(Policy{Tags: own})(tagged(new(atomic.Int64)))
			get(h, row.target)
			if w := get(h, row.target); !keysHit(w) {
				t.Fatalf("not stored: %q", w.Header())
			}
			if err := c.PurgeTag(t.Context(), row.tag, Hard); err != nil {
				t.Fatal(err)
			}
			if purged := !keysHit(get(h, row.target)); purged != row.want {
				t.Errorf("purged %v", purged)
			}
		})
	}
}

func TestPurgePrefix(t *testing.T) {
	for _, row := range []struct {
		target, prefix string
		want           bool
	}{
		{"/shop/a?q=1", "http://example.com/shop", true},
		{"/shop/a?q=1", "http://EXAMPLE.com/shop/a", true},
		{"/shop/a", "http://example.com", true},
		{"/shop/a", "http://example.com/shop/a/", false},
		{"/shop/a", "https://example.com/", true}, // TLS ends in front of services
		{"/shop/a", "http://example.com:80/", true},
		{"/shop/a", "http://example.com:8080/", false},
		{"/shop/a", "http://example.co/", false},
		{"/shop/a", "http://example.com.au/", false},
		{"/vary", "http://example.com/va", true},
		{"/caf%C3%A9/x", "http://example.com/café/", true},
		{"/a%2Fb", "http://example.com/a/", true}, // decoded: rather too much
		{"http://example.com/shop/a", "http://example.com/shop", true},
	} {
		c := newCache(t, Options{})
		h := c.Handler(Policy{})(tagged(new(atomic.Int64)))
		get(h, row.target)
		if err := c.PurgePrefix(t.Context(), row.prefix, Hard); err != nil {
			t.Fatal(err)
		}
		if purged := !keysHit(get(h, row.target)); purged != row.want {
			t.Errorf("%s by %s: purged %v", row.target, row.prefix, purged)
		}
	}
}

// After a soft purge the old response is served once more, while a new one is
// fetched.
func TestPurgeSoft(t *testing.T) {
	for name, purge := range map[string]func(c *Cache) error{
		"url":    func(c *Cache) error { return c.PurgeURL(t.Context(), "http://example.com/vary?Surrogate-Key=k", Soft) },
		"tag":    func(c *Cache) error { return c.PurgeTag(t.Context(), "k", Soft) },
		"prefix": func(c *Cache) error { return c.PurgePrefix(t.Context(), "http://example.com/", Soft) },
		"all":    func(c *Cache) error { return c.Flush(t.Context(), Soft) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				var version atomic.Int64
				h := c.Handler(Policy{})(tagged(&version))
				get(h, "/vary?Surrogate-Key=k")
				version.Store(1)
				time.Sleep(time.Minute)
				if err := purge(c); err != nil {
					t.Fatal(err)
				}
				if got := get(h, "/vary?Surrogate-Key=k").Body.String(); got != "v0" {
					t.Errorf("at once: %q", got)
				}
				synctest.Wait()
				if w := get(h, "/vary?Surrogate-Key=k"); w.Body.String() != "v1" || !keysHit(w) {
					t.Errorf("afterwards: %q %q", w.Body.String(), w.Header())
				}
			})
		})
	}
}

// Purges by name reach runs under way, of which the tags become known only
// with the response: who waits gets it, who comes later does not.
func TestPurgeTagInFlight(t *testing.T) {
	for _, mode := range []Mode{Hard, Soft} {
		for _, face := range faces {
			t.Run(fmt.Sprint(face.name, mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, Options{})
					var version, calls atomic.Int64
					h := face.mount(c, Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						v := version.Load()
						calls.Add(1)
						time.Sleep(time.Second)
						w.Header().Set("Surrogate-Key", "k")
						w.Header().Set("Cache-Control", "max-age=60")
						fmt.Fprintf(w, "v%d", v)
					}))
					var wg sync.WaitGroup
					expect := func(n int, when, want string) {
						for range n {
							wg.Go(func() {
								if got := get(h, "/").Body.String(); got != want {
									t.Errorf("%s: %q, want %q", when, got, want)
								}
							})
						}
					}
					expect(3, "before", "v0")
					time.Sleep(time.Second / 2)
					version.Store(1)
					if err := c.PurgeTag(t.Context(), "k", mode); err != nil {
						t.Fatal(err)
					}
					if err := c.PurgeTag(t.Context(), "another", mode); err != nil {
						t.Fatal(err)
					}
					expect(3, "after", "v1")
					wg.Wait()
					if got := get(h, "/"); got.Body.String() != "v1" || calls.Load() != 2 {
						t.Errorf("later: %q, %d calls", got.Body.String(), calls.Load())
					}
				})
			})
		}
	}
}

// RFC 9875: groups are invalidated by responses to unsafe methods that succeed,
// within their origin, and by the invalidation of one of their members.
func TestCacheGroups(t *testing.T) {
	const member, other = `/a?Cache-Groups="g",+"h"`, `/b?Cache-Groups="x",+"h"`
	for _, row := range []struct {
		name, method, target string
		status               int
		fields               []string // of the request
		member, other        bool     // purged
	}{
		{name: "named", method: "POST", target: `/c?Cache-Group-Invalidation="g"`, member: true},
		{name: "named with parameters", method: "PUT", target: `/c?Cache-Group-Invalidation="g"%3Bp`, member: true},
		{name: "both", method: "DELETE", target: `/c?Cache-Group-Invalidation="h"`, member: true, other: true},
		{name: "safe method", method: "GET", target: `/c?Cache-Group-Invalidation="g"`},
		{name: "case counts", method: "POST", target: `/c?Cache-Group-Invalidation="G"`},
		{name: "no list of strings", method: "POST", target: `/c?Cache-Group-Invalidation="g",+h`},
		{name: "another origin", method: "POST", target: `http://example.org/c?Cache-Group-Invalidation="g"`},
		{name: "failed", method: "POST", target: `/c?Cache-Group-Invalidation="g"`, status: 500},
		{name: "a member changed", method: "POST", target: member, member: true, other: true},
		{name: "something else changed", method: "POST", target: "/c"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCache(t, Options{})
			inner := tagged(new(atomic.Int64))
			h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" && row.status != 0 {
					w.Header().Set("Cache-Group-Invalidation", `"g"`)
					w.WriteHeader(row.status)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			get(h, member)
			get(h, other)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(row.method, row.target, nil))
			if purged := !keysHit(get(h, member)); purged != row.member {
				t.Errorf("member purged %v", purged)
			}
			if purged := !keysHit(get(h, other)); purged != row.other {
				t.Errorf("other purged %v", purged)
			}
		})
	}
}

// An unsafe method invalidates what is stored under keys with other header
// fields as well.
func TestInvalidateAllHeaders(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{Headers: []string{"X-Tenant"}})(tagged(new(atomic.Int64)))
	get(h, "/a", "X-Tenant", "one")
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/a", nil))
	if keysHit(get(h, "/a", "X-Tenant", "one")) {
		t.Error("still stored")
	}
}

func TestPurgeNameErrors(t *testing.T) {
	c := newCache(t, Options{})
	for _, err := range []error{
		c.PurgeTag(t.Context(), "", Hard), c.PurgeTag(t.Context(), "\x00http://example.com/", Hard),
		c.PurgePrefix(t.Context(), "/a", Hard), c.PurgePrefix(t.Context(), "http://example.com/?q", Hard), c.PurgeURL(t.Context(), "http://u@example.com/", Hard),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "middleware: Purge") {
			t.Errorf("error %v", err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{c.PurgeTag(t.Context(), "a", Hard), c.PurgePrefix(t.Context(), "http://a/", Hard), c.PurgeURL(t.Context(), "http://a/", Hard), c.Flush(t.Context(), Hard)} {
		if err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	}
}

// PurgeURL with the very URL that a client sent, whose name is not quite encoded.
func TestPurgeOfAnInvalidEscape(t *testing.T) {
	for _, sent := range []string{"/?b=2&%7A%zz=1", "/?b=2&%7a%=1", "/?b=2&a=1"} {
		c := newCache(t, Options{})
		h := c.Handler(Policy{Query: Query{Sort: true}})(forAll("max-age=600"))
		get(h, sent)
		if w := get(h, sent); !keysHit(w) {
			t.Fatalf("%s: not stored", sent)
		}
		if err := c.PurgeURL(t.Context(), "http://example.com"+sent, Hard); err != nil {
			t.Fatal(err)
		}
		if w := get(h, sent); keysHit(w) {
			names, _ := c.PurgeNames("http://example.com" + sent)
			t.Errorf("%s is a hit after it was purged as %q", sent, names)
		}
	}
}
