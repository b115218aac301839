package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
)

// A versionedPage answers with its version, which anything but a safe method
// makes a new one of.
type versionedPage struct {
	version int
	header  http.Header // of what is not GET
}

func (p *versionedPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case "GET":
		w.Header().Set("Cache-Control", "max-age=86400")
		fmt.Fprint(w, "version ", p.version)
	default:
		p.version++
		for name, values := range p.header {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// A spelling is a request line and its Host.
type spelling struct{ target, host string }

func (s spelling) request(method string, fields ...string) *http.Request {
	r := httptest.NewRequest(method, s.target, nil)
	r.Host = s.host
	privateSet(r.Header, fields)
	return r
}

// spellings are pairs of one URL, and pairs of two.
var spellings = []struct {
	name string
	a, b spelling
	same bool
}{
	{"the same", spelling{"/x", "a.example"}, spelling{"/x", "a.example"}, true},
	{"a host in capitals", spelling{"/x", "A.Example"}, spelling{"/x", "a.example"}, true},
	{"the port of http", spelling{"/x", "a.example:80"}, spelling{"/x", "a.example"}, true},
	{"the port of https, behind what ends TLS", spelling{"/x", "a.example:443"}, spelling{"/x", "a.example"}, true},
	{"an empty port", spelling{"/x", "a.example:"}, spelling{"/x", "a.example"}, true},
	{"an unreserved character", spelling{"/a%2Db", "a.example"}, spelling{"/a-b", "a.example"}, true},
	{"a letter", spelling{"/%70roducts", "a.example"}, spelling{"/products", "a.example"}, true},
	{"hex digits", spelling{"/caf%C3%A9", "a.example"}, spelling{"/caf%c3%a9", "a.example"}, true},
	{"hex digits in the query", spelling{"/?q=caf%C3%A9", "a.example"}, spelling{"/?q=caf%c3%a9", "a.example"}, true},
	{"a letter in the query", spelling{"/?%71=1", "a.example"}, spelling{"/?q=1", "a.example"}, true},
	{"an encoded slash, spelled differently", spelling{"/a%2Fb", "a.example"}, spelling{"/a%2fb", "a.example"}, true},
	{"an encoded slash beside a brace", spelling{"/a%2Fb{c}", "a.example"}, spelling{"/a%2fb{c}", "a.example"}, true},
	{"the whole URL", spelling{"http://a.example/x", "a.example"}, spelling{"/x", "a.example"}, true},
	{"the whole URL, in capitals", spelling{"HTTP://A.EXAMPLE:80/x", "A.EXAMPLE:80"}, spelling{"/x", "a.example"}, true},

	{"another path", spelling{"/x", "a.example"}, spelling{"/y", "a.example"}, false},
	{"another host", spelling{"/x", "a.example"}, spelling{"/x", "b.example"}, false},
	{"another port", spelling{"/x", "a.example:8080"}, spelling{"/x", "a.example"}, false},
	{"another query", spelling{"/x?a=1", "a.example"}, spelling{"/x?a=2", "a.example"}, false},
	{"a path in capitals", spelling{"/X", "a.example"}, spelling{"/x", "a.example"}, false},
	{"an encoded slash", spelling{"/a%2Fb", "a.example"}, spelling{"/a/b", "a.example"}, false},
	{"an encoded question mark", spelling{"/x%3Fa", "a.example"}, spelling{"/x?a", "a.example"}, false},
	{"an encoded ampersand", spelling{"/?a=1%262", "a.example"}, spelling{"/?a=1&2", "a.example"}, false},
	{"a plus", spelling{"/?a=1+2", "a.example"}, spelling{"/?a=1%2B2", "a.example"}, false},
	{"encoded twice", spelling{"/%2541", "a.example"}, spelling{"/A", "a.example"}, false},
}

// An unsafe method invalidates its URL, however the URL is spelled by whom, and
// no other.
func TestInvalidationHasNoSpelling(t *testing.T) {
	for _, row := range spellings {
		for i, pair := range [][2]spelling{{row.a, row.b}, {row.b, row.a}} {
			t.Run(fmt.Sprint(row.name, " ", i), func(t *testing.T) {
				page := &versionedPage{version: 1}
				h := newCache(t, Options{}).Handler(Policy{})(page)
				keysServe(h, pair[0].request("GET"))
				keysServe(h, pair[1].request("POST"))
				if w := keysServe(h, pair[0].request("GET")); keysHit(w) == row.same {
					t.Errorf("GET %v after POST %v: %q (%s)", pair[0], pair[1], w.Body, w.Header()["Cache-Status"])
				}
			})
		}
	}
}

// The same for a purge of the URL.
func TestPurgeHasNoSpelling(t *testing.T) {
	for _, row := range spellings {
		for i, pair := range [][2]spelling{{row.a, row.b}, {row.b, row.a}} {
			t.Run(fmt.Sprint(row.name, " ", i), func(t *testing.T) {
				c := newCache(t, Options{})
				h := c.Handler(Policy{})(&versionedPage{version: 1})
				keysServe(h, pair[0].request("GET"))
				target := pair[1].target
				if strings.HasPrefix(target, "/") {
					target = "http://" + pair[1].host + target
				}
				if err := c.PurgeURL(t.Context(), target, Hard); err != nil {
					t.Fatal(err)
				}
				if w := keysServe(h, pair[0].request("GET")); keysHit(w) == row.same {
					t.Errorf("GET %v after a purge of %s: %s", pair[0], target, w.Header()["Cache-Status"])
				}
			})
		}
	}
}

// What is stored by the rules of one route is invalidated through another one,
// whose rules for the key are others.
func TestInvalidationCrossesPolicies(t *testing.T) {
	policies := map[string]Policy{
		"none":    {},
		"sorted":  {Query: Query{Sort: true}},
		"allow":   {Query: Query{Allow: []string{"a", "b"}}},
		"ignore":  {Query: Query{Ignore: []string{"utm_*"}}},
		"headers": {Headers: []string{"Accept-Language"}},
		"all":     {Headers: []string{"Accept-Language"}, Query: Query{Sort: true, Ignore: []string{"utm_*"}}},
	}
	for reads, from := range policies {
		for writes, by := range policies {
			t.Run(reads+" by "+writes, func(t *testing.T) {
				c := newCache(t, Options{})
				page := &versionedPage{version: 1}
				read, write := c.Handler(from)(page), c.Handler(by)(page)
				const target = "/x?b=2&a=1&utm_x=3"
				for _, language := range []string{"de", "fr"} {
					get(read, target, "Accept-Language", language)
				}
				keysServe(write, httptest.NewRequest("POST", target, nil))
				for _, language := range []string{"de", "fr"} {
					if w := get(read, target, "Accept-Language", language); w.Body.String() != "version 2" {
						t.Errorf("in %s: %q", language, w.Body)
					}
				}
			})
		}
	}
}

// Routers and handlers inside may rewrite the request as they like, in place:
// what is invalidated is what the client asked for, and keys are the client's.
func TestRewritingInsideChangesNoNames(t *testing.T) {
	for name, rewrite := range map[string]func(r *http.Request){
		"path":        func(r *http.Request) { r.URL.Path = path.Base(r.URL.Path) },
		"raw path":    func(r *http.Request) { r.URL.RawPath = "/%75sers/1" },
		"query":       func(r *http.Request) { r.URL.RawQuery = "internal=1" },
		"host":        func(r *http.Request) { r.Host, r.URL.Host = "backend.internal", "backend.internal" },
		"scheme":      func(r *http.Request) { r.URL.Scheme = "https"; r.TLS = nil },
		"URL":         func(r *http.Request) { *r.URL = *r.URL.JoinPath("internal") },
		"RequestURI":  func(r *http.Request) { r.RequestURI = "/internal" },
		"method":      func(r *http.Request) { r.Method = "GET" },
		"another URL": func(r *http.Request) { r.URL = r.URL.JoinPath("internal") },
		"fields":      func(r *http.Request) { r.Header.Set("Destination", "/other"); r.Header.Set("Host", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			page := &versionedPage{version: 1}
			h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				method := r.Method
				rewrite(r)
				page.ServeHTTP(w, &http.Request{Method: method, URL: r.URL, Header: r.Header})
			}))
			const target = "/users/1?page=2"
			get(h, target)
			if w := get(h, target); !keysHit(w) {
				t.Errorf("not stored for the client's URL: %s", w.Header()["Cache-Status"])
			}
			keysServe(h, httptest.NewRequest("POST", target, nil))
			if w := get(h, target); w.Body.String() != "version 2" {
				t.Errorf("after a POST: %q", w.Body)
			}
		})
	}
}

// Routers outside of the cache that cut something off, or rewrite, before it.
func TestInvalidationBehindRouters(t *testing.T) {
	shift := func(h http.Handler) http.Handler { // "head, r.URL.Path = ShiftPath(r.URL.Path)"
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
			r.URL.Path = "/" + rest
			h.ServeHTTP(w, r)
		})
	}
	for name, router := range map[string]func(h http.Handler) http.Handler{
		"StripPrefix":  func(h http.Handler) http.Handler { return http.StripPrefix("/api", h) },
		"ShiftPath":    shift,
		"StripSlashes": chimw.StripSlashes,
		"CleanPath": func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Use(chimw.CleanPath)
			r.Mount("/", h)
			return r
		},
		"Mount": func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Mount("/api", h)
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			page := &versionedPage{version: 1, header: http.Header{"Location": {"/api/b/"}}}
			h := router(newCache(t, Options{}).Handler(Policy{})(page))
			for _, target := range []string{"/api/a/", "/api/b/", "/api/c/"} {
				get(h, target)
			}
			keysServe(h, httptest.NewRequest("POST", "/api/a/", nil))
			for target, want := range map[string]string{"/api/a/": "version 2", "/api/b/": "version 2", "/api/c/": "version 1"} {
				if w := get(h, target); w.Body.String() != want {
					t.Errorf("%s: %q, want %q", target, w.Body, want)
				}
			}
		})
	}
}

// Methods that are registered as safe change nothing (RFC 9110 16.1.1), and MOVE
// and COPY change what is at their Destination (RFC 4918 9.8, 9.9), if that is
// of this origin.
func TestWhatMethodsInvalidate(t *testing.T) {
	for _, row := range []struct {
		method, destination string
		gone                string
	}{
		{"OPTIONS", "", ""}, {"TRACE", "", ""}, {"PROPFIND", "", ""}, {"REPORT", "", ""}, {"SEARCH", "", ""}, {"QUERY", "", ""},
		{"PROPFIND", "/b", ""},
		{"PROPPATCH", "", "a"}, {"LOCK", "", "a"}, {"UNKNOWN", "", "a"}, {"options", "", "a"},
		{"MOVE", "/b", "ab"}, {"COPY", "/b", "ab"}, {"MOVE", "http://example.com/b", "ab"}, {"COPY", "https://EXAMPLE.com:443/b#x", "ab"}, {"MOVE", "/%62", "ab"},
		{"MOVE", "http://other.example/b", "a"}, {"PUT", "/b", "a"}, {"MOVE", "", "a"}, {"MOVE", "://", "a"},
	} {
		t.Run(row.method+" "+row.destination, func(t *testing.T) {
			h := newCache(t, Options{}).Handler(Policy{})(&versionedPage{version: 1})
			for _, path := range []string{"/a", "/b"} {
				get(h, path)
			}
			r := httptest.NewRequest(row.method, "/a", nil)
			if row.destination != "" {
				r.Header.Set("Destination", row.destination)
			}
			keysServe(h, r)
			for _, path := range []string{"a", "b"} {
				if hit := keysHit(get(h, "/"+path)); hit == strings.Contains(row.gone, path) {
					t.Errorf("%s: hit is %v", path, hit)
				}
			}
		})
	}
}
