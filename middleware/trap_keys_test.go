package middleware

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/middleware/internal/key"
	"github.com/freshet-go/freshet/middleware/internal/stored"
)

// keysEcho answers with all that may tell two requests apart.
func keysEcho(calls *int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*calls++
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%s %v %s %q %q %q", r.Method, r.TLS != nil, r.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery)
	})
}

func keysServe(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// keysHit reports whether w was answered from the store.
func keysHit(w *httptest.ResponseRecorder) bool {
	return strings.HasPrefix(w.Header().Get("Cache-Status"), "freshet; hit")
}

// H1, H2, D2, D3: requests that differ in anything the handler can see do not
// share a response.
func TestKeysApart(t *testing.T) {
	type request struct {
		method, host, target string
		tls                  bool
	}
	base := request{method: "GET", host: "a.example", target: "/a/b?id=1"}
	for _, row := range []struct {
		name  string
		other request
	}{
		{"H1 query", request{method: "GET", host: "a.example", target: "/a/b?id=2"}},
		{"H1 no query", request{method: "GET", host: "a.example", target: "/a/b"}},
		{"H1 empty query is not the same text", request{method: "GET", host: "a.example", target: "/a/b?"}},
		{"H1 path case", request{method: "GET", host: "a.example", target: "/A/b?id=1"}},
		{"H1 query case", request{method: "GET", host: "a.example", target: "/a/b?ID=1"}},
		{"H1 trailing slash", request{method: "GET", host: "a.example", target: "/a/b/?id=1"}},
		{"H1 path is not cleaned", request{method: "GET", host: "a.example", target: "/a//b?id=1"}},
		{"H2 host", request{method: "GET", host: "b.example", target: "/a/b?id=1"}},
		{"D2 port is part of the host", request{method: "GET", host: "a.example:81", target: "/a/b?id=1"}},
		{"D2 host case is not folded", request{method: "GET", host: "A.example", target: "/a/b?id=1"}},
		{"scheme", request{method: "GET", host: "a.example", target: "/a/b?id=1", tls: true}},
		{"D3 cloaked by ;", request{method: "GET", host: "a.example", target: "/a/b?id=1;id=2"}},
		{"D3 cloaked by ; and another parameter", request{method: "GET", host: "a.example", target: "/a/b?id=1&utm=x;id=2"}},
		{"D3 encoded slash", request{method: "GET", host: "a.example", target: "/a%2Fb?id=1"}},
		{"D3 encoded slash in lower case", request{method: "GET", host: "a.example", target: "/a%2fb?id=1"}},
		{"D3 slash encoded twice", request{method: "GET", host: "a.example", target: "/a%252Fb?id=1"}},
		{"D3 query in the path", request{method: "GET", host: "a.example", target: "/a/b%3Fid=1"}},
		{"H1 DELETE", request{method: "DELETE", host: "a.example", target: "/a/b?id=1"}},
		{"H1 POST", request{method: "POST", host: "a.example", target: "/a/b?id=1"}},
		{"H1 method case", request{method: "get", host: "a.example", target: "/a/b?id=1"}},
		{"H1 unknown method", request{method: "PURGE", host: "a.example", target: "/a/b?id=1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, order := range [][2]request{{base, row.other}, {row.other, base}} {
				var calls int
				h := newCache(t, Options{}).Handler(Policy{})(keysEcho(&calls))
				var bodies [2]string
				for i, q := range order {
					r := httptest.NewRequest(q.method, q.target, nil)
					r.Host = q.host
					if q.tls {
						r.TLS = new(tls.ConnectionState)
					}
					w := keysServe(h, r)
					bodies[i] = w.Body.String()
					if !strings.HasPrefix(bodies[i], q.method+" ") || !strings.Contains(bodies[i], " "+q.host+" ") || keysHit(w) {
						t.Errorf("%v got %q (%s)", q, bodies[i], w.Header().Get("Cache-Status"))
					}
				}
				if calls != 2 {
					t.Errorf("%d handler calls for two different requests", calls)
				}
			}
		})
	}
}

// The same request again is the same key, whatever does not count.
func TestKeysSame(t *testing.T) {
	var calls int
	h := newCache(t, Options{}).Handler(Policy{})(keysEcho(&calls))
	for _, target := range []string{"/a%2Fb?x=%20", "/", "/x?", "/caf%C3%A9", "/a;b"} {
		calls = 0
		first := get(h, target).Body.String()
		w := get(h, target, "X-Other", "1", "User-Agent", "another")
		if calls != 1 || !keysHit(w) || w.Body.String() != first {
			t.Errorf("%s: %d calls, %q after %q", target, calls, w.Body.String(), first)
		}
	}
}

// D3: a GET with a body is not looked up and not stored.
func TestKeysFatGet(t *testing.T) {
	var calls int
	h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "body %s", body)
	}))
	for _, row := range []struct {
		name   string
		length int64
	}{
		{"length", 4}, {"chunked", -1},
	} {
		calls = 0
		r := httptest.NewRequest("GET", "/fat", io.NopCloser(strings.NewReader("evil")))
		r.ContentLength = row.length
		w := keysServe(h, r)
		if got := w.Header().Get("Cache-Status"); got != "freshet; fwd=bypass; detail=body" || w.Body.String() != "body evil" {
			t.Errorf("%s: %q %q", row.name, got, w.Body.String())
		}
	}
	if w := get(h, "/fat"); w.Body.String() != "body " || keysHit(w) {
		t.Errorf("afterwards: %q", w.Body.String())
	}
}

// Under http.StripPrefix two mounts see the same path.
func TestKeysStripPrefix(t *testing.T) {
	c := newCache(t, Options{})
	mux := http.NewServeMux()
	for _, prefix := range []string{"/one", "/two", "/one/x"} {
		mux.Handle(prefix+"/", http.StripPrefix(prefix, c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, prefix, " ", r.URL.Path)
		}))))
	}
	for range 2 {
		for target, want := range map[string]string{
			"/one/p":       "/one /p",
			"/two/p":       "/two /p",
			"/one/x/p":     "/one/x /p",
			"/one/one/p":   "/one /one/p",
			"/one/two/p":   "/one /two/p",
			"/two/x/p":     "/two /x/p",
			"/one/p?q=1":   "/one /p",
			"/one/x/one/p": "/one/x /one/p",
		} {
			if got := get(mux, target).Body.String(); got != want {
				t.Errorf("%s: got %q, want %q", target, got, want)
			}
		}
	}
}

// D1: what does not count neither makes entries nor reaches the handler.
func TestKeysQuery(t *testing.T) {
	for _, row := range []struct {
		name     string
		query    Query
		a, b     string
		same     bool
		wantSeen string // by the handler, for b
	}{
		{"allow drops others", Query{Allow: []string{"id"}}, "id=1", "utm=x&id=1&y", true, "id=1"},
		{"allow keeps what counts", Query{Allow: []string{"id"}}, "id=1", "id=2", false, "id=2"},
		{"allow keeps order of one name", Query{Allow: []string{"id"}}, "id=1&id=2", "id=2&id=1", false, "id=2&id=1"},
		{"allow is exact", Query{Allow: []string{"id"}}, "id=1", "ID=1", false, ""},
		{"allow sees encoded names", Query{Allow: []string{"id"}}, "id=1", "i%64=1", false, "i%64=1"},
		{"ignore", Query{Ignore: []string{"ref"}}, "id=1", "ref=9&id=1", true, "id=1"},
		{"ignore sees encoded names", Query{Ignore: []string{"ref"}}, "id=1", "re%66=9&id=1", true, "id=1"},
		{"ignore prefix", Query{Ignore: []string{"utm_*"}}, "id=1", "utm_a=1&id=1&utm_b=2", true, "id=1"},
		{"ignore prefix is not a substring", Query{Ignore: []string{"utm_*"}}, "id=1", "id=1&xutm_a=1", false, "id=1&xutm_a=1"},
		{"ignore sorts", Query{Ignore: []string{"utm_*"}}, "a=1&b=2", "b=2&a=1", true, "a=1&b=2"},
		{"sort", Query{Sort: true}, "a=1&b=2", "b=2&a=1", true, "a=1&b=2"},
		{"sort keeps order of one name", Query{Sort: true}, "a=1&a=2", "a=2&a=1", false, "a=2&a=1"},
		{"zero does not sort", Query{}, "a=1&b=2", "b=2&a=1", false, "b=2&a=1"},
		{"a cloak is part of a value", Query{Ignore: []string{"utm"}}, "id=1", "utm=x;id=2&id=1", true, "id=1"},
		{"a cloaked name is another name", Query{Allow: []string{"id"}}, "id=1", "id=1;id=2", false, "id=1;id=2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var calls int
			var seen, uri, form string
			h := newCache(t, Options{}).Handler(Policy{Query: row.query})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				seen, form = r.URL.RawQuery, r.FormValue("utm")
				_, uri, _ = strings.Cut(r.RequestURI, "?")
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprint(w, r.URL.RawQuery)
			}))
			a := get(h, "/?"+row.a).Body.String()
			b := get(h, "/?"+row.b).Body.String()
			if same := calls == 1; same != row.same || same && a != b {
				t.Errorf("%d calls; %q, %q", calls, a, b)
			}
			if b != row.wantSeen || seen != b && !row.same {
				t.Errorf("handler saw %q, body %q, want %q", seen, b, row.wantSeen)
			}
			// The other way round, the handler must see the same.
			calls = 0
			h = newCache(t, Options{}).Handler(Policy{Query: row.query})(h.(*route).next)
			r := httptest.NewRequest("GET", "/?"+row.b, nil)
			_ = r.ParseForm() // by middleware outside
			if got := keysServe(h, r).Body.String(); got != row.wantSeen || uri != row.wantSeen || form != "" {
				t.Errorf("first: handler saw %q (request line %q, form %q), want %q", got, uri, form, row.wantSeen)
			}
		})
	}
}

// Policy.Headers are part of the key, whether or not the response varies.
func TestKeysHeaders(t *testing.T) {
	var calls int
	h := newCache(t, Options{}).Handler(Policy{Headers: []string{"x-tenant", "X-B"}})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%q %q", r.Header["X-Tenant"], r.Header["X-B"])
	}))
	requests := [][]string{
		{},
		{"X-Tenant", ""},
		{"X-Tenant", "a"},
		{"X-Tenant", "A"},
		{"X-B", "a"},
		{"X-Tenant", "a", "X-B", "b"},
		{"X-Tenant", "a", "X-Tenant", "b"},
		{"X-Tenant", "a, b"},
		{"X-Tenant", "a\x01b"},
	}
	var first []string
	for _, fields := range requests {
		first = append(first, get(h, "/", fields...).Body.String())
	}
	if calls != len(requests) {
		t.Errorf("%d calls for %d keys", calls, len(requests))
	}
	for i, fields := range requests {
		if got := get(h, "/", fields...).Body.String(); got != first[i] {
			t.Errorf("%q: got %s, want %s", fields, got, first[i])
		}
	}
	if calls != len(requests) {
		t.Errorf("%d calls after hits", calls)
	}
}

// D5: equal hashes stand for nothing. The store is asked for many keys under
// one hash and must only ever give what belongs to the key.
func TestKeysCollide(t *testing.T) {
	c := newCache(t, Options{})
	of := func(target, rawPath, requestURI, extra string, secure bool) key.Key {
		r := httptest.NewRequest("GET", "http://a"+target, nil)
		r.URL.RawPath, r.RequestURI, r.TLS = rawPath, target, nil
		if requestURI != "" {
			r.RequestURI = requestURI
		}
		if secure {
			r.TLS = new(tls.ConnectionState)
		}
		r.Header.Set("X-Extra", extra)
		rules := key.Rules{}
		if extra != "" {
			rules.Headers = []string{"X-Extra"}
		}
		return rules.Of(r)
	}
	lookups := []lookup{
		{key: of("/", "", "", "", false)},
		{key: of("/", "", "", "", true)},
		{key: of("/?q", "", "", "", false)},
		{key: of("/?", "", "", "", false)},
		{key: of("/", "q", "", "", false)},
		{key: of("/", "", "q", "", false)},
		{key: of("/", "", "", "q", false)},
		{key: of("/q", "", "", "", false)},
		{key: key.Key{Host: "", Path: "a/"}},
		{key: key.Key{Host: "a", Path: "/", Outbound: true}},
		{key: of("/", "", "", "", false), variant: "v"},
		{key: of("/", "", "", "", true), variant: "v"},
		{key: of("/", "", "", "", false), variant: "w"},
	}
	const hash = 7
	for i, q := range lookups {
		body := fmt.Sprint(i)
		put := c.store.Put(hash, &engine.Entry[object]{
			Value: object{key: q.key, variant: q.variant, response: &stored.Response{Body: []byte(body)}},
			Times: engine.NewTimes(c.store.Now(), 1e12, 0, 0),
			Gen:   c.store.Generation(),
		}, 500, 0)
		if !put {
			t.Fatalf("%d not stored", i)
		}
		for j, other := range lookups {
			e := c.store.Get(hash, other)
			if (e != nil) != (i == j) {
				t.Errorf("stored %d, asked for %d: found %v", i, j, e != nil)
			}
		}
	}
	if c.store.Delete(hash, lookups[0]) {
		t.Error("deleted another's entry")
	}
}
