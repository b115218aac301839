package middleware

import (
	"fmt"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// hits returns how many of n paths are answered from the store.
func hits(h http.Handler, prefix string, n int) (found int) {
	for i := range n {
		if w := get(h, fmt.Sprint(prefix, i)); strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
			found++
		}
	}
	return found
}

// One route's URLs, which anyone can make up, push out its own responses and no
// others: those that have a response, those that vary and those that are known
// not to be shared.
func TestRouteWithAShareFloodsItself(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write http.HandlerFunc
	}{
		{"responses", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			_, _ = w.Write(make([]byte, 8<<10))
		}},
		{"variants", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("Vary", "Accept-Language, X-Tenant")
			_, _ = w.Write(make([]byte, 8<<10))
		}},
		{"unshared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "private")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Options{MaxBytes: 2 << 20})
			pages := c.Handler(Policy{})(forAll("max-age=600"))
			search := c.Handler(Policy{MaxBytes: 256 << 10})(tt.write)
			hits(pages, "/pages/", 500)
			hits(search, "/search?q=", 5000)
			if n := hits(pages, "/pages/", 500); n != 500 {
				t.Errorf("%d of 500 pages are left after a flood of another route", n)
			}
			if used := c.Stats().Bytes; used > 1<<20 {
				t.Errorf("%d bytes are held", used)
			}
		})
	}
}

// A configuration that is loaded again mounts the same route a second time: its
// share is one.
func TestRoutesOfOneNameHaveOneShare(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 8 << 20})
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(make([]byte, 8<<10))
	}
	for i := range 5 {
		h := c.Handler(Policy{Name: "search", MaxBytes: 256 << 10})(http.HandlerFunc(page))
		hits(h, fmt.Sprint("/", i, "/"), 100)
		if used := c.Stats().Bytes; used > 256<<10 {
			t.Fatalf("%d bytes are held after %d loads", used, i+1)
		}
	}
}

// A response that does not fit into its route's share is not stored, and says
// why.
func TestResponseLargerThanItsShare(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{MaxBytes: 64 << 10})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(make([]byte, 65<<10))
	}))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Body.Len() != 65<<10 || strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
			t.Errorf("%d bytes (%s)", w.Body.Len(), w.Header()["Cache-Status"])
		}
	}
	if err := (Policy{MaxBytes: 1000}).Validate(); err == nil || !strings.Contains(err.Error(), "Policy.MaxBytes: 1000: must be at least 65536 bytes") {
		t.Error(err)
	}
	if err := (Policy{MaxBytes: 64 << 10, MaxBodyBytes: 65 << 10}).Validate(); err == nil || !strings.Contains(err.Error(), "Policy.MaxBodyBytes: 66560: more than MaxBytes, 65536") {
		t.Error(err)
	}
}

// Policy.MaxBytes bounds the bytes of a route, also where what is to make room
// are many small responses, and what comes are large ones.
func TestShareHoldsWhenLargeFollowSmall(t *testing.T) {
	const share = 8 << 20
	c := newCache(t, Options{MaxBytes: 256 << 20})
	pages := c.Handler(Policy{})(forAll("max-age=600"))
	h := c.Handler(Policy{Name: "files", MaxBytes: share})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		if strings.HasPrefix(r.URL.Path, "/big") {
			_, _ = w.Write(make([]byte, 3<<20))
			return
		}
		_, _ = w.Write([]byte("x"))
	}))
	hits(pages, "/pages/", 100)
	hits(h, "/small/", 15000)
	t.Logf("small: %d KiB, entries %d", c.Stats().Bytes>>10, c.Stats().Entries)
	most := int64(0)
	for i := range 60 {
		get(h, fmt.Sprint("/big/", i))
		most = max(most, c.shares.by["files"].Used())
	}
	t.Logf("at most %d MiB of %d, entries %d", most>>20, share>>20, c.Stats().Entries)
	if most > share+share/4 {
		t.Errorf("a route with MaxBytes of %d MiB holds %d MiB", share>>20, most>>20)
	}
}

// A URL with Vary in a share that is full of hot responses.
func TestShareKeepsTheRuleItJustPut(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 16 << 20})
	calls := 0
	h := c.Handler(Policy{Name: "r", MaxBytes: 64 << 10})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		if r.URL.Path == "/vary" {
			calls++
			w.Header().Set("Vary", "Accept-Language")
			_, _ = w.Write(make([]byte, 20<<10))
			return
		}
		_, _ = w.Write(make([]byte, 1<<10))
	}))
	total := 0
	for range 40 {
		for i := range 36 {
			for range 20 {
				get(h, fmt.Sprint("/hot/", i))
			}
		}
		before := calls
		for range 4 {
			get(h, "/vary")
		}
		total += calls - before
		c.Flush(t.Context(), Hard)
	}
	t.Logf("%d runs for 40 cold fetches", total)
	if total > 60 {
		t.Errorf("%d runs, want about 40", total)
	}
}

// How many requests for 10 hot pages of a route miss while a stranger makes up
// its URLs, in a share, and in a cache of that size.
func TestHotPagesOfARouteUnderAFlood(t *testing.T) {
	for _, repeat := range []int{1, 2, 5, 17} {
		var missed [2]int
		for i, share := range []int64{0, 2 << 20} {
			size := int64(2 << 20)
			if share > 0 {
				size = 64 << 20
			}
			c := newCache(t, Options{MaxBytes: size})
			h := c.Handler(Policy{Name: "r", MaxBytes: share})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=600")
				_, _ = w.Write(make([]byte, 8<<10))
			}))
			for range 20 {
				hits(h, "/hot/", 10)
			}
			for n := range 4000 {
				for range repeat {
					get(h, fmt.Sprint("/made-up/", n))
				}
				if n%4 == 0 {
					if hits(h, fmt.Sprint("/hot/", n/4%10, "?"), 1) == 0 {
						missed[i]++
					}
				}
			}
		}
		t.Logf("made-up URLs asked for %d times: of 1000 requests for hot pages %d miss in a cache of that size, %d in a share", repeat, missed[0], missed[1])
		if missed[1] > 2*missed[0]+50 {
			t.Errorf("%d misses in a share, %d in a cache of that size", missed[1], missed[0])
		}
	}
}

// A route with a share, from many sides at once, for the race detector: what is
// counted is what is live, and no purge is undone.
func TestShareFromManySides(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 2 << 20})
	var version [50]sync.Mutex
	now := [50]int{}
	h := c.Handler(Policy{Name: "a", MaxBytes: 128 << 10, StaleWhileRevalidate: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		fmt.Sscanf(r.URL.Path, "/%d", &i)
		version[i].Lock()
		v := now[i]
		version[i].Unlock()
		w.Header().Set("Cache-Control", "max-age=1")
		w.Header().Set("Surrogate-Key", fmt.Sprint("t", i))
		if i%3 == 0 {
			w.Header().Set("Vary", "Accept-Language")
		}
		w.Header().Set("X-Version", fmt.Sprint(v))
		_, _ = w.Write(make([]byte, 100+rand.Intn(20000)))
	}))
	stop := time.Now().Add(4 * time.Second)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				i := rand.Intn(50)
				switch rand.Intn(30) {
				case 0:
					version[i].Lock()
					now[i]++
					version[i].Unlock()
					_ = c.PurgeTag(t.Context(), fmt.Sprint("t", i), Hard)
				case 1:
					_ = c.Handler(Policy{Name: "a", MaxBytes: 64<<10 + rand.Int63n(128<<10)})
				default:
					version[i].Lock()
					v := now[i]
					version[i].Unlock()
					_ = v
					w := get(h, fmt.Sprint("/", i), "Accept-Language", []string{"de", "en"}[rand.Intn(2)])
					var got int
					fmt.Sscan(w.Header().Get("X-Version"), &got)
					if got < v-1 { // the last purge may not have returned
						t.Errorf("/%d: version %d after %d", i, got, v)
					}
				}
			}
		})
	}
	wg.Wait()
	s := c.shares.by["a"]
	t.Logf("%d used, %+v", s.Used(), c.Stats())
	if s.Used() > 256<<10 {
		t.Errorf("%d bytes", s.Used())
	}
}
