package benchmarks

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/httprate"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A rate limit outside of the cache counts every request and its refusals are
// not stored; inside, it counts what reaches the handler, and its 429 is not
// served to anyone else.
func TestHTTPRate(t *testing.T) {
	for _, inside := range []bool{false, true} {
		cache, err := cachemw.New(cachemw.Options{MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		limit := httprate.LimitBy(2, time.Hour, httprate.Key("*"))
		stack := []func(http.Handler) http.Handler{limit, cache.Handler(cachemw.Policy{TTL: time.Hour})}
		if inside {
			stack[0], stack[1] = stack[1], stack[0]
		}
		r := chi.NewRouter()
		r.Use(stack...)
		r.Get("/*", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
		ask := func(path string) int {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code == 200 && w.Body.String() != path {
				t.Errorf("%s: %q", path, w.Body)
			}
			return w.Code
		}
		want := []int{200, 200, 429, 429} // every request counts
		if inside {
			want = []int{200, 200, 200, 200} // hits do not
		}
		for i, code := range want {
			if got := ask("/a"); got != code {
				t.Errorf("inside %v, request %d: %d, want %d", inside, i, got, code)
			}
		}
		if inside { // one more may reach the handler
			for i, code := range []int{200, 429, 429} {
				if got := ask([]string{"/b", "/c", "/c"}[i]); got != code {
					t.Errorf("inside, another page %d: %d, want %d", i, got, code)
				}
			}
		}
	}
}
