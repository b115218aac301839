package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// digits answers with ten digits, ranges too, and tells what was asked for.
type digits struct {
	mu      sync.Mutex
	asked   []string // the Range of each call
	control string
	length  bool // say it
	pause   time.Duration
}

func (o *digits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r.Header.Get("Range"))
	o.mu.Unlock()
	h := w.Header()
	h.Set("Cache-Control", o.control)
	h.Set("Etag", `"d"`)
	if r.Header.Get("Range") != "" {
		h.Set("Content-Range", "bytes 2-4/10")
		w.WriteHeader(206)
		_, _ = io.WriteString(w, "234")
		return
	}
	if o.length {
		h.Set("Content-Length", "10")
	}
	for i := range 10 {
		time.Sleep(o.pause)
		if _, err := io.WriteString(w, strconv.Itoa(i)); err != nil {
			return
		}
	}
}

func (o *digits) calls() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Sprintf("%q", o.asked)
}

func partWant(t *testing.T, w *httptest.ResponseRecorder, code int, body, contentRange string) {
	t.Helper()
	h := w.Header()
	if w.Code != code || w.Body.String() != body || h.Get("Content-Range") != contentRange {
		t.Errorf("got %d %q %q, want %d %q %q (%s)", w.Code, w.Body, h.Get("Content-Range"), code, body, contentRange, h.Get("Cache-Status"))
	}
	if n := h.Get("Content-Length"); n != "" && n != strconv.Itoa(len(body)) {
		t.Errorf("Content-Length %s of %q", n, w.Body)
	}
}

// Ranges are cut out of a stored response.
func TestPartOfStored(t *testing.T) {
	o := &digits{control: "max-age=60"}
	h := newCache(t, Options{}).Handler(Policy{})(o)
	get(h, "/")
	for _, row := range []struct {
		fields       []string
		code         int
		body         string
		contentRange string
	}{
		{[]string{"Range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range", "bytes=7-"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range", "bytes=-2"}, 206, "89", "bytes 8-9/10"},
		{[]string{"Range", "bytes=0-99"}, 206, "0123456789", "bytes 0-9/10"},
		{[]string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		{[]string{"Range", "bytes=0-1,4-5"}, 200, "0123456789", ""},
		{[]string{"Range", "lines=0-1"}, 200, "0123456789", ""},
		{[]string{"Range", "bytes=2-4", "If-Range", `"d"`}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range", "bytes=2-4", "If-Range", `"c"`}, 200, "0123456789", ""},
		{[]string{"Range", "bytes=2-4", "If-None-Match", `"d"`}, 304, "", ""},
		{[]string{"Range", "bytes=2-4", "If-None-Match", `"c"`}, 206, "234", "bytes 2-4/10"},
	} {
		w := get(h, "/", row.fields...)
		partWant(t, w, row.code, row.body, row.contentRange)
		if !keysHit(w) || w.Header().Get("Etag") != `"d"` {
			t.Errorf("%q: %q", row.fields, w.Header())
		}
	}
	r := httptest.NewRequest("HEAD", "/", nil)
	r.Header.Set("Range", "bytes=2-4")
	if w := keysServe(h, r); w.Code != 200 || w.Header().Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %q", w.Code, w.Header()) // RFC 9110 14.2: Range is for GET
	}
	if got := o.calls(); got != `[""]` {
		t.Errorf("asked for %s", got)
	}
}

// A range of what is not stored has the whole asked for if that can be shared,
// is sent as soon as its bytes are there, and leaves the whole stored.
func TestPartOfMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &digits{control: "max-age=60", length: true, pause: time.Second}
		h := newCache(t, Options{}).Handler(Policy{})(o)
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				partWant(t, get(h, "/", "Range", "bytes=2-4"), 206, "234", "bytes 2-4/10")
				if d := time.Since(began); d != 5*time.Second {
					t.Errorf("after %v", d)
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		w := get(h, "/")
		partWant(t, w, 200, "0123456789", "")
		if !keysHit(w) || o.calls() != `[""]` {
			t.Errorf("asked for %s, %q", o.calls(), w.Header())
		}
	})
}

// Where the length is not known in time the answer is the whole.
func TestPartOfUnknownLength(t *testing.T) {
	o := &digits{control: "max-age=60"}
	h := newCache(t, Options{}).Handler(Policy{})(o)
	partWant(t, get(h, "/", "Range", "bytes=2-4"), 200, "0123456789", "")
	partWant(t, get(h, "/", "Range", "bytes=2-4"), 206, "234", "bytes 2-4/10")
}

// A range of what cannot be shared is the handler's to answer. For the first one
// it was asked for the whole, of which the part is cut.
func TestPartOfUnshared(t *testing.T) {
	for _, row := range []struct {
		control string
		policy  Policy
	}{
		{"private", Policy{}},
		{"max-age=60", Policy{MaxBodyBytes: 5}},
	} {
		o := &digits{control: row.control, length: true}
		h := newCache(t, Options{}).Handler(row.policy)(o)
		for range 3 {
			partWant(t, get(h, "/", "Range", "bytes=2-4"), 206, "234", "bytes 2-4/10")
		}
		if got, want := o.calls(), `["" "bytes=2-4" "bytes=2-4"]`; got != want {
			t.Errorf("%s: asked for %s, want %s", row.control, got, want)
		}
	}
}

// A client whose range lies beyond what could be shared gets it all the same.
func TestPartBeyondTheLimit(t *testing.T) {
	o := &digits{control: "max-age=60"}
	h := newCache(t, Options{}).Handler(Policy{MaxBodyBytes: 5})(o)
	w := get(h, "/", "Range", "bytes=2-4")
	if body := w.Body.String(); w.Code == 200 && body != "0123456789" || w.Code == 206 && body != "234" {
		t.Errorf("%d %q", w.Code, body)
	}
}

// Over a real connection the message is whole.
func TestPartOnTheWire(t *testing.T) {
	o := &digits{control: "max-age=60", length: true}
	srv := serve(t, newCache(t, Options{}).Handler(Policy{})(o))
	for range 2 {
		r, _ := http.NewRequest("GET", srv.URL, nil)
		r.Header.Set("Range", "bytes=2-4")
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 206 || string(body) != "234" || resp.ContentLength != 3 || !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes 2-4") {
			t.Errorf("%d %q %d %v", resp.StatusCode, body, resp.ContentLength, err)
		}
	}
}

// A range of a stale response has that validated, and is cut out of it.
func TestPartOfStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newVersioned("max-age=60")
		h := newCache(t, Options{}).Handler(Policy{})(o)
		get(h, "/")
		time.Sleep(time.Minute)
		w := get(h, "/", "Range", "bytes=0-6")
		partWant(t, w, 206, "version", "bytes 0-6/11")
		if got := w.Header().Get("Cache-Status"); got != "freshet; fwd=stale; fwd-status=304; stored; ttl=60" {
			t.Errorf("Cache-Status %q", got)
		}
		o.set(func(o *versioned) { o.tag = `"2"` })
		time.Sleep(time.Minute)
		w = get(h, "/", "Range", "bytes=8-", "If-Range", `"1"`)
		if w.Code != 200 || w.Body.String() != `version "2"` {
			t.Errorf("of another version: %d %q", w.Code, w.Body)
		}
		if got := o.seen(); got != "200 304 200" {
			t.Errorf("answers: %s", got)
		}
	})
}
