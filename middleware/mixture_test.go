package middleware

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mixture serves resources of several kinds. Each body says whose it is, and
// has the same length whoever asks.
type mixture struct {
	writes [4]atomic.Int64 // versions of the resources, by path
	told   [4]atomic.Int64 // of these, writes that a client was told of
	calls  atomic.Int64
}

const (
	mixShared  = iota // for everyone
	mixByUser         // max-age alone: not for requests with Authorization
	mixNoCache        // validated each time
	mixPrivate        // with a field for whoever asked
)

func (o *mixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	kind := int(r.URL.Path[1] - '0')
	if r.Method == http.MethodPost {
		o.writes[kind].Add(1)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	user := r.Header.Get("Authorization")
	version := o.writes[kind].Load()
	tag := fmt.Sprintf(`"%d.%d"`, kind, version)
	h := w.Header()
	h.Set("Etag", tag)
	switch kind {
	case mixShared:
		h.Set("Cache-Control", "public, max-age=0, stale-while-revalidate=1, stale-if-error=1")
		user = "*"
	case mixByUser:
		h.Set("Cache-Control", "max-age=1")
		tag = "none" // another for each user
		h.Del("Etag")
	case mixNoCache:
		h.Set("Cache-Control", "public, no-cache")
		user = "*"
	case mixPrivate:
		h.Set("Cache-Control", `public, max-age=1, private="X-User"`)
		h.Set("X-User", user)
		user = "*"
	}
	if rand.IntN(50) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", "32")
	body := fmt.Sprintf("%-32s", fmt.Sprintf("%d %s %d", kind, user, version))
	for i := 0; i < 32; i += 8 {
		fmt.Fprint(w, body[i:i+8])
		if rand.IntN(20) == 0 {
			// By a real clock: in a bubble nothing runs side by side, and what
			// this test looks for is what does. Nothing waits for it.
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// Requests of every kind at once: nobody gets what is another's, and nobody
// who was told of a write gets what was there before it.
func TestMixture(t *testing.T) {
	for face, mount := range map[string]func(*Cache, Policy, http.Handler) http.Handler{
		"Handler": func(c *Cache, p Policy, o http.Handler) http.Handler { return c.Handler(p)(o) },
		"Transport": func(c *Cache, p Policy, o http.Handler) http.Handler {
			return throughClient(c.Transport(p, inMemory(o)))
		},
	} {
		t.Run(face, func(t *testing.T) {
			o := &mixture{}
			c := newCache(t, Options{})
			mixAll(t, mount(c, Policy{RequestDirectives: HonourDirectives, SoftTimeout: time.Millisecond}, o), o)
			// Runs that nobody waits for are counted when they end.
			for began := time.Now(); c.Stats().OriginCalls < uint64(o.calls.Load()) && time.Since(began) < 10*time.Second; {
				runtime.Gosched()
			}
			if s := c.Stats(); s.Hits+s.Stale == 0 || s.Coalesced == 0 || s.OriginCalls != uint64(o.calls.Load()) {
				t.Errorf("%+v, %d calls", s, o.calls.Load())
			}
		})
	}
}

// throughClient is a handler that makes the request again through rt.
func throughClient(rt http.RoundTripper) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI, out.Host = "", ""
		out.URL.Scheme, out.URL.Host = "http", "a.example"
		if r.Method != http.MethodPost {
			out.Body = nil
		}
		resp, err := rt.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

func mixAll(t *testing.T, h http.Handler, o *mixture) {
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 40 {
				mixOnce(t, rnd, h, o)
			}
		})
	}
	wg.Wait()
}

func mixOnce(t *testing.T, rnd *rand.Rand, h http.Handler, o *mixture) {
	kind := rnd.IntN(4)
	path := fmt.Sprint("/", kind)
	if rnd.IntN(20) == 0 {
		do(h, "POST", path)
		o.told[kind].Add(1)
		return
	}
	user := [...]string{"", "", "alice", "bob"}[rnd.IntN(4)]
	r := httptest.NewRequest([...]string{"GET", "GET", "GET", "HEAD"}[rnd.IntN(4)], path, nil)
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	set("Authorization", user)
	set("Range", [...]string{"", "", "", "bytes=0-7", "bytes=-8"}[rnd.IntN(5)])
	set("Cache-Control", [...]string{"", "", "", "no-cache", "max-stale", "only-if-cached", "no-store"}[rnd.IntN(7)])
	before := o.told[kind].Load()
	set("If-None-Match", [...]string{"", "", fmt.Sprintf(`"%d.%d"`, kind, o.writes[kind].Load())}[rnd.IntN(3)])
	w := keysServe(h, r)
	mixCheck(t, r, w, kind, user, before)
}

func mixCheck(t *testing.T, r *http.Request, w *httptest.ResponseRecorder, kind int, user string, before int64) {
	body, whole := w.Body.String(), ""
	switch {
	case r.Method == "HEAD", w.Code == 304, w.Code == 503, w.Code == 504:
		return
	case w.Code == 206:
		rng := r.Header.Get("Range")
		if want := map[string]string{"bytes=0-7": "bytes 0-7/32", "bytes=-8": "bytes 24-31/32"}[rng]; w.Header().Get("Content-Range") != want || len(body) != 8 {
			t.Errorf("%s: %q of %q", rng, body, w.Header())
		}
		if rng == "bytes=0-7" {
			whole = body
		}
	case w.Code != 200 || len(body) != 32:
		t.Errorf("%d %q %q", w.Code, body, w.Header())
		return
	default:
		whole = body
	}
	if got := w.Header().Get("X-User"); got != "" && got != user {
		t.Errorf("%s got the field of %s (%s)", user, got, w.Header()["Cache-Status"])
	}
	if whole == "" {
		return
	}
	owner, version := "", int64(0)
	fields := strings.Split(strings.TrimSpace(whole), " ")
	if len(fields) > 1 {
		owner = fields[1]
	}
	if fields[0] != fmt.Sprint(kind) || kind == mixByUser && owner != user {
		t.Errorf("%q asked for %d and got %q (%s)", user, kind, whole, w.Header()["Cache-Status"])
	}
	if w.Code != 200 {
		return
	}
	if _, err := fmt.Sscan(fields[len(fields)-1], &version); err != nil || version < before {
		t.Errorf("%q after %d writes (%s)", whole, before, w.Header()["Cache-Status"])
	}
}
