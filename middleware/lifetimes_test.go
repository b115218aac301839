package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What a policy has made fresh is fresh by another one, as after a reload, for as
// long as that one says. What the response says of itself holds for all.
func TestPolicysLifetimeIsThatOfTheRouteThatAnswers(t *testing.T) {
	for _, row := range []struct {
		name, control string
		before, now   Policy
		age           time.Duration
		want          string
	}{
		{"the same", "", Policy{TTL: time.Hour}, Policy{TTL: time.Hour}, time.Minute, "1"},
		{"a longer one", "", Policy{TTL: time.Minute}, Policy{TTL: time.Hour}, time.Second, "1"},
		{"a longer one does not lengthen", "", Policy{TTL: time.Minute}, Policy{TTL: time.Hour}, 2 * time.Minute, "2"},
		{"a shorter one", "", Policy{TTL: time.Hour}, Policy{TTL: time.Minute}, time.Second, "1"},
		{"a shorter one is over", "", Policy{TTL: time.Hour}, Policy{TTL: time.Minute}, 2 * time.Minute, "2"},
		{"none", "", Policy{TTL: time.Hour}, Policy{}, time.Second, "2"},
		{"none for the status", "", Policy{TTL: time.Hour}, Policy{TTL: time.Hour, StatusTTL: map[int]time.Duration{200: 0}}, time.Second, "2"},
		{"one for another status", "", Policy{TTL: time.Hour}, Policy{TTL: time.Hour, StatusTTL: map[int]time.Duration{404: 0}}, time.Second, "1"},
		{"none, and a window in which it is stale", "", Policy{TTL: time.Hour, StaleWhileRevalidate: time.Hour}, Policy{}, time.Second, "2"},
		{"none, and a response that says it", "max-age=60", Policy{TTL: time.Hour}, Policy{}, time.Second, "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Options{})
				var runs atomic.Int64
				handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if row.control != "" {
						w.Header().Set("Cache-Control", row.control)
					}
					_, _ = fmt.Fprint(w, runs.Add(1))
				})
				get(c.Handler(row.before)(handler), "/")
				time.Sleep(row.age)
				h := c.Handler(row.now)(handler)
				if got := get(h, "/").Body.String(); got != row.want {
					t.Errorf("answered by run %s, want %s", got, row.want)
				}
				if head := headOf(h); row.want == "1" && runs.Load() != 1 {
					t.Errorf("HEAD is not answered by what is stored: %v", head.Header())
				}
			})
		})
	}
}

func headOf(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/", nil))
	return w
}
