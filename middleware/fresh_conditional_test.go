package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// Conditions are answered from the store.
func TestFreshNotModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().UTC().Format(http.TimeFormat)
		o := &freshOrigin{header: http.Header{
			"Cache-Control": {"max-age=60"}, "Etag": {`"a"`}, "Last-Modified": {date}, "Content-Type": {"text/plain"}, "X-Other": {"1"},
		}}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		for i, row := range []struct {
			name, field, value string
			want               int
		}{
			{"the first request, which fills", "If-None-Match", `"a"`, 304},
			{"same tag", "If-None-Match", `"a"`, 304},
			{"weak tag", "If-None-Match", `W/"a"`, 304},
			{"one of several", "If-None-Match", `"x", "a"`, 304},
			{"any", "If-None-Match", "*", 304},
			{"another tag", "If-None-Match", `"b"`, 200},
			{"same date", "If-Modified-Since", date, 304},
			{"older date", "If-Modified-Since", "Thu, 01 Jan 1998 00:00:00 GMT", 200},
			{"no date", "If-Modified-Since", "yesterday", 200},
		} {
			w := get(h, "/", row.field, row.value)
			if w.Code != row.want || (w.Body.Len() == 0) != (row.want == 304) {
				t.Errorf("%s: %d with %q", row.name, w.Code, w.Body.String())
			}
			if w.Code == 304 && (w.Header().Get("Etag") != `"a"` || w.Header()["Content-Type"] != nil || w.Header()["Content-Length"] != nil || w.Header().Get("Cache-Control") == "") {
				t.Errorf("%s: %q", row.name, w.Header())
			}
			if i > 0 && !keysHit(w) {
				t.Errorf("%s: %q", row.name, w.Header())
			}
		}
		if o.count() != 1 {
			t.Errorf("%d calls", o.count())
		}
	})
}

// HEAD is answered from a stored GET, and its own answer is never stored.
func TestFreshHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &freshOrigin{header: freshControl("max-age=60")}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		head := func() *httptest.ResponseRecorder { return keysServe(h, httptest.NewRequest("HEAD", "/", nil)) }
		freshWant(t, head(), 200, "", "freshet; fwd=uri-miss; detail=method")
		freshWant(t, get(h, "/"), 200, "call 2", "freshet; fwd=uri-miss; stored; ttl=60")
		w := head()
		freshWant(t, w, 200, "", "freshet; hit; ttl=60")
		if got := w.Header().Get("Content-Length"); got != "6" {
			t.Errorf("Content-Length %q", got)
		}
		freshWant(t, get(h, "/"), 200, "call 2", "freshet; hit; ttl=60")
	})
}
