package middleware

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// One odd request while a response may be served stale makes nobody wait: not
// if it starts the refresh, and whatever becomes of it.
func TestOddRequestInTheStaleWindowMakesNobodyWait(t *testing.T) {
	odd := [][]string{
		{"Authorization", "made up"}, {"Cookie", "a=b"}, {"X-Api-Key", "a"}, {"Range", "bytes=0-0"}, {"If-None-Match", `"x"`}, {"If-Match", `"x"`},
		{"Origin", "https://evil.example"}, {"Accept-Encoding", "odd"}, {"Cache-Control", "no-cache"}, {"Connection", "X-Forwarded-Host"},
	}
	for _, name := range rewriters {
		odd = append(odd, []string{name, "evil.example"})
	}
	for _, fields := range odd {
		for _, refused := range []int{0, 400, 403, 429, 500} {
			if refused == 403 && (fields[0] == "Accept-Encoding" || fields[0] == "Cache-Control") {
				continue // who asks is none of its reasons: it is about the URL
			}
			t.Run(fmt.Sprint(fields, refused), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					warm := false
					h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						isOdd := r.Header.Get(fields[0]) == fields[1]
						if !warm {
							warm = true
						} else if time.Sleep(3 * time.Second); isOdd && refused != 0 {
							w.WriteHeader(refused)
							return
						}
						forAll("max-age=10, stale-while-revalidate=600")(w, r)
					}))
					get(h, "/")
					time.Sleep(11 * time.Second)
					go get(h, "/", fields...)
					for range 20 {
						synctest.Wait()
						began := time.Now()
						w := get(h, "/")
						if took := time.Since(began); took > 0 || w.Body.String() != "for all" {
							t.Fatalf("%d %q after %v (%s)", w.Code, w.Body, took, w.Header()["Cache-Status"])
						}
						time.Sleep(500 * time.Millisecond)
					}
					time.Sleep(time.Minute)
				})
			})
		}
	}
}

// What an answer to a refresh, or to a request that waits for it, does to the
// response that others are served stale: it stays after an error and after what
// may be said of the one who asked, and goes when the answer is about the URL.
func TestWhatReplacesAStaleResponse(t *testing.T) {
	for _, row := range []struct {
		status int
		fields []string // of the client whose request begins the refresh
		stays  bool
	}{
		{status: 404}, {status: 410}, {status: 301}, {status: 204},
		{status: 404, fields: []string{"Origin", "https://evil.example"}, stays: true},
		{status: 401}, {status: 403},
		{status: 401, fields: []string{"Authorization", "bad"}, stays: true},
		{status: 403, fields: []string{"Cookie", "a=b"}, stays: true},
		{status: 403, fields: []string{"Origin", "https://evil.example"}, stays: true},
		{status: 400, stays: true}, {status: 429, stays: true}, {status: 408, stays: true},
		{status: 500, stays: true}, {status: 502, stays: true}, {status: 503, stays: true}, {status: 504, stays: true},
	} {
		for _, control := range []string{"", "public, max-age=20"} { // of the answer
			if control != "" && row.status == http.StatusNotFound {
				row.stays = false // it says itself that it is for everyone
			}
			for _, face := range faces {
				t.Run(fmt.Sprint(face.name, " ", row.status, row.fields, control), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						failing := false
						h := face.mount(newCache(t, Options{}), Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if failing {
								if control != "" {
									w.Header().Set("Cache-Control", control)
								}
								w.WriteHeader(row.status)
								return
							}
							forAll("max-age=10, public, stale-while-revalidate=600, stale-if-error=600")(w, r)
						}))
						get(h, "/")
						time.Sleep(11 * time.Second)
						failing = true
						for range 5 {
							get(h, "/", row.fields...)
							time.Sleep(10 * time.Second)
						}
						w := get(h, "/")
						if stays := w.Code == 200 && w.Body.String() == "for all"; stays != row.stays {
							t.Errorf("%d %q (%s)", w.Code, w.Body, w.Header()["Cache-Status"])
						}
					})
				})
			}
		}
	}
}

// Runs whose clients have left go on up to a bound, and the others end with
// their clients, as without a cache.
func TestOrphansAreBounded(t *testing.T) {
	for _, bound := range []int{0, 3, 20} {
		synctest.Test(t, func(t *testing.T) {
			var running, most atomic.Int64
			h := newCache(t, Options{}).Handler(Policy{MaxOrphans: bound})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raise(&most, running.Add(1))
				defer running.Add(-1)
				select {
				case <-r.Context().Done():
				case <-time.After(30 * time.Second):
					forAll("max-age=600")(w, r)
				}
			}))
			const clients = 300
			for i := range clients {
				ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
				keysServe(h, httptest.NewRequestWithContext(ctx, "GET", fmt.Sprint("/", i), nil))
				leave()
				synctest.Wait()
			}
			time.Sleep(time.Minute)
			limit := bound
			if bound == 0 {
				limit = defaultMaxOrphans
			}
			if n := most.Load(); n > int64(limit) || n < int64(limit-1) {
				t.Errorf("%d at once, with a bound of %d", n, limit)
			}
			if n := running.Load(); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
	}
}

// An offer that nobody is bound to take up, and a field that its Connection does
// not name, are no reason to ask the handler; another protocol is.
func TestOffersOfAnotherProtocol(t *testing.T) {
	for _, row := range []struct {
		name   string
		fields []string
		hit    bool
	}{
		{"h2c", []string{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Http2-Settings", "AAEAAEAAAAIAAAABAAMAAABk"}, true},
		{"h2c in capitals", []string{"Connection", "upgrade, http2-settings", "Upgrade", "H2C", "Http2-Settings", "AAE"}, true},
		{"an Upgrade that Connection does not name", []string{"Upgrade", "websocket"}, true},
		{"an Upgrade beside keep-alive", []string{"Connection", "keep-alive", "Upgrade", "websocket"}, true},
		{"Connection without Upgrade", []string{"Connection", "Upgrade"}, true},
		{"websocket", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, false},
		{"websocket in small letters", []string{"Connection", "keep-alive, upgrade", "Upgrade", "WebSocket"}, false},
		{"h2c or websocket", []string{"Connection", "Upgrade", "Upgrade", "h2c, websocket"}, false},
		{"on two lines", []string{"Connection", "keep-alive", "Connection", "Upgrade", "Upgrade", "h2c", "Upgrade", "websocket"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if row.hit && (r.Header["Upgrade"] != nil || r.Header["Connection"] != nil || r.Header["Http2-Settings"] != nil) {
					t.Errorf("a run got %q", r.Header)
				}
				forAll("max-age=60")(w, r)
			}))
			first := get(h, "/", row.fields...)
			if stored := keysHit(get(h, "/")); stored != row.hit {
				t.Errorf("cold: %q, then stored %v", first.Header()["Cache-Status"], stored)
			}
			if w := get(h, "/", row.fields...); keysHit(w) != row.hit {
				t.Errorf("warm: %q", w.Header()["Cache-Status"])
			}
		})
	}
}

// A condition or a range in a request for what is not stored is the client's:
// the handler is asked once, for the whole, and the client gets what it asked
// for on the way back.
func TestConditionsAreAnsweredOnTheWayBack(t *testing.T) {
	for _, face := range faces {
		for _, row := range []struct {
			name   string
			fields []string
			code   int
			body   string
		}{
			{"the tag", []string{"If-None-Match", `"1"`}, 304, ""},
			{"the tag, weakly", []string{"If-None-Match", `W/"1"`}, 304, ""},
			{"one of several", []string{"If-None-Match", `"0", "1"`}, 304, ""},
			{"any", []string{"If-None-Match", "*"}, 304, ""},
			{"another tag", []string{"If-None-Match", `"0"`}, 200, "0123456789"},
			{"the date", []string{"If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"}, 304, ""},
			{"an older date", []string{"If-Modified-Since", "Thu, 01 Jan 1998 00:00:00 GMT"}, 200, "0123456789"},
			{"the tag goes before the date", []string{"If-None-Match", `"0"`, "If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"}, 200, "0123456789"},
			{"a range", []string{"Range", "bytes=2-4"}, 206, "234"},
			{"a range of what it has", []string{"Range", "bytes=2-4", "If-Range", `"1"`}, 206, "234"},
			{"a range of another", []string{"Range", "bytes=2-4", "If-Range", `"0"`}, 200, "0123456789"},
			{"a range beyond", []string{"Range", "bytes=99999999999999999999-"}, 416, ""},
			{"the tag, and a range", []string{"If-None-Match", `"1"`, "Range", "bytes=2-4"}, 304, ""},
		} {
			t.Run(face.name+" "+row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var calls atomic.Int64
					h := face.mount(newCache(t, Options{}), Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						calls.Add(1)
						for _, name := range []string{"If-None-Match", "If-Modified-Since", "Range", "If-Range"} {
							if r.Header[name] != nil {
								t.Errorf("the handler got %s", name)
							}
						}
						time.Sleep(time.Second)
						w.Header().Set("Cache-Control", "max-age=60")
						w.Header().Set("Etag", `"1"`)
						w.Header().Set("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
						w.Header().Set("Content-Length", "10")
						fmt.Fprint(w, "0123456789")
					}))
					var wg sync.WaitGroup
					for range 3 {
						wg.Go(func() {
							w := get(h, "/", row.fields...)
							if w.Code != row.code || w.Body.String() != row.body {
								t.Errorf("%d %q, want %d %q", w.Code, w.Body, row.code, row.body)
							}
						})
					}
					wg.Wait()
					synctest.Wait()
					if w := get(h, "/"); !keysHit(w) || w.Body.String() != "0123456789" || calls.Load() != 1 {
						t.Errorf("then %d %q after %d calls (%s)", w.Code, w.Body, calls.Load(), w.Header()["Cache-Status"])
					}
				})
			})
		}
	}
}

// Whether the client has what it believes to have is known from the store where
// the tag is there and strong, and else by the origin alone: no part of another
// version is sent, and what is stored stays.
func TestPreconditions(t *testing.T) {
	for _, face := range faces {
		for _, row := range []struct {
			name   string
			etag   string
			fields []string
			passed bool
		}{
			{"the tag", `"1"`, []string{"If-Match", `"1"`}, false},
			{"one of several", `"1"`, []string{"If-Match", `"0", "1"`}, false},
			{"another tag", `"1"`, []string{"If-Match", `"0"`}, true},
			{"another tag, and a range", `"1"`, []string{"If-Match", `"0"`, "Range", "bytes=2-4"}, true},
			{"any", `"1"`, []string{"If-Match", "*"}, true},
			{"a weak tag of the client", `"1"`, []string{"If-Match", `W/"1"`}, true},
			{"a weak tag of the response", `W/"1"`, []string{"If-Match", `W/"1"`}, true},
			{"no tag", "", []string{"If-Match", `"1"`}, true},
			{"a date", `"1"`, []string{"If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"}, true},
			{"the tag, and a date", `"1"`, []string{"If-Match", `"1"`, "If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"}, true},
		} {
			t.Run(face.name+" "+row.name, func(t *testing.T) {
				h := face.mount(newCache(t, Options{}), Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header["If-Match"] != nil || r.Header["If-Unmodified-Since"] != nil {
						w.WriteHeader(http.StatusPreconditionFailed)
						return
					}
					w.Header().Set("Cache-Control", "max-age=60")
					if row.etag != "" {
						w.Header().Set("Etag", row.etag)
					}
					fmt.Fprint(w, "0123456789")
				}))
				if w := get(h, "/", row.fields...); w.Code != http.StatusPreconditionFailed || !strings.Contains(w.Header().Get("Cache-Status"), reasonPrecondition) {
					t.Errorf("cold: %d (%s)", w.Code, w.Header()["Cache-Status"])
				}
				get(h, "/")
				w := get(h, "/", row.fields...)
				if passed := w.Code == http.StatusPreconditionFailed; passed != row.passed || !passed && !keysHit(w) {
					t.Errorf("stored: %d (%s)", w.Code, w.Header()["Cache-Status"])
				}
				if w := get(h, "/"); !keysHit(w) {
					t.Errorf("then %s", w.Header()["Cache-Status"])
				}
			})
		}
	}
}
