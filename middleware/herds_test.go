package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A herd is an origin that takes its time, and counts its runs.
type herd struct {
	takes       time.Duration
	answer      http.HandlerFunc
	calls, most atomic.Int64
	running     atomic.Int64
}

func (o *herd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	raise(&o.most, o.running.Add(1))
	time.Sleep(o.takes)
	o.running.Add(-1) // as it begins its answer, another one may begin
	o.answer(w, r)
}

// forAll answers with what everyone may have for this long.
func forAll(control string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if control != "" {
			w.Header().Set("Cache-Control", control)
		}
		fmt.Fprint(w, "for all")
	}
}

// However many clients ask for a cold key at once, and whoever comes first, the
// handler runs once for each response that there is.
func TestColdKeyRunsOnceForEachResponse(t *testing.T) {
	forLanguage := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		forAll("max-age=60")(w, r)
	}
	for _, row := range []struct {
		name   string
		policy Policy
		first  []string           // fields of who is first; it begins the first run
		others func(int) []string // nil: none
		takes  time.Duration
		answer http.HandlerFunc
		runs   int64
	}{
		{"three variants", Policy{}, nil, func(i int) []string { return []string{"Accept-Language", []string{"de", "en", "fr"}[i%3]} }, time.Second, forLanguage, 4},
		{"two variants, the first one's among them", Policy{}, []string{"Accept-Language", "de"}, func(i int) []string { return []string{"Accept-Language", []string{"de", "en"}[i%2]} }, time.Second, forLanguage, 2},
		{"a stranger with Authorization", Policy{}, []string{"Authorization", "made up"}, nil, time.Second, forAll("max-age=60"), 2},
		{"a stranger with a Cookie", Policy{TTL: time.Minute}, []string{"Cookie", "a=b"}, nil, time.Second, forAll(""), 2},
		{"a stranger with a key", Policy{TTL: time.Minute}, []string{"X-Api-Key", "a"}, nil, time.Second, forAll(""), 2},
		{"a stranger with X-Forwarded-Host", Policy{}, []string{"X-Forwarded-Host", "evil.example"}, nil, time.Second, forAll("max-age=60"), 2},
		{"a stranger with both", Policy{}, []string{"X-Forwarded-Host", "evil.example", "Authorization", "made up"}, nil, time.Second, forAll("max-age=60"), 2},
		{"a lifetime shorter than the run", Policy{}, nil, nil, 3 * time.Second, forAll("max-age=2"), 1},
		{"an error", Policy{}, nil, nil, time.Second, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 1},
		{"no-cache with a validator", Policy{}, nil, nil, time.Second, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			forAll("no-cache")(w, r)
		}, 1},
	} {
		for _, face := range faces {
			for _, method := range []string{"GET", "HEAD"} {
				t.Run(fmt.Sprint(face.name, " ", method, " ", row.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := &herd{takes: row.takes, answer: row.answer}
						h := face.mount(newCache(t, Options{}), row.policy, o)
						ask := func(fields ...string) *httptest.ResponseRecorder {
							r := httptest.NewRequest(method, "/", nil)
							privateSet(r.Header, fields)
							return keysServe(h, r)
						}
						var wg sync.WaitGroup
						wg.Go(func() { ask(row.first...) })
						synctest.Wait()
						for i := range 200 {
							wg.Go(func() {
								var fields []string
								if row.others != nil {
									fields = row.others(i)
								}
								if w := ask(fields...); w.Code == 200 && method == "GET" && w.Body.String() != "for all" {
									t.Errorf("%d %q", w.Code, w.Body)
								}
							})
						}
						wg.Wait()
						if n := o.calls.Load(); n != row.runs {
							t.Errorf("%d runs, %d at once, want %d", n, o.most.Load(), row.runs)
						}
					})
				})
			}
		}
	}
}

// An error on a cold key goes to those who wait for it, and is forgotten: the
// next request finds out anew.
func TestErrorIsForThoseWhoWaitAndForgotten(t *testing.T) {
	for _, face := range faces {
		for _, status := range []int{500, 502, 503, 504} {
			t.Run(fmt.Sprint(face.name, " ", status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var failing atomic.Bool
					failing.Store(true)
					o := &herd{takes: time.Second, answer: func(w http.ResponseWriter, r *http.Request) {
						if failing.Load() {
							w.WriteHeader(status)
							return
						}
						forAll("max-age=60")(w, r)
					}}
					h := face.mount(newCache(t, Options{}), Policy{}, o)
					for round, want := range []int{status, 200, 200} {
						var wg sync.WaitGroup
						for range 50 {
							wg.Go(func() {
								if w := get(h, "/"); w.Code != want {
									t.Errorf("round %d: %d", round, w.Code)
								}
							})
						}
						wg.Wait()
						failing.Store(false)
					}
					if n := o.calls.Load(); n != 2 {
						t.Errorf("%d runs, want 2", n)
					}
				})
			})
		}
	}
}

// What must be validated each time is stored and validated, also if the next
// request always comes before the body is whole.
func TestNoCacheIsValidatedUnderLoad(t *testing.T) {
	for _, face := range faces {
		t.Run(face.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var whole, validated atomic.Int64
				h := face.mount(newCache(t, Options{}), Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "no-cache")
					w.Header().Set("Etag", `"1"`)
					if r.Header.Get("If-None-Match") != "" {
						validated.Add(1)
						w.WriteHeader(http.StatusNotModified)
						return
					}
					whole.Add(1)
					fmt.Fprint(w, "first part, ")
					time.Sleep(100 * time.Millisecond)
					fmt.Fprint(w, "rest")
				}))
				var wg sync.WaitGroup
				for range 200 {
					wg.Go(func() {
						if w := get(h, "/"); w.Code != 200 || w.Body.String() != "first part, rest" {
							t.Errorf("%d %q", w.Code, w.Body)
						}
					})
					time.Sleep(50 * time.Millisecond)
				}
				wg.Wait()
				if whole.Load() > 5 || validated.Load() < 100 {
					t.Errorf("%d whole, %d validated", whole.Load(), validated.Load())
				}
			})
		})
	}
}

// HEAD is answered from a stale response where the handler fails, as GET is.
func TestHeadIsServedStaleOnErrors(t *testing.T) {
	for _, face := range faces {
		synctest.Test(t, func(t *testing.T) {
			failing := false
			h := face.mount(newCache(t, Options{}), Policy{StaleIfError: time.Hour}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if failing {
					w.WriteHeader(503)
					return
				}
				w.Header().Set("X", "1")
				forAll("max-age=10")(w, r)
			}))
			get(h, "/")
			time.Sleep(11 * time.Second)
			failing = true
			for range 3 {
				if w := head(h); w.Code != 200 || w.Header().Get("X") != "1" || w.Body.Len() != 0 {
					t.Errorf("%s: %d %q", face.name, w.Code, w.Header())
				}
				time.Sleep(time.Minute)
			}
		})
	}
}

// Those who waited for what turns out to be one client's take turns: a route has
// so many of them in its handler at once, and all are answered.
func TestThoseWhoWaitedInVainTakeTurns(t *testing.T) {
	for _, face := range faces {
		for _, control := range []string{"private", "no-store"} {
			t.Run(face.name+" "+control, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var user atomic.Int64
					o := &herd{takes: time.Second, answer: func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Cache-Control", control)
						fmt.Fprint(w, "of "+r.Header.Get("X-User"))
					}}
					h := face.mount(newCache(t, Options{}), Policy{}, o)
					var wg sync.WaitGroup
					for range 500 {
						wg.Go(func() {
							name := fmt.Sprint(user.Add(1))
							if w := get(h, "/", "X-User", name); w.Code != 200 || w.Body.String() != "of "+name {
								t.Errorf("%s: %d %q", name, w.Code, w.Body)
							}
						})
					}
					wg.Wait()
					if most := o.most.Load(); most != atOnce {
						t.Errorf("%d at once, want %d", most, atOnce)
					}
				})
			})
		}
	}
}
