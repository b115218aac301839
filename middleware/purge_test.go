package middleware

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A purgeOrigin answers with its version as it was when the request came,
// after delay.
type purgeOrigin struct {
	version atomic.Int64
	delay   atomic.Int64
	vary    string
}

func (o *purgeOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := o.version.Load()
	time.Sleep(time.Duration(o.delay.Load()))
	w.Header().Set("Cache-Control", "max-age=3600")
	if o.vary != "" {
		w.Header().Set("Vary", o.vary)
	}
	fmt.Fprintf(w, "v%d %s", v, r.Header.Get("X-V"))
}

func TestPurgeURL(t *testing.T) {
	for _, row := range []struct {
		name, target, url string
		tls               bool
		want              bool
	}{
		{name: "plain", target: "/a?b=1", url: "http://example.com/a?b=1", want: true},
		{name: "scheme in capitals", target: "/a", url: "HTTP://example.com/a", want: true},
		{name: "no path", target: "/", url: "http://example.com", want: true},
		{name: "encoded slash", target: "/a%2Fb", url: "http://example.com/a%2Fb", want: true},
		{name: "encoded letter", target: "/caf%C3%A9", url: "http://example.com/caf%C3%A9", want: true},
		{name: "encoded letter, as it reads", target: "/caf%C3%A9", url: "http://example.com/café", want: true},
		{name: "not encoded by custom", target: "/[x]!", url: "http://example.com/[x]!", want: true},
		{name: "the whole URL in the request line", target: "http://example.com/a?b=1", url: "http://example.com/a?b=1", want: true},
		{name: "https", target: "/a", url: "https://example.com/a", tls: true, want: true},
		{name: "TLS ends in front of the service", target: "/a", url: "https://example.com/a", want: true},
		{name: "default port", target: "/a", url: "http://example.com:80/a", want: true},
		{name: "default port of https", target: "/a", url: "https://example.com:443/a", want: true},
		{name: "hexadecimal digits in small letters", target: "/caf%C3%A9", url: "http://example.com/caf%c3%a9", want: true},
		{name: "encoded for no reason", target: "/%70roducts", url: "http://example.com/products", want: true},
		{name: "query encoded for no reason", target: "/a?b=%7e", url: "http://example.com/a?b=~", want: true},
		{name: "host in capitals", target: "/a", url: "http://EXAMPLE.com/a", want: true},
		{name: "another query", target: "/a?b=1", url: "http://example.com/a"},
		{name: "another host", target: "/a", url: "http://example.org/a"},
		{name: "another port", target: "/a", url: "http://example.com:8080/a"},
		{name: "another path", target: "/a/b", url: "http://example.com/a"},
		{name: "decoded slash", target: "/a%2Fb", url: "http://example.com/a/b"},
	} {
		for _, vary := range []string{"", "X-V"} {
			t.Run(row.name+vary, func(t *testing.T) {
				c := newCache(t, Options{})
				h := c.Handler(Policy{})(&purgeOrigin{vary: vary})
				r := httptest.NewRequest("GET", row.target, nil)
				if r.TLS = nil; row.tls {
					r.TLS = new(tls.ConnectionState)
				}
				for _, v := range []string{"a", "b"} {
					r.Header.Set("X-V", v)
					keysServe(h, r)
				}
				if !keysHit(keysServe(h, r)) {
					t.Fatal("not stored")
				}
				if err := c.PurgeURL(t.Context(), row.url, Hard); err != nil {
					t.Fatal(err)
				}
				if purged := !keysHit(keysServe(h, r)); purged != row.want {
					t.Errorf("purged %v", purged)
				}
			})
		}
	}
}

func TestPurgeErrors(t *testing.T) {
	c := newCache(t, Options{})
	for _, bad := range []string{"", "/a", "example.com/a", "//example.com/a", "ftp://example.com/a", "http:///a", "http://exa mple.com/", "http://example.com/%zz"} {
		err := c.PurgeURL(t.Context(), bad, Hard)
		if err == nil || !strings.HasPrefix(err.Error(), "middleware: PurgeURL: ") || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A run begun before the purge answers those who wait for it, and nobody else.
func TestPurgeInFlight(t *testing.T) {
	for _, vary := range []string{"", "X-V"} {
		for _, warm := range []bool{false, true} {
			for name, purge := range map[string]func(c *Cache){
				"PurgeURL": func(c *Cache) { _ = c.PurgeURL(t.Context(), "http://example.com/", Hard) },
				"Flush":    func(c *Cache) { _ = c.Flush(t.Context(), Hard) },
			} {
				t.Run(fmt.Sprintf("%s vary %q warm %v", name, vary, warm), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newCache(t, Options{})
						o := &purgeOrigin{vary: vary}
						h := c.Handler(Policy{})(o)
						if warm { // another variant, so that the key is known to vary
							get(h, "/", "X-V", "other")
							if vary == "" {
								c.Flush(t.Context(), Hard)
							}
						}
						o.delay.Store(int64(time.Second))
						var wg sync.WaitGroup
						for range 5 {
							wg.Go(func() {
								if got := get(h, "/", "X-V", "x").Body.String(); got != "v0 x" {
									t.Errorf("before: %q", got)
								}
							})
						}
						time.Sleep(time.Second / 2)
						o.version.Store(1)
						purge(c)
						for range 5 { // while the old run is still under way
							wg.Go(func() {
								if got := get(h, "/", "X-V", "x").Body.String(); got != "v1 x" {
									t.Errorf("after: %q", got)
								}
							})
						}
						wg.Wait()
						for _, v := range []string{"x", "other"} {
							if got := get(h, "/", "X-V", v).Body.String(); got != "v1 "+v && vary != "" {
								t.Errorf("later: %q", got)
							} else if !strings.HasPrefix(got, "v1 ") {
								t.Errorf("later: %q", got)
							}
						}
					})
				})
			}
		}
	}
}

// A variant whose run is under way while the limit of variants drops it from
// the list is not on the list that Purge goes through.
func TestPurgeInFlightVariantNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		o := &purgeOrigin{vary: "X-V"}
		h := c.Handler(Policy{MaxVariants: 2})(o)
		get(h, "/", "X-V", "a")
		o.delay.Store(int64(time.Second))
		var wg sync.WaitGroup
		wg.Go(func() { get(h, "/", "X-V", "b") })
		synctest.Wait()
		wg.Go(func() { get(h, "/", "X-V", "c") }) // takes the place of b
		synctest.Wait()
		o.version.Store(1)
		if err := c.PurgeURL(t.Context(), "http://example.com/", Hard); err != nil {
			t.Fatal(err)
		}
		o.delay.Store(0)
		get(h, "/", "X-V", "a") // the key is known again
		if got := get(h, "/", "X-V", "b").Body.String(); got != "v1 b" {
			t.Errorf("while the old run is under way: got %q", got)
		}
		wg.Wait()
		for _, v := range []string{"b", "c", "a"} {
			if got := get(h, "/", "X-V", v).Body.String(); got != "v1 "+v {
				t.Errorf("got %q", got)
			}
		}
	})
}

// That responses are not shared is forgotten too.
func TestPurgeRemembered(t *testing.T) {
	c := newCache(t, Options{})
	control := "private"
	h := c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", control)
		fmt.Fprint(w, control)
	}))
	get(h, "/")
	control = "max-age=60"
	if err := c.PurgeURL(t.Context(), "http://example.com/", Hard); err != nil {
		t.Fatal(err)
	}
	get(h, "/")
	if w := get(h, "/"); !keysHit(w) {
		t.Errorf("%q", w.Header())
	}
}
