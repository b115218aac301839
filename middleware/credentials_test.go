package middleware

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Where only a policy says that something is fresh, it is not for requests that
// say who their client is: nobody gets what was made for another, cold, waiting
// or later, and those who say nothing have theirs.
func TestPolicysLifetimeIsNotForThoseWhoSayWhoTheyAre(t *testing.T) {
	type row struct {
		field  string
		policy Policy
		shared bool // said to be no credential
		apart  bool // in the key: each has its own, stored
	}
	var rows []row
	for _, field := range append(DefaultCredentials(), "Authorization", "Cookie") {
		rows = append(rows, row{field: field}, row{field: field, policy: Policy{Headers: []string{field}}, apart: true})
	}
	rows = append(rows,
		row{field: "X-Session", policy: Policy{Credentials: []string{"x-session"}}},
		row{field: "X-Session", shared: true},
		row{field: "X-Api-Key", policy: Policy{Credentials: []string{}}, shared: true},
		row{field: "X-Api-Key", policy: Policy{Credentials: []string{"X-Session"}}, shared: true},
		row{field: "Authorization", policy: Policy{Credentials: []string{}}},
		row{field: "Cookie", policy: Policy{Credentials: []string{}}},
	)
	for _, face := range faces {
		for _, row := range rows {
			t.Run(fmt.Sprint(face.name, " ", row.field, " ", row.policy.Credentials, row.policy.Headers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := row.policy
					p.TTL = time.Minute
					h := face.mount(newCache(t, Options{}), p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						user := r.Header.Get(row.field)
						time.Sleep(time.Second)
						fmt.Fprint(w, "of "+user)
					}))
					ask := func(user string) (own, hit bool) {
						var fields []string
						if user != "" {
							fields = []string{row.field, user}
						}
						w := get(h, "/", fields...)
						return w.Body.String() == "of "+user, keysHit(w)
					}
					var wg sync.WaitGroup
					for _, user := range []string{"alice", "bob", "", "carol"} {
						wg.Go(func() {
							if own, _ := ask(user); !own && !row.shared {
								t.Errorf("cold, %q got another's", user)
							}
						})
						synctest.Wait()
					}
					wg.Wait()
					time.Sleep(10 * time.Second) // longer than it is remembered that nothing is shared
					ask("")
					for _, user := range []string{"alice", "bob", "", "alice"} {
						own, hit := ask(user)
						if !own && !row.shared {
							t.Errorf("%q got another's", user)
						}
						if want := row.shared || row.apart || user == ""; hit != want {
							t.Errorf("%q: hit is %v", user, hit)
						}
					}
				})
			})
		}
	}
}

// A client certificate says who a client is as well as any field.
func TestPolicysLifetimeIsNotForClientCertificates(t *testing.T) {
	for control, shared := range map[string]bool{"": false, "max-age=60": true} {
		h := newCache(t, Options{}).Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if control != "" {
				w.Header().Set("Cache-Control", control)
			}
			fmt.Fprint(w, "of ", len(r.TLS.PeerCertificates))
		}))
		ask := func(certificates int) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: make([]*x509.Certificate, certificates)}
			return keysServe(h, r)
		}
		for i, n := range []int{1, 2, 0, 1, 0} {
			w := ask(n)
			if own := w.Body.String() == fmt.Sprint("of ", n); own == shared && i > 0 && n != 1 {
				t.Errorf("%q, request %d: %q", control, i, w.Body)
			}
			if hit := keysHit(w); hit != (i > 0 && (shared || i == 4)) {
				t.Errorf("%q, request %d: hit is %v", control, i, hit)
			}
		}
	}
}

// An origin that keeps a cookie to one client by no-cache="Set-Cookie" or
// private="Set-Cookie" has said nothing of how long the page lasts, and a
// policy does not make it everyone's.
func TestPolicysLifetimeIsNotForPagesWithACookie(t *testing.T) {
	for _, face := range faces {
		for _, control := range []string{`no-cache="Set-Cookie"`, `private="Set-Cookie"`, `no-cache="set-cookie, x-user"`} {
			for _, explicit := range []string{"", ", max-age=60"} {
				t.Run(face.name+" "+control+explicit, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := face.mount(newCache(t, Options{}), Policy{TTL: time.Minute}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							user := r.Header.Get("X-Id")
							time.Sleep(time.Second)
							w.Header().Set("Cache-Control", control+explicit)
							w.Header().Set("Set-Cookie", "session="+user)
							fmt.Fprint(w, "page of "+user)
						}))
						ask := func(user string) {
							w := get(h, "/", "X-Id", user)
							if explicit == "" && w.Body.String() != "page of "+user {
								t.Errorf("%s got %q", user, w.Body)
							}
							if got := w.Header().Get("Set-Cookie"); got != "" && got != "session="+user || got == "" && explicit == "" {
								t.Errorf("%s got Set-Cookie %q", user, got)
							}
						}
						var wg sync.WaitGroup
						for _, user := range []string{"alice", "bob", "carol"} {
							wg.Go(func() { ask(user) })
						}
						wg.Wait()
						ask("dave")
					})
				})
			}
		}
	}
}
