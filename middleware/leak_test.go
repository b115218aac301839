package middleware

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/middleware/internal/key"
)

// A leakRow is two requests, and an origin that makes its response of all that
// it sees of a request, with fields that tempt a cache to share it.
type leakRow struct {
	name   string
	policy Policy
	fields []string // of the response
	a, b   leakRequest

	// plain says that a may get what b got. A client that adds a field of
	// which nothing says that it matters gets what everyone gets, or what it
	// asked for; nobody else gets the latter.
	plain bool
}

type leakRequest struct {
	method, host, target string // GET, example.com and /a by default
	tls                  bool
	fields               []string
	body                 string
}

func (q leakRequest) make() *http.Request {
	target := q.target
	if target == "" {
		target = "/a"
	}
	r := httptest.NewRequest("GET", target, nil)
	if q.method != "" {
		r.Method = q.method
	}
	if q.host != "" {
		r.Host = q.host
	}
	if q.tls {
		r.TLS = new(tls.ConnectionState)
	}
	if q.body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(q.body)), int64(len(q.body))
	}
	for i := 0; i < len(q.fields); i += 2 {
		r.Header.Add(q.fields[i], q.fields[i+1])
	}
	return r
}

// with is a request with fields.
func with(fields ...string) leakRequest { return leakRequest{fields: fields} }

// at is a request for a target.
func at(target string) leakRequest { return leakRequest{target: target} }

const leakFresh = "public, max-age=60"

func leakRows() []leakRow {
	fresh := []string{"Cache-Control", leakFresh}
	ttl := Policy{TTL: time.Minute, StaleIfError: time.Hour}
	alice, bob := with("Cookie", "user=alice"), with("Cookie", "user=bob")
	tokenA, tokenB := with("Authorization", "Bearer alice"), with("Authorization", "Bearer bob")
	rows := []leakRow{
		{"cookies, TTL", ttl, nil, alice, bob, false},
		{"cookies, private", ttl, []string{"Cache-Control", "private, max-age=60"}, alice, bob, false},
		{"cookies, Set-Cookie", Policy{}, append(fresh, "Set-Cookie", "s=1"), alice, bob, false},
		{"cookies, Vary", Policy{}, append(fresh, "Vary", "Cookie"), alice, bob, false},
		{"cookies, no-store", ttl, []string{"Cache-Control", "no-store"}, alice, bob, false},
		{"cookies in the key", Policy{TTL: time.Minute, Headers: []string{"Cookie"}}, nil, alice, bob, false},
		{"a cookie and none, TTL", ttl, nil, alice, leakRequest{}, false},
		{"tokens, max-age", Policy{}, []string{"Cache-Control", "max-age=60"}, tokenA, tokenB, false},
		{"tokens, TTL", ttl, nil, tokenA, tokenB, false},
		{"tokens, Vary", Policy{}, append(fresh, "Vary", "Authorization"), tokenA, tokenB, false},
		{"tokens in the key", Policy{TTL: time.Minute, Headers: []string{"Authorization"}}, nil, tokenA, tokenB, false},
		{"a token and none", Policy{}, []string{"Cache-Control", "max-age=60"}, tokenA, leakRequest{}, false},
		{"hosts", Policy{}, fresh, leakRequest{host: "a.example"}, leakRequest{host: "b.example"}, false},
		{"ports", Policy{}, fresh, leakRequest{host: "a.example"}, leakRequest{host: "a.example:8080"}, false},
		{"schemes", Policy{}, fresh, leakRequest{}, leakRequest{tls: true}, false},
		{"queries", Policy{}, fresh, at("/a?id=1"), at("/a?id=2"), false},
		{"queries, allowed", Policy{Query: Query{Allow: []string{"id"}}}, fresh, at("/a?id=1"), at("/a?id=2"), false},
		{"cloaked parameter", Policy{Query: Query{Allow: []string{"id"}}}, fresh, at("/a?id=1"), at("/a?id=1;id=2"), false},
		{"cloaked in an ignored one", Policy{Query: Query{Ignore: []string{"utm"}}}, fresh, at("/a?id=1"), at("/a?id=1&utm=x;id=2&id=3"), false},
		{"queries, No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `params=("utm"), key-order`), at("/a?id=1&n=2&utm=x"), at("/a?id=2&n=1&utm=x"), false},
		{"queries, all but one ignored", Policy{}, append(fresh, "No-Vary-Search", `except=("id")`), at("/a?id=1"), at("/a?id=2"), false},
		{"order in one name", Policy{}, append(fresh, "No-Vary-Search", `key-order`), at("/a?id=1&id=2"), at("/a?id=2&id=1"), false},
		{"cloaked, No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `params=("utm")`), at("/a?id=1"), at("/a?id=1&utm=x;id=2"), false},
		{"no escape, No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `key-order`), at("/a?id=%zz"), at("/a?id=%25zz"), false},
		{"no UTF-8, No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `key-order`), at("/a?id=%f6"), at("/a?id=%f7"), false},
		{"Vary below No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `except=()`, "Vary", "X-One"), with("X-One", "1"), with("X-One", "2"), false},
		{"empty query and none", Policy{}, fresh, at("/a"), at("/a?"), false},
		{"empty query, No-Vary-Search", Policy{}, append(fresh, "No-Vary-Search", `key-order`), at("/a?b"), at("/a?"), false},
		{"empty query and a question mark", Policy{}, fresh, at("/a?"), at("/a??"), false},
		{"encoded slash", Policy{}, fresh, at("/a/b"), at("/a%2Fb"), false},
		{"encoded twice", Policy{}, fresh, at("/a%2Fb"), at("/a%252Fb"), false},
		{"case of paths", Policy{}, fresh, at("/a"), at("/A"), false},
		{"query in the path", Policy{}, fresh, at("/a?b"), at("/a%3Fb"), false},
		{"fat GET", Policy{}, fresh, leakRequest{}, leakRequest{body: "evil"}, false},
		{"fat GETs", Policy{}, fresh, leakRequest{body: "one"}, leakRequest{body: "two"}, false},
		{"unsafe method", Policy{}, fresh, leakRequest{}, leakRequest{method: "POST", body: "x"}, false},
		{"unknown method", Policy{}, fresh, leakRequest{}, leakRequest{method: "REPORT"}, false},
		{"method in capitals", Policy{}, fresh, leakRequest{}, leakRequest{method: "get"}, false},
		{"Vary of two fields", Policy{}, append(fresh, "Vary", "Accept-Language, X-Kind"),
			with("Accept-Language", "de", "X-Kind", "1"), with("Accept-Language", "de", "X-Kind", "2"), false},
		{"Vary, cut at another place", Policy{}, append(fresh, "Vary", "X-One, X-Two"), with("X-One", "ab", "X-Two", "c"), with("X-One", "a", "X-Two", "bc"), false},
		{"Vary, absent and empty", Policy{}, append(fresh, "Vary", "X-One"), leakRequest{}, with("X-One", ""), false},
	}
	for _, name := range []string{"Accept", "Accept-Language", "Accept-Encoding", "User-Agent", "Origin", "X-Anything"} {
		rows = append(rows, leakRow{"Vary: " + name, Policy{}, append(slices.Clone(fresh), "Vary", name), with(name, "gzip;q=0.5"), with(name, "br, identity;q=0.1"), false})
	}
	for _, name := range append(slices.Clone(rewriters), "X-Forwarded-Host") {
		rows = append(rows,
			leakRow{name: name, fields: fresh, a: with(name, "one.example"), b: with(name, "two.example")},
			leakRow{name: name + " or none", policy: ttl, a: with(name, "evil.example"), plain: true})
	}
	return rows
}

// reflect answers with all that it sees of a request that the row names.
func (row *leakRow) reflect(w http.ResponseWriter, r *http.Request) {
	for i := 0; i < len(row.fields); i += 2 {
		w.Header().Add(row.fields[i], row.fields[i+1])
	}
	w.Header().Set("X-Whose", row.whose(r))
	body, _ := io.ReadAll(r.Body)
	time.Sleep(10 * time.Millisecond) // in a bubble: time for others to join
	_, _ = io.WriteString(w, row.whose(r)+" "+string(body))
}

func (row *leakRow) whose(r *http.Request) string {
	b := fmt.Sprintf("%s %v %s %q %v %q", r.Method, r.TLS != nil, r.Host, r.URL.EscapedPath(), r.URL.ForceQuery, row.policy.Query.Normalise(r.URL.RawQuery))
	for _, fields := range [][]string{row.a.fields, row.b.fields} {
		for i := 0; i < len(fields); i += 2 {
			b += fmt.Sprintf(" %s=%q", fields[i], r.Header[http.CanonicalHeaderKey(fields[i])])
		}
	}
	return b
}

// Whatever two requests differ in, by which a handler or an upstream may tell
// them apart: neither gets the other's response. They come at once to an empty
// cache, and then again, from 64 goroutines.
func TestNobodyGetsAnothers(t *testing.T) {
	for _, face := range faces {
		for _, row := range leakRows() {
			t.Run(face.name+" "+row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := face.mount(newCache(t, Options{}), row.policy, http.HandlerFunc(row.reflect))
					var wg sync.WaitGroup
					for g := range 64 {
						q := row.a
						if g%2 == 1 {
							q = row.b
						}
						wg.Go(func() {
							for range 3 {
								w := httptest.NewRecorder()
								h.ServeHTTP(w, q.make())
								whose := row.whose(q.make())
								if row.plain && g%2 == 0 && w.Header().Get("X-Whose") == row.whose(row.b.make()) {
									continue
								}
								if got := w.Header().Get("X-Whose"); got != whose || w.Body.String() != whose+" "+q.body {
									t.Errorf("%s\ngot %s: %q (%s)", whose, got, w.Body, w.Header()["Cache-Status"])
								}
								time.Sleep(time.Duration(g) * time.Millisecond)
							}
						})
					}
					wg.Wait()
				})
			})
		}
	}
}

// The hash of a key finds, and does not decide: what is stored under the hash
// that a request has, for another request, is not its response.
func TestCollisionIsNoHit(t *testing.T) {
	for _, face := range faces {
		for _, vary := range []string{"", "X-V"} {
			t.Run(face.name+vary, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					row := leakRow{fields: []string{"Cache-Control", leakFresh}}
					if vary != "" {
						row.fields = append(row.fields, "Vary", vary)
					}
					c := newCache(t, Options{})
					h := face.mount(c, Policy{}, http.HandlerFunc(row.reflect))
					a, b := at("/a"), at("/b")
					h.ServeHTTP(httptest.NewRecorder(), a.make())
					rules := key.Rules{Outbound: face.name == "transport"}
					keyOf := func(q leakRequest) key.Key {
						r := q.make()
						if rules.Outbound {
							r.RequestURI = r.URL.RequestURI()
						}
						return rules.Of(r)
					}
					ka, kb := keyOf(a), keyOf(b)
					e := c.store.Get(ka.Hash(c.seed), lookup{key: ka})
					if e == nil {
						t.Fatal("not stored")
					}
					// The object of a where that of b would be.
					forged := &entry{Times: e.Times, Tags: e.Tags, Gen: e.Gen}
					forged.Value.key, forged.Value.response, forged.Value.rule, forged.Value.metrics = e.Value.key, e.Value.response, e.Value.rule, e.Value.metrics
					if !c.store.Put(kb.Hash(c.seed), forged, 1000, 0) {
						t.Fatal("could not be forged")
					}
					for range 3 {
						for _, q := range []leakRequest{a, b} {
							w := httptest.NewRecorder()
							h.ServeHTTP(w, q.make())
							if want := row.whose(q.make()); w.Header().Get("X-Whose") != want {
								t.Errorf("%s got %s", want, w.Header().Get("X-Whose"))
							}
						}
					}
				})
			})
		}
	}
}
