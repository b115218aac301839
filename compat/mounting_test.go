package compat

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	chimw "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func newCache(t *testing.T) *cachemw.Cache {
	t.Helper()
	c, err := cachemw.New(cachemw.Options{MaxBytes: 8 << 20, RefreshWorkers: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// mountings are ways to have a handler of a framework cached in which each run
// has a context of the framework that is its own. Each makes a site that
// answers /item/{id} through the cache and anything else without.
var mountings = map[string]func(mw wrapper, item time.Duration, wrong *atomic.Int64) http.Handler{
	"echo, an Echo inside": func(mw wrapper, item time.Duration, wrong *atomic.Int64) http.Handler {
		inner, outer := echo.New(), echo.New()
		inner.GET("/item/:id", echoItem(item, wrong))
		outer.GET("/item/:id", echo.WrapHandler(mw(inner)))
		outer.GET("/other/:id", func(c echo.Context) error { return c.String(http.StatusOK, c.Param("id")) })
		return outer
	},
	"echo, the cache around all": func(mw wrapper, item time.Duration, wrong *atomic.Int64) http.Handler {
		e := echo.New()
		e.GET("/item/:id", echoItem(item, wrong))
		e.GET("/other/:id", func(c echo.Context) error { return c.String(http.StatusOK, c.Param("id")) })
		return mw(e)
	},
}

// echoItem answers with its parameter, and counts a parameter or a request that
// became another's while it ran.
func echoItem(takes time.Duration, wrong *atomic.Int64) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Param("id")
		time.Sleep(takes)
		if c.Param("id") != id || c.Request().URL.Path != "/item/"+id {
			wrong.Add(1)
		}
		return c.String(http.StatusOK, c.Param("id"))
	}
}

// mixed asks for items that are refreshed after their requests are over, while
// the framework serves other requests.
func mixed(h http.Handler) error {
	var wg sync.WaitGroup
	var bad atomic.Int64
	ask := func(target, want string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != http.StatusOK || w.Body.String() != want {
			bad.Add(1)
		}
	}
	for range 3 {
		for i := range 30 {
			wg.Go(func() {
				ask(fmt.Sprint("/item/", i), fmt.Sprint(i))
				ask(fmt.Sprint("/other/", i+100), fmt.Sprint(i+100))
			})
		}
		wg.Wait()
		time.Sleep(5 * time.Second)
	}
	if n := bad.Load(); n > 0 {
		return fmt.Errorf("%d answers of another item", n)
	}
	return nil
}

var itemPolicy = cachemw.Policy{TTL: time.Second, StaleWhileRevalidate: time.Hour}

// A run has a context of the framework to itself, as long as it takes.
func TestRunsHaveTheirFrameworkContext(t *testing.T) {
	for name, mount := range mountings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wrong atomic.Int64
				if err := mixed(mount(newCache(t).Handler(itemPolicy), time.Second, &wrong)); err != nil {
					t.Error(err)
				}
				if n := wrong.Load(); n > 0 {
					t.Errorf("%d runs had the request of another", n)
				}
			})
		})
	}
}

// Over real connections: each user has the coding, the origin and the whole
// page, and what breaks off ends in an error.
func TestRealConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			broken := func(w http.ResponseWriter, _ *http.Request) { half(w); panic(http.ErrAbortHandler) }
			mux := http.NewServeMux()
			mux.HandleFunc("/page", page)
			mux.HandleFunc("/broken", broken)
			h := newCache(t).Handler(cachemw.Policy{})(mux)
			for _, mw := range []wrapper{chimw.Compress(5, "text/plain"), crossOrigin(), chimw.Timeout(time.Minute), quietly} {
				h = mw(h)
			}
			srv := httptest.NewUnstartedServer(h)
			srv.Config.ErrorLog, srv.EnableHTTP2 = silent, http2
			srv.StartTLS()
			t.Cleanup(srv.Close)
			tr := srv.Client().Transport.(*http.Transport)
			tr.DisableCompression = true
			for range 2 {
				for _, u := range []*user{{name: "alice", fields: append(gzips, aliceOrigin...)}, {name: "bob", fields: bobOrigin}} {
					checkReal(t, srv, u, http2)
				}
			}
		})
	}
}

func checkReal(t *testing.T, srv *httptest.Server, u *user, http2 bool) {
	t.Helper()
	for target, whole := range map[string]bool{"/page": true, "/broken": false} {
		req, err := http.NewRequest(http.MethodGet, srv.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(u.fields); i += 2 {
			req.Header.Set(u.fields[i], u.fields[i+1])
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			if whole {
				t.Errorf("%s: %v", u.name, err)
			}
			continue
		}
		body, err := decoded(resp)
		resp.Body.Close()
		if (err == nil) != whole || whole && body != "/page\n"+text {
			t.Errorf("%s: %s: %d bytes, %v", u.name, target, len(body), err)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != req.Header.Get("Origin") {
			t.Errorf("%s: Access-Control-Allow-Origin: %s", u.name, got)
		}
		if coded := resp.Header.Get("Content-Encoding"); coded != req.Header.Get("Accept-Encoding") {
			t.Errorf("%s: Content-Encoding: %q", u.name, coded)
		}
		if (resp.ProtoMajor == 2) != http2 {
			t.Errorf("%s", resp.Proto)
		}
	}
}
