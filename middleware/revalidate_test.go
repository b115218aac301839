package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A versioned origin knows one version of its content and answers conditions.
type versioned struct {
	mu     sync.Mutex
	tag    string
	calls  []string    // "200", "304" or "503" for each
	header http.Header // of every answer
	fields http.Header // of a 304
	failed bool
	delay  time.Duration
}

func (o *versioned) set(change func(o *versioned)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// seen returns the answers given since the last call.
func (o *versioned) seen() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.calls = nil }()
	return strings.Join(o.calls, " ")
}

const versionedDate = "Sat, 01 Jan 2000 00:00:00 GMT"

func (o *versioned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	time.Sleep(o.delay)
	if o.failed {
		o.calls = append(o.calls, "503")
		w.WriteHeader(503)
		return
	}
	h := w.Header()
	h.Set("Etag", o.tag)
	h.Set("Last-Modified", versionedDate)
	for name, values := range o.header {
		h[name] = values
	}
	if r.Header.Get("If-None-Match") != "" && r.Header.Get("If-None-Match") == o.tag && r.Header.Get("If-Modified-Since") == versionedDate {
		o.calls = append(o.calls, "304")
		for name, values := range o.fields {
			h[name] = values
		}
		w.WriteHeader(304)
		return
	}
	o.calls = append(o.calls, "200")
	h.Set("X-Call", "whole")
	fmt.Fprint(w, "version ", o.tag)
}

func newVersioned(control string) *versioned {
	return &versioned{tag: `"1"`, header: http.Header{"Cache-Control": {control}}}
}

// A stale response is asked about by both validators, and a 304 makes it fresh
// with the fields of the 304, but for those about its bytes (RFC 9111 4.3.4).
func TestRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60")
		h := newCache(t, Options{}).Handler(Policy{})(o)
		freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; fwd=uri-miss; stored; ttl=60")
		time.Sleep(time.Minute)
		o.set(func(o *versioned) {
			o.fields = http.Header{
				"Cache-Control": {"max-age=120"}, "X-Call": {"validation"}, "X-New": {"new"}, "Connection": {"X-Hop"}, "X-Hop": {"hop"},
				"Content-Length": {"999"}, "Content-Encoding": {"gzip"}, "Content-Type": {"text/x-new"},
			}
		})
		check := func(status string) {
			t.Helper()
			w := get(h, "/")
			freshWant(t, w, 200, `version "1"`, status)
			for name, want := range map[string]string{
				"Cache-Control": "max-age=120", "X-Call": "validation", "X-New": "new", "X-Hop": "", "Content-Length": "11",
				"Content-Encoding": "", "Content-Type": "text/x-new", "Etag": `"1"`, "Date": time.Now().UTC().Format(http.TimeFormat),
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		}
		check("freshet; fwd=stale; fwd-status=304; stored; ttl=120")
		check("freshet; hit; ttl=120")
		if got := o.seen(); got != "200 304" {
			t.Errorf("answers: %s", got)
		}
		o.set(func(o *versioned) { o.tag = `"2"` })
		time.Sleep(2 * time.Minute)
		freshWant(t, get(h, "/"), 200, `version "2"`, "freshet; fwd=stale; stored; ttl=60")
		if got := o.seen(); got != "200" {
			t.Errorf("answers: %s", got)
		}
	})
}

// All who ask for a stale response wait for one validation, and each gets what
// it asked for: a 304 goes to those who have the response, and to nobody else.
func TestRevalidateCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60")
		c := newCache(t, Options{})
		h := c.Handler(Policy{})(o)
		get(h, "/")
		time.Sleep(time.Minute)
		o.set(func(o *versioned) { o.delay = time.Second })
		o.seen()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				var w *httptest.ResponseRecorder
				switch i % 4 {
				case 0, 1:
					if w = get(h, "/"); w.Code != 200 || w.Body.String() != `version "1"` {
						t.Errorf("%d: %q", w.Code, w.Body)
					}
				case 2:
					if w = get(h, "/", "If-None-Match", `"0", W/"1"`); w.Code != 304 || w.Body.Len() != 0 {
						t.Errorf("%d: %q", w.Code, w.Body)
					}
				case 3:
					if w = get(h, "/", "If-None-Match", `"0"`); w.Code != 200 || w.Body.String() != `version "1"` {
						t.Errorf("%d: %q", w.Code, w.Body)
					}
				}
			})
		}
		wg.Wait()
		if got := o.seen(); got != "304" {
			t.Errorf("answers: %s", got)
		}
	})
}

// A 304 about another response than the stored one, or one that makes it
// private, is no answer for anyone: the whole is asked for.
func TestRevalidateAgain(t *testing.T) {
	for _, row := range []struct {
		name   string
		fields http.Header
		then   string // Cache-Status of the next request
	}{
		{"another tag", http.Header{"Etag": {`"9"`}}, "freshet; hit; ttl=60"},
		{"private", http.Header{"Cache-Control": {"private"}}, "freshet; hit; ttl=60"},
		{"no-store", http.Header{"Cache-Control": {"no-store"}}, "freshet; hit; ttl=60"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newVersioned("max-age=60")
				c := newCache(t, Options{})
				h := c.Handler(Policy{})(o)
				get(h, "/")
				time.Sleep(time.Minute)
				o.set(func(o *versioned) { o.fields = row.fields })
				freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; fwd=stale; stored; ttl=60")
				freshWant(t, get(h, "/"), 200, `version "1"`, row.then)
				if got := o.seen(); got != "200 304 200" {
					t.Errorf("answers: %s", got)
				}
				if s := c.Stats(); s.OriginCalls != 3 {
					t.Errorf("%d origin calls", s.OriginCalls)
				}
			})
		})
	}
}

// A failed validation falls back to the stale response where that may be used,
// and never costs the stored response that the next one may confirm.
func TestRevalidateFails(t *testing.T) {
	for _, row := range []struct {
		control string
		code    int
		status  string
	}{
		{"max-age=60, stale-if-error=600", 200, "freshet; fwd=stale; fwd-status=503; ttl=0; detail=error"},
		{"max-age=60, must-revalidate, stale-if-error=600", 503, "freshet; fwd=stale; detail=no_freshness"},
		{"max-age=60", 503, "freshet; fwd=stale; detail=no_freshness"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newVersioned(row.control)
			h := newCache(t, Options{}).Handler(Policy{})(o)
			get(h, "/")
			time.Sleep(time.Minute)
			o.set(func(o *versioned) { o.failed = true })
			w := get(h, "/")
			if got := w.Header().Get("Cache-Status"); w.Code != row.code || got != row.status {
				t.Errorf("%s: %d %q", row.control, w.Code, got)
			}
			o.set(func(o *versioned) { o.failed = false })
			time.Sleep(time.Minute)
			freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; fwd=stale; fwd-status=304; stored; ttl=60")
			if got := o.seen(); got != "200 503 304" {
				t.Errorf("%s: answers: %s", row.control, got)
			}
		})
	}
}

// A refresh behind a stale response asks in the same way.
func TestRevalidateBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60, stale-while-revalidate=60")
		h := newCache(t, Options{}).Handler(Policy{})(o)
		get(h, "/")
		time.Sleep(90 * time.Second)
		freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; hit; ttl=-30")
		synctest.Wait()
		freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; hit; ttl=60")
		if got := o.seen(); got != "200 304" {
			t.Errorf("answers: %s", got)
		}
	})
}

// A response with no-cache is stored, and validated each time it is used.
func TestRevalidateNoCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("no-cache, max-age=60")
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Hour, StaleIfError: time.Hour, StaleWhileRevalidate: time.Hour})(o)
		freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; fwd=uri-miss; stored; ttl=0")
		for range 2 {
			freshWant(t, get(h, "/"), 200, `version "1"`, "freshet; fwd=stale; fwd-status=304; stored; ttl=0")
		}
		o.set(func(o *versioned) { o.failed = true })
		if w := get(h, "/"); w.Code != 503 {
			t.Errorf("used without validation: %d %q", w.Code, w.Body)
		}
		o.set(func(o *versioned) { o.failed, o.tag = false, `"2"` })
		freshWant(t, get(h, "/"), 200, `version "2"`, "freshet; fwd=stale; stored; ttl=0")
		if got := o.seen(); got != "200 304 304 503 200" {
			t.Errorf("answers: %s", got)
		}
	})
}

// Each variant is asked about by its own tag.
func TestRevalidateVariants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]string{}
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lang := r.Header.Get("Accept-Language")
			mu.Lock()
			defer mu.Unlock()
			asked[lang] = r.Header.Get("If-None-Match")
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "Accept-Language")
			w.Header().Set("Etag", `"`+lang+`"`)
			if asked[lang] == `"`+lang+`"` {
				w.WriteHeader(304)
				return
			}
			fmt.Fprint(w, lang)
		}))
		for range 2 {
			for _, lang := range []string{"de", "fr"} {
				if w := get(h, "/", "Accept-Language", lang); w.Code != 200 || w.Body.String() != lang {
					t.Errorf("%s: %d %q", lang, w.Code, w.Body)
				}
			}
			time.Sleep(time.Minute)
		}
		if asked["de"] != `"de"` || asked["fr"] != `"fr"` {
			t.Errorf("asked by %v", asked)
		}
	})
}

// Fields that are for one client go to the one that asked: those that private
// and no-cache name, and the cookies of a 304.
func TestPersonalFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned(`max-age=60, private="X-User, Set-Cookie", no-cache="X-Token"`)
		o.delay = time.Second
		for _, name := range []string{"X-User", "X-Token", "Set-Cookie"} {
			o.header.Set(name, "mine")
		}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		check := func(w *httptest.ResponseRecorder, want string) {
			t.Helper()
			for _, name := range []string{"X-User", "X-Token", "Set-Cookie"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q, want %q (%s)", name, got, want, w.Header()["Cache-Status"])
				}
			}
			if w.Code != 200 || w.Body.String() != `version "1"` {
				t.Errorf("%d %q", w.Code, w.Body)
			}
		}
		for range 2 { // as a miss and as a validation
			answers := make(chan *httptest.ResponseRecorder, 3)
			for range 3 {
				go func() { answers <- get(h, "/") }()
			}
			for range 3 {
				w, want := <-answers, ""
				if !strings.Contains(w.Header().Get("Cache-Status"), "collapsed") {
					want = "mine"
				}
				check(w, want)
			}
			check(get(h, "/"), "")
			time.Sleep(time.Minute)
		}
		if got := o.seen(); got != "200 304" {
			t.Errorf("answers: %s", got)
		}
		o.set(func(o *versioned) { o.header.Set("Cache-Control", "max-age=60"); o.header.Del("Set-Cookie") })
		time.Sleep(time.Minute)
		o.set(func(o *versioned) { o.fields = http.Header{"Set-Cookie": {"session"}} })
		if got := get(h, "/").Header().Get("Set-Cookie"); got != "session" {
			t.Errorf("the cookie of a 304: %q", got)
		}
		if got := get(h, "/").Header().Get("Set-Cookie"); got != "" {
			t.Errorf("the cookie of another's 304: %q", got)
		}
	})
}
