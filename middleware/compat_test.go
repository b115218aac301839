//lint:file-ignore SA1019 chi advises against RealIP, and services have it all the same

package middleware

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
)

// compatRows is middleware that services have around their handlers, with what
// it does to requests. Every target is asked for three times; the origin
// answers what it sees.
var compatRows = []struct {
	name   string
	wrap   func(http.Handler) http.Handler
	target string
	fields []string
	want   string // the body
	once   bool   // the origin is asked once, wherever wrap stands
}{
	{"nothing", func(h http.Handler) http.Handler { return h }, "/a/b?q=1", nil, "/a/b?q=1", true},
	{"RequestID", chimw.RequestID, "/a?q=1", nil, "/a?q=1", true},
	{"RealIP", chimw.RealIP, "/a?q=1", []string{"X-Real-Ip", "192.0.2.1"}, "/a?q=1", true},
	{"Recoverer", chimw.Recoverer, "/a", nil, "/a", true},
	{"Timeout", chimw.Timeout(time.Minute), "/a", nil, "/a", true},
	{"TimeoutHandler", func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") }, "/a", nil, "/a", true},
	{"StripSlashes", chimw.StripSlashes, "/a/b/", nil, "/a/b", true},
	{"StripPrefix", func(h http.Handler) http.Handler { return http.StripPrefix("/a", h) }, "/a/b", nil, "/b", true},
	{"Compress, not asked for", chimw.Compress(5, "text/plain"), "/a", nil, "/a", true},
	{"Compress", chimw.Compress(5, "text/plain"), "/a", []string{"Accept-Encoding", "gzip"}, "/a", true},
	{"GetHead", chimw.GetHead, "/a", nil, "/a", true},
	{"NoCache on requests", chimw.NoCache, "/a", []string{"If-None-Match", `"x"`}, "/a", false},
	{"RequestSize", chimw.RequestSize(10), "/a", nil, "/a", true},
	{"Throttle", chimw.Throttle(10), "/a", nil, "/a", true},
	{"SetHeader", chimw.SetHeader("X-Outer", "1"), "/a", nil, "/a", true},
	{"AllowContentType", chimw.AllowContentType("text/plain"), "/a", nil, "/a", true},
	{"MaxBytesHandler", func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }, "/a", nil, "/a", true},
	{"ServeMux", func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /a/{x}", h)
		return mux
	}, "/a/b", nil, "/a/b x=b", true},
	{"Mount", func(h http.Handler) http.Handler {
		inner := chi.NewRouter()
		inner.Get("/{x}", h.ServeHTTP)
		r := chi.NewRouter()
		r.Mount("/a", inner)
		return r
	}, "/a/b", nil, "/a/b x=b", true},
	{"Route groups", func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Route("/a", func(r chi.Router) {
			r.Group(func(r chi.Router) {
				r.Use(chimw.RequestID)
				r.With(chimw.RealIP).Get("/{x}", h.ServeHTTP)
			})
		})
		return r
	}, "/a/b", nil, "/a/b x=b", true},
}

// compatOrigin answers with the URL it sees, and a parameter if there is one.
func compatOrigin(calls *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.URL.Path)
		if r.URL.RawQuery != "" {
			_, _ = io.WriteString(w, "?"+r.URL.RawQuery)
		}
		x := r.PathValue("x")
		if x == "" {
			x = chi.URLParam(r, "x")
		}
		if x != "" {
			_, _ = io.WriteString(w, " x="+x)
		}
	})
}

// Middleware of chi and net/http, outside and inside of the cache, which may be
// a handler's or a client's.
func TestCompat(t *testing.T) {
	for _, face := range faces {
		for _, row := range compatRows {
			for _, inside := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s inside %v", face.name, row.name, inside), func(t *testing.T) {
					if !inside && face.name == "transport" && strings.Contains(row.want, "x=") {
						t.Log("a router does not follow a request to another server")
						return
					}
					synctest.Test(t, func(t *testing.T) {
						var calls atomic.Int64
						h := compatOrigin(&calls)
						if inside {
							h = row.wrap(h)
						}
						h = face.mount(newCache(t, Options{}), Policy{}, h)
						if !inside {
							h = row.wrap(h)
						}
						for range 3 {
							w := get(h, row.target, row.fields...)
							if got := plainBody(t, w); w.Code != 200 || got != row.want {
								t.Errorf("%d %q, want %q (%s)", w.Code, got, row.want, w.Header()["Cache-Status"])
							}
							synctest.Wait()
						}
						if n := calls.Load(); row.once && n != 1 {
							t.Errorf("%d calls", n)
						}
					})
				})
			}
		}
	}
}

// plainBody returns the body without its encoding.
func plainBody(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Header().Get("Content-Encoding") != "gzip" {
		return w.Body.String()
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each client gets the coding that it can read, whichever side compresses and
// whoever came first.
func TestCompatCodings(t *testing.T) {
	for _, face := range faces {
		for _, inside := range []bool{false, true} {
			for _, order := range [][]string{{"gzip", ""}, {"", "gzip"}, {"identity", "gzip", "br"}} {
				t.Run(fmt.Sprintf("%s inside %v %q", face.name, inside, order), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						text := strings.Repeat("text ", 1000)
						h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
							w.Header().Set("Content-Type", "text/plain")
							w.Header().Set("Cache-Control", "max-age=60")
							_, _ = io.WriteString(w, text)
						}))
						compress := chimw.Compress(5, "text/plain")
						if inside {
							h = compress(h)
						}
						h = face.mount(newCache(t, Options{}), Policy{}, h)
						if !inside {
							h = compress(h)
						}
						for range 2 {
							for _, accept := range order {
								w := get(h, "/", "Accept-Encoding", accept)
								// Uncoded is right for everyone.
								if coded := w.Header().Get("Content-Encoding"); coded != "" && coded != accept {
									t.Errorf("accepting %q: coded %q", accept, coded)
								}
								if got := plainBody(t, w); got != text {
									t.Errorf("accepting %q: %d bytes, want %d", accept, len(got), len(text))
								}
								synctest.Wait()
							}
						}
					})
				})
			}
		}
	}
}

// A panic under chi's Recoverer is a 500 that is not stored, on either side.
func TestCompatRecoverer(t *testing.T) {
	for _, face := range faces {
		for _, inside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s inside %v", face.name, inside), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var calls atomic.Int64
					h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("X-Half", "1")
						if calls.Add(1) < 3 {
							panic("bug")
						}
						w.Header().Set("Cache-Control", "max-age=60")
						_, _ = io.WriteString(w, "fine")
					}))
					if inside {
						h = chimw.Recoverer(h)
					}
					h = face.mount(newCache(t, Options{}), Policy{TTL: time.Minute}, h)
					if !inside {
						h = chimw.Recoverer(h)
					}
					for i, want := range []int{500, 500, 200, 200} {
						r := httptest.NewRequest("GET", "/", nil)
						w := httptest.NewRecorder()
						h.ServeHTTP(w, chimw.WithLogEntry(r, noEntry{}))
						time.Sleep(10 * time.Second) // that nothing was shared is forgotten
						if w.Code != want && !(want == 500 && w.Code == 502 && face.name == "transport") {
							t.Errorf("request %d: %d", i, w.Code)
						}
					}
					if n := calls.Load(); n != 3 {
						t.Errorf("%d calls", n)
					}
				})
			})
		}
	}
}

// Deadlines that a handler sets act on the connection of its own client.
func TestCompatDeadlines(t *testing.T) {
	c := newCache(t, Options{})
	errs := make(chan error, 3)
	srv := serve(t, c.Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		errs <- rc.SetReadDeadline(time.Now().Add(time.Minute))
		errs <- rc.SetWriteDeadline(time.Now().Add(time.Minute))
		errs <- rc.EnableFullDuplex()
		w.Header().Set("Cache-Control", r.URL.Query().Get("control"))
		_, _ = io.WriteString(w, "ok")
	})))
	for _, target := range []string{"/?control=max-age=60", "/?control=private", "/?control=private"} {
		if _, got, err := fetch(srv.Client(), srv.URL+target); err != nil || got != "ok" {
			t.Errorf("%s: %q, %v", target, got, err)
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}

// A Transport over HTTP/2, cold and warm, with many streams at once.
func TestCompatTransportHTTP2(t *testing.T) {
	var calls atomic.Int64
	body := strings.Repeat("0123456789", 50_000)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, body)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	client := srv.Client()
	client.Transport = newCache(t, Options{}).Transport(Policy{}, client.Transport)
	done := make(chan error)
	for range 10 {
		go func() {
			_, got, err := fetch(client, srv.URL)
			if err == nil && got != body {
				err = fmt.Errorf("%d bytes", len(got))
			}
			done <- err
		}()
	}
	for range 10 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}
