package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A cutOrigin is a server that closes the connection after some bytes of its
// body.
type cutOrigin struct {
	body    string
	control string
	chunked bool
	keep    atomic.Int64 // bytes that it sends; with all of them the end is clean; -1: it answers 503
	gate    chan struct{}
}

func (o *cutOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	<-o.gate
	w.Header().Set("Cache-Control", o.control)
	if !o.chunked {
		w.Header().Set("Content-Length", fmt.Sprint(len(o.body)))
	}
	keep := int(o.keep.Load())
	if keep < 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, o.body[:keep])
	if keep < len(o.body) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// cutFaces put a cache in front of a real server: as middleware around a
// reverse proxy, and as the transport of one.
var cutFaces = map[string]func(t *testing.T, c *Cache, target string) http.Handler{
	"handler": func(t *testing.T, c *Cache, target string) http.Handler {
		return c.Handler(Policy{})(proxyTo(t, target))
	},
	"transport": func(t *testing.T, c *Cache, target string) http.Handler {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		base := &http.Transport{}
		t.Cleanup(base.CloseIdleConnections)
		p := httputil.NewSingleHostReverseProxy(u)
		p.Transport, p.ErrorLog = c.Transport(Policy{}, base), silent
		return p
	},
}

// H9: an origin that breaks off at any tenth of its body, with a length or in
// chunks, for one client or for many that wait: never a clean response with
// less than the whole, nothing stored, and the next request gets the whole.
func TestCutAtEveryTenth(t *testing.T) {
	body := strings.Repeat("0123456789", 5_000)
	for face, mount := range cutFaces {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %v", face, chunked), func(t *testing.T) {
				o := &cutOrigin{body: body, control: "max-age=60", chunked: chunked}
				origin := serve(t, o)
				c := newCache(t, Options{})
				front := serve(t, mount(t, c, origin.URL))
				for tenth := range 10 {
					target := fmt.Sprintf("%s/%d", front.URL, tenth)
					o.keep.Store(int64(len(body) * tenth / 10))
					o.gate = make(chan struct{})
					var wg sync.WaitGroup
					for range 8 {
						wg.Go(func() {
							resp, got, err := fetch(front.Client(), target)
							if err == nil && resp.StatusCode == 200 {
								t.Errorf("%d tenths: a clean 200 with %d bytes (%s)", tenth, len(got), resp.Header["Cache-Status"])
							}
							if !strings.HasPrefix(body, got) && (resp == nil || resp.StatusCode == 200) {
								t.Errorf("%d tenths: other bytes than the origin's", tenth)
							}
						})
					}
					close(o.gate)
					wg.Wait()
					o.keep.Store(int64(len(body)))
					if resp, got, err := fetch(front.Client(), target); err != nil || got != body || strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
						t.Errorf("%d tenths: afterwards %d bytes, %v", tenth, len(got), err)
					}
				}
			})
		}
	}
}

// H14: the same while a stale response is refreshed, behind it or before it is
// used: the stale one survives.
func TestCutRefresh(t *testing.T) {
	body := strings.Repeat("0123456789", 5_000)
	open := make(chan struct{})
	close(open)
	for face, mount := range cutFaces {
		for _, control := range []string{"max-age=0, stale-while-revalidate=600", "max-age=0, stale-if-error=600"} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, chunked %v", face, control, chunked), func(t *testing.T) {
					o := &cutOrigin{body: body, control: control, chunked: chunked, gate: open}
					origin := serve(t, o)
					c := newCache(t, Options{})
					front := serve(t, mount(t, c, origin.URL))
					for tenth := range 10 {
						target := fmt.Sprintf("%s/%d", front.URL, tenth)
						o.keep.Store(int64(len(body)))
						if _, got, err := fetch(front.Client(), target); err != nil || got != body {
							t.Fatalf("cold: %d bytes, %v", len(got), err)
						}
						o.keep.Store(int64(len(body) * tenth / 10))
						for range 3 {
							resp, got, err := fetch(front.Client(), target)
							if err == nil && resp.StatusCode == 200 && got != body {
								t.Errorf("%d tenths: a clean 200 with %d bytes (%s)", tenth, len(got), resp.Header["Cache-Status"])
							}
							if strings.Contains(control, "while") && (err != nil || got != body) {
								t.Errorf("%d tenths: stale answer: %d bytes, %v", tenth, len(got), err)
							}
						}
					}
					o.keep.Store(-1)
					for tenth := range 10 {
						if resp, got, err := fetch(front.Client(), fmt.Sprintf("%s/%d", front.URL, tenth)); err != nil || resp.StatusCode != 200 || got != body {
							t.Errorf("%d tenths: the good response is lost: %d bytes, %v", tenth, len(got), err)
						}
					}
				})
			}
		}
	}
}
