package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A searchOrigin answers GET with the number of its version and the query, as
// they were when the request came, after delay, with a No-Vary-Search.
type searchOrigin struct {
	mu      sync.Mutex
	calls   int           // guarded by mu
	version int           // guarded by mu
	delay   time.Duration // guarded by mu
	rule    string        // guarded by mu; empty for none
	header  http.Header   // guarded by mu; more of it
}

func newSearchOrigin(rule string) *searchOrigin {
	return &searchOrigin{rule: rule, header: http.Header{"Cache-Control": {"max-age=60"}}}
}

func (o *searchOrigin) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *searchOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	for name, values := range o.header {
		w.Header()[name] = values
	}
	if o.rule != "" {
		w.Header().Set("No-Vary-Search", o.rule)
	}
	delay, body := o.delay, fmt.Sprintf("v%d %s%s", o.version, r.URL.RawQuery, r.Header.Get("X-V"))
	if r.Method == "GET" {
		o.calls++
	}
	o.mu.Unlock()
	time.Sleep(delay)
	if r.Method == "GET" {
		fmt.Fprint(w, body)
	}
}

func (o *searchOrigin) called() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls
}

// searchFaces runs a test on both faces, in a bubble.
func searchFaces(t *testing.T, rule string, p Policy, test func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin)) {
	for _, face := range faces {
		t.Run(face.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, o := newCache(t, Options{}), newSearchOrigin(rule)
				test(t, c, face.mount(c, p, o), o)
			})
		})
	}
}

// searchWant asks for a target and wants this body, from the store or not.
func searchWant(t *testing.T, h http.Handler, target, body string, hit bool, fields ...string) {
	t.Helper()
	w := get(h, target, fields...)
	if got := w.Body.String(); got != body || keysHit(w) != hit {
		t.Errorf("%s: got %q (%s), want %q, hit %v", target, got, w.Header().Get("Cache-Status"), body, hit)
	}
}

// A response answers the queries that its rule makes equivalent to that of its
// request, and no others.
func TestSearch(t *testing.T) {
	for _, row := range []struct {
		rule, first, second string
		hit                 bool
	}{
		{`params=("utm")`, "/a?id=1&utm=x", "/a?id=1&utm=y", true},
		{`params=("utm")`, "/a?id=1&utm=x", "/a?id=1", true},
		{`params=("utm")`, "/a?utm=x", "/a", true},
		{`params=("utm")`, "/a", "/a?u%74m=x", true},
		{`params=("utm")`, "/a?id=1", "/a?id=1", true},
		{`params=("utm")`, "/a?id=1&utm=x", "/a?id=2&utm=x", false},
		{`params=("utm")`, "/a?id=1&utm=x", "/b?id=1&utm=x", false},
		{`params=("utm")`, "/a?x=1&y=2", "/a?y=2&x=1", false},
		{`key-order`, "/a?x=1&y=2", "/a?y=2&x=1", true},
		{`key-order`, "/a?x=1&x=2", "/a?x=2&x=1", false},
		{`except=("id")`, "/a?id=1&x=2", "/a?y=3&id=1", true},
		{`except=("id")`, "/a?id=1&x=2", "/a?id=2&x=2", false},
		{`except=()`, "/a?id=1", "/a", true},
		{``, "/a?id=1", "/a?id=1&utm=x", false},
		{`params=("utm"), except=("id")`, "/a?id=1&utm=x", "/a?id=1&utm=y", false}, // not valid
		{`params=("utm")`, "/a?id=1", "/a?id=1&utm=x;id=2", false},                 // not read alike by all
		{`params=("utm")`, "/a?id=1;utm=x", "/a?id=1;utm=x", true},
		{`params=("` + strings.Repeat("x", maxSearchBytes) + `" "utm")`, "/a?utm=x", "/a?utm=y", false},
	} {
		t.Run(row.rule+row.second, func(t *testing.T) {
			searchFaces(t, row.rule, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
				query := func(target string) string {
					_, q, _ := strings.Cut(target, "?")
					return "v0 " + q
				}
				searchWant(t, h, row.first, query(row.first), false)
				searchWant(t, h, row.first, query(row.first), true)
				second := query(row.second)
				if row.hit {
					second = query(row.first)
				}
				searchWant(t, h, row.second, second, row.hit)
				searchWant(t, h, row.second, second, true)
			})
		})
	}
}

// The policy's own rule comes first, Vary counts below both.
func TestSearchComposes(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{Query: Query{Ignore: []string{"session"}}}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		o.header.Set("Vary", "X-V")
		searchWant(t, h, "/?id=1&session=1&utm=x", "v0 id=1&utm=xde", false, "X-V", "de")
		searchWant(t, h, "/?utm=y&id=1&session=2", "v0 id=1&utm=xde", true, "X-V", "de")
		searchWant(t, h, "/?id=1&utm=y", "v0 id=1&utm=yen", false, "X-V", "en")
		searchWant(t, h, "/?id=1", "v0 id=1&utm=yen", true, "X-V", "en")
		searchWant(t, h, "/?id=1", "v0 id=1&utm=xde", true, "X-V", "de")
		if err := c.PurgeURL("http://example.com/?utm=z&session=3&id=1", Hard); err != nil {
			t.Fatal(err)
		}
		searchWant(t, h, "/?id=1&utm=2", "v0 id=1&utm=2de", false, "X-V", "de")
		searchWant(t, h, "/?id=1&utm=2", "v0 id=1&utm=2en", false, "X-V", "en")
	})
}

// Who comes while the rule is not known runs alone; once it is known, all with
// equivalent queries share a run, and it is replaced by one when it is stale.
func TestSearchCoalesces(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{StaleWhileRevalidate: time.Hour}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		o.set(func() { o.delay = time.Second })
		crowd := func(id int) {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { get(h, fmt.Sprintf("/?id=%d&utm=%d", id, i)) })
			}
			wg.Wait()
		}
		for i, want := range []int{20, 21, 22} {
			if crowd(i); o.called() != want {
				t.Errorf("crowd %d: %d calls, want %d", i, o.called(), want)
			}
		}
		time.Sleep(time.Minute)
		crowd(2) // one refresh behind
		time.Sleep(2 * time.Second)
		if crowd(2); o.called() != 23 {
			t.Errorf("after a refresh: %d calls", o.called())
		}
	})
}

// Those who joined a run by a rule that its response does not have get
// responses of their own.
func TestSearchRuleIsGone(t *testing.T) {
	for _, then := range []string{"", `params=("other")`} {
		searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
			get(h, "/?utm=0")
			o.set(func() { o.delay, o.rule = time.Second, then })
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					searchWant(t, h, fmt.Sprintf("/?id=1&utm=%d", i%5), fmt.Sprintf("v0 id=1&utm=%d", i%5), false)
				})
			}
			wg.Wait()
			if o.called() != 6 { // one for each query
				t.Errorf("%q: %d calls", then, o.called())
			}
			for i := range 5 {
				searchWant(t, h, fmt.Sprintf("/?id=1&utm=%d", i), fmt.Sprintf("v0 id=1&utm=%d", i), true)
			}
		})
	}
}

// What is stored by one rule is not found by another that gives the same
// normal form.
func TestSearchRuleChanges(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		searchWant(t, h, "/?id=1&utm=x", "v0 id=1&utm=x", false)
		o.set(func() { o.rule = `params=("ref")` })
		searchWant(t, h, "/?id=2&ref=x", "v0 id=2&ref=x", false)
		searchWant(t, h, "/?id=1&ref=y", "v0 id=1&ref=y", false)
		searchWant(t, h, "/?id=1&utm=z", "v0 id=1&utm=z", false) // it counts now
		searchWant(t, h, "/?id=1", "v0 id=1&ref=y", true)
		if err := c.PurgeURL("http://example.com/?id=1&utm=q", Hard); err != nil {
			t.Fatal(err)
		}
		searchWant(t, h, "/?id=1", "v0 id=1&ref=y", true) // not the same under its rule
		o.set(func() { o.rule, o.version = `params=("utm")`, 1 })
		searchWant(t, h, "/?id=3", "v1 id=3", false)
		searchWant(t, h, "/?id=1&utm=r", "v1 id=1&utm=r", false) // by the old rule, and purged
	})
}

// A response that is for one client alone is so for all queries.
func TestSearchPrivate(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		o.header.Set("Cache-Control", "private, max-age=60")
		for i := range 5 {
			searchWant(t, h, fmt.Sprintf("/?utm=%d", i), fmt.Sprintf("v0 utm=%d", i), false)
		}
		o.set(func() { o.header.Set("Cache-Control", "max-age=60") })
		get(h, "/?id=1")
		o.set(func() { o.header.Set("Cache-Control", "private, max-age=60") })
		for i := range 5 {
			searchWant(t, h, fmt.Sprintf("/?id=2&utm=%d", i), fmt.Sprintf("v0 id=2&utm=%d", i), false)
		}
	})
}

// searchRemovals remove what is stored for /?id=1, by a URL that is only
// equivalent to the one that it was stored for.
var searchRemovals = map[string]func(c *Cache, h http.Handler){
	"PurgeURL":    func(c *Cache, h http.Handler) { _ = c.PurgeURL("http://example.com/?id=1&utm=p", Hard) },
	"PurgePrefix": func(c *Cache, h http.Handler) { _ = c.PurgePrefix("http://example.com/", Hard) },
	"PurgeTag":    func(c *Cache, h http.Handler) { _ = c.PurgeTag("tag", Hard) },
	"Flush":       func(c *Cache, h http.Handler) { _ = c.Flush(Hard) },
	"POST":        func(c *Cache, h http.Handler) { do(h, "POST", "/?utm=p&id=1") },
	"Location":    func(c *Cache, h http.Handler) { do(h, "POST", "/other") },
}

func TestSearchRemove(t *testing.T) {
	for name, remove := range searchRemovals {
		for _, evicted := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " evicted ", evicted), func(t *testing.T) {
				searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
					o.header.Set("Cache-Tag", "tag")
					o.header.Set("Location", "/?id=1&utm=l")
					searchWant(t, h, "/?id=1&utm=x", "v0 id=1&utm=x", false)
					searchWant(t, h, "/?id=1&utm=y", "v0 id=1&utm=x", true)
					if evicted {
						searchForget(c)
					}
					o.set(func() { o.version = 1 })
					remove(c, h)
					get(h, "/?id=2") // the path is known again
					searchWant(t, h, "/?id=1&utm=z", "v1 id=1&utm=z", false)
					searchWant(t, h, "/?id=1", "v1 id=1&utm=z", true)
				})
			})
		}
	}
}

// searchForget does what an eviction of the path's hint does.
func searchForget(c *Cache) {
	r := httptest.NewRequest("GET", "/", nil)
	for _, outbound := range []bool{false, true} {
		k := (&handler{}).key(r)
		k.outbound = outbound
		k = k.ofPath()
		c.store.Delete(k.hash(c.seed), lookup{key: k})
	}
}

// Without the hint an equivalent query runs; what is stored is found again
// when the hint comes back.
func TestSearchHintIsEvicted(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		get(h, "/?id=1&utm=x")
		searchForget(c)
		searchWant(t, h, "/?id=2", "v0 id=2", false)
		searchWant(t, h, "/?id=1&utm=y", "v0 id=1&utm=x", true)
	})
}

// A removal reaches runs under way, whether their rule was known or not: who
// comes later does not get what they bring.
func TestSearchRemoveInFlight(t *testing.T) {
	for name, remove := range searchRemovals {
		if name == "PurgeTag" {
			continue // a run has no tags until its response comes: see TestPurgeTag
		}
		for _, known := range []string{"not", "rule", "path"} {
			for _, vary := range []string{"", "X-V"} {
				t.Run(fmt.Sprint(name, " known: ", known, vary), func(t *testing.T) {
					searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
						o.header.Set("Location", "/?id=1&utm=l")
						if vary != "" {
							o.header.Set("Vary", vary)
						}
						if known != "not" {
							get(h, map[string]string{"rule": "/elsewhere", "path": "/?id=3"}[known])
						}
						o.set(func() { o.delay = time.Second })
						var wg sync.WaitGroup
						wg.Go(func() { searchWant(t, h, "/?id=1&utm=x", "v0 id=1&utm=x", false) })
						time.Sleep(time.Second / 2)
						o.set(func() { o.version, o.delay = 1, 0 })
						remove(c, h)
						o.set(func() { o.delay = time.Second })
						wg.Go(func() { searchWant(t, h, "/?id=1&utm=y", "v1 id=1&utm=y", false) })
						synctest.Wait()
						if name != "POST" && name != "Location" && known != "not" || known == "path" {
							wg.Go(func() { // for this one the old run is still under way
								if got := get(h, "/?id=1&utm=x").Body.String(); !strings.HasPrefix(got, "v1 ") {
									t.Errorf("while the run goes on: %q", got)
								}
							})
						}
						wg.Wait()
						o.set(func() { o.delay = 0 })
						get(h, "/?id=2")
						if got := get(h, "/?id=1&utm=z").Body.String(); !strings.HasPrefix(got, "v1 ") {
							t.Errorf("later: %q", got)
						}
					})
				})
			}
		}
	}
}

// A run that began before a purge of an equivalent URL does not store, also if
// it ends when nobody has asked in between.
func TestSearchRemoveBeforeFirst(t *testing.T) {
	for name, remove := range searchRemovals {
		t.Run(name, func(t *testing.T) {
			searchFaces(t, `params=("utm")`, Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
				o.header.Set("Cache-Tag", "tag")
				o.header.Set("Location", "/?id=1&utm=l")
				o.set(func() { o.delay = time.Second })
				var wg sync.WaitGroup
				wg.Go(func() { get(h, "/?id=1&utm=x") })
				time.Sleep(time.Second / 2)
				o.set(func() { o.version, o.delay = 1, 0 })
				remove(c, h)
				wg.Wait()
				searchWant(t, h, "/?id=1&utm=p", "v1 id=1&utm=p", false)
				searchWant(t, h, "/?id=1&utm=q", "v1 id=1&utm=p", true) // the rule is known all the same
			})
		})
	}
}

func TestSearchSoftPurge(t *testing.T) {
	searchFaces(t, `params=("utm")`, Policy{StaleWhileRevalidate: time.Hour}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		get(h, "/?id=1&utm=x")
		time.Sleep(time.Second)
		o.set(func() { o.version = 1 })
		if err := c.PurgeURL("http://example.com/?utm=p&id=1", Soft); err != nil {
			t.Fatal(err)
		}
		if got := get(h, "/?id=1").Body.String(); got != "v0 id=1&utm=x" {
			t.Errorf("stale: %q", got)
		}
		synctest.Wait()
		searchWant(t, h, "/?id=1&utm=z", "v1 id=1", true)
	})
}

// A 304 and HEAD are about what is stored for equivalent queries.
func TestSearchValidates(t *testing.T) {
	for _, rule := range []string{`params=("utm")`, `params=("ref")`} {
		for _, face := range faces {
			synctest.Test(t, func(t *testing.T) {
				var calls, validated int
				head := `params=("utm")`
				h := face.mount(newCache(t, Options{}), Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					w.Header().Set("Etag", `"1"`)
					w.Header().Set("No-Vary-Search", head)
					switch {
					case r.Method == "HEAD":
					case r.Header.Get("If-None-Match") == `"1"`:
						validated++
						w.WriteHeader(http.StatusNotModified)
					default:
						calls++
						fmt.Fprint(w, "body")
					}
				}))
				get(h, "/?utm=1")
				time.Sleep(time.Minute)
				searchWant(t, h, "/?utm=2", "body", false)
				searchWant(t, h, "/?utm=3", "body", true)
				if calls != 1 || validated != 1 {
					t.Errorf("%s: %d calls, %d validations", face.name, calls, validated)
				}
				time.Sleep(time.Minute)
				head = rule
				keysServe(h, httptest.NewRequest("HEAD", "/?utm=4", nil))
				searchWant(t, h, "/?utm=5", "body", rule == `params=("utm")`)
			})
		}
	}
}

// What is found for a URL itself comes first, and makes room for what is
// stored by a rule that it has got since.
func TestSearchOwnQuery(t *testing.T) {
	searchFaces(t, "", Policy{}, func(t *testing.T, c *Cache, h http.Handler, o *searchOrigin) {
		get(h, "/?utm=1")
		time.Sleep(time.Second)
		o.set(func() { o.version, o.rule = 1, `params=("utm")` })
		get(h, "/")
		searchWant(t, h, "/?utm=1", "v0 utm=1", true)
		searchWant(t, h, "/?utm=2", "v1 ", true)
		time.Sleep(time.Minute - time.Second) // the first is stale
		o.set(func() { o.version = 2 })
		searchWant(t, h, "/?utm=1", "v2 utm=1", false)
		searchWant(t, h, "/?utm=1", "v2 utm=1", true)
		searchWant(t, h, "/?utm=2", "v2 utm=1", true)
	})
}

// No more rules are learned than a purge may go through.
func TestSearchesAreBounded(t *testing.T) {
	c, o := newCache(t, Options{}), newSearchOrigin("")
	h := c.Handler(Policy{})(o)
	for i := range maxSearches + 5 {
		o.set(func() { o.rule = fmt.Sprintf(`params=("p%d")`, i) })
		target := fmt.Sprintf("/%d?p%d=", i, i)
		get(h, target+"1")
		if w := get(h, target+"2"); keysHit(w) != (i < maxSearches) {
			t.Errorf("rule %d: %q", i, w.Header().Get("Cache-Status"))
		}
		if w := get(h, target+"1"); !keysHit(w) {
			t.Errorf("rule %d: %q", i, w.Header().Get("Cache-Status"))
		}
	}
	if n := len(c.searches.all()); n != maxSearches {
		t.Errorf("%d rules", n)
	}
}

// Removals and runs at once, for the race detector: what was removed does not
// come back.
func TestSearchRemoveRaces(t *testing.T) {
	c, o := newCache(t, Options{}), newSearchOrigin(`params=("utm")`)
	h := c.Handler(Policy{})(o)
	for round := range 200 {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { get(h, fmt.Sprintf("/%d?utm=%d", round%3, i)) })
		}
		wg.Go(func() {
			o.set(func() { o.version = round + 1 })
			if round%2 == 0 {
				_ = c.PurgeURL(fmt.Sprintf("http://example.com/%d?utm=p", round%3), Hard)
			} else {
				do(h, "POST", fmt.Sprintf("/%d?utm=p", round%3))
			}
			want := fmt.Sprintf("v%d ", round+1)
			if got := get(h, fmt.Sprintf("/%d?utm=after", round%3)).Body.String(); !strings.HasPrefix(got, want) {
				t.Errorf("round %d: %q", round, got)
			}
		})
		wg.Wait()
	}
}

// A response to POST with a rule is not kept for GET, since nothing would
// remove it by an equivalent URL; one without is, with the tags of its origin.
func TestSearchPost(t *testing.T) {
	for _, rule := range []string{"", `params=("utm")`} {
		var tagged []string
		p := Policy{Tags: func(u *url.URL, _ http.Header) []string {
			tagged = append(tagged, u.String())
			return nil
		}}
		o := newSearchOrigin(rule)
		o.header.Set("Content-Location", "/?utm=1")
		h := newCache(t, Options{}).Handler(p)(o)
		do(h, "POST", "/?utm=1")
		searchWant(t, h, "/?utm=1", map[bool]string{true: "", false: "v0 utm=1"}[rule == ""], rule == "")
		if want := "http://example.com/?utm=1"; tagged[0] != want {
			t.Errorf("%q: tags of %q", rule, tagged)
		}
	}
}
