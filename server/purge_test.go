package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func postPurge(t *testing.T, s *Server, body string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("POST", "http://127.0.0.1:9090/api/purge", strings.NewReader(body))
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	s.AdminHandler().ServeHTTP(w, r)
	return w
}

func TestPurgeAPI(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Surrogate-Key", "all "+strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("ETag", `"1"`)
		_, _ = io.WriteString(w, r.URL.String())
	}))
	defer up.Close()
	const hit, miss, stale = "hit", "uri-miss", "stale"
	for _, row := range []struct{ body, answer, a, b string }{
		{`{"url": "http://shop.example/a?q=1"}`, `{"purged":{"url":"http://shop.example/a?q=1","soft":false}}`, miss, hit},
		{`{"url": "http://shop.example/a"}`, `{"purged":{"url":"http://shop.example/a","soft":false}}`, hit, hit},
		{`{"tag": "a"}`, `{"purged":{"tag":"a","soft":false}}`, miss, hit},
		{`{"soft": true, "tag": "all"}`, `{"purged":{"tag":"all","soft":true}}`, stale, stale},
		{`{"prefix": "http://shop.example/b", "soft": false}`, `{"purged":{"prefix":"http://shop.example/b","soft":false}}`, hit, miss},
		{` {"all": true} `, `{"purged":{"all":true,"soft":false}}`, miss, miss},
		{`{"all": true, "soft": true}`, `{"purged":{"all":true,"soft":true}}`, stale, stale},
		{`{"url": "http://shop.example/a?q=1", "soft": true}`, `{"purged":{"url":"http://shop.example/a?q=1","soft":true}}`, stale, hit},
	} {
		t.Run(row.body, func(t *testing.T) {
			s := newServer(t, testConfig(up.URL), Options{})
			ask := func(target string) string {
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://shop.example"+target, nil))
				return w.Header().Get("Cache-Status")
			}
			ask("/a?q=1")
			ask("/b")
			if w := postPurge(t, s, row.body); w.Code != 200 || strings.TrimSpace(w.Body.String()) != row.answer {
				t.Errorf("%d %s, want %s", w.Code, w.Body, row.answer)
			}
			if got := ask("/a?q=1"); !strings.Contains(got, row.a) {
				t.Errorf("/a: %q, want %s", got, row.a)
			}
			if got := ask("/b"); !strings.Contains(got, row.b) {
				t.Errorf("/b: %q, want %s", got, row.b)
			}
		})
	}
}

func TestPurgeAPIErrors(t *testing.T) {
	s := newServer(t, testConfig("http://127.0.0.1:1"), Options{})
	for _, row := range []struct{ body, field string }{
		{``, ""},
		{`[]`, ""},
		{`"all"`, ""},
		{`{`, ""},
		{`{}`, ""},
		{`{"soft": true}`, ""},
		{`{"all": true} {}`, ""},
		{`{"all": true`, ""},
		{`{"urls": "http://a/"}`, "urls"},
		{`{"tag": "a", "sofft": true}`, "sofft"},
		{`{"URL": "http://a/"}`, "URL"},
		{`{"url": "http://a/", "tag": "b"}`, "tag"},
		{`{"all": true, "prefix": "http://a/"}`, "prefix"},
		{`{"tag": "a", "tag": "b"}`, "tag"},
		{`{"tag": "a", "soft": true, "soft": false}`, "soft"},
		{`{"url": 1}`, "url"},
		{`{"url": ""}`, "url"},
		{`{"url": null}`, "url"},
		{`{"url": "/a"}`, "url"},
		{`{"url": "ftp://a/"}`, "url"},
		{`{"tag": ["a"]}`, "tag"},
		{`{"tag": ""}`, "tag"},
		{`{"prefix": "a"}`, "prefix"},
		{`{"prefix": "http://a/?q"}`, "prefix"},
		{`{"all": false}`, "all"},
		{`{"all": "yes"}`, "all"},
		{`{"tag": "a", "soft": 1}`, "soft"},
		{`{"tag": "a", "soft": null}`, "soft"},
		{`{"tag": "` + strings.Repeat("a", maxPurgeBody) + `"}`, ""},
	} {
		w := postPurge(t, s, row.body)
		want := `{"field":"` + row.field + `","error":"`
		if w.Code != 400 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%.60s: %d %s, want %s...", row.body, w.Code, w.Body, want)
		}
	}
}

// Who may purge: nobody from a page of another site, nobody without the token
// where there is one.
func TestPurgeAPIGuard(t *testing.T) {
	open := newServer(t, testConfig("http://127.0.0.1:1"), Options{})
	locked := testConfig("http://127.0.0.1:1")
	locked.AdminToken = "s3cret"
	closed := newServer(t, locked, Options{})
	for _, row := range []struct {
		name   string
		server *Server
		fields []string
		want   int
	}{
		{"loopback", open, nil, 200},
		{"a form's content type, as curl has it", open, []string{"Content-Type", "application/x-www-form-urlencoded"}, 200},
		{"a page of another site", open, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page of another port", open, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"an old browser", open, []string{"Origin", "http://evil.example"}, 403},
		{"no token", closed, nil, 401},
		{"a wrong token", closed, []string{"Authorization", "Bearer wrong"}, 401},
		{"the token", closed, []string{"Authorization", "Bearer s3cret"}, 200},
	} {
		if w := postPurge(t, row.server, `{"all": true}`, row.fields...); w.Code != row.want {
			t.Errorf("%s: %d %s, want %d", row.name, w.Code, w.Body, row.want)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PURGE", "HEAD"} {
		w := adminRequest(t, open, "/api/purge", func(r *http.Request) { r.Method = method })
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if w := postPurge(t, open, `{"all": true}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("closed: %d %s", w.Code, w.Body)
	}
}

// FuzzParsePurge: no body panics, and what is accepted names one thing.
func FuzzParsePurge(f *testing.F) {
	f.Add(`{"url": "http://a/", "soft": true}`)
	f.Add(`{"all": true}`)
	f.Add(`{"tag": "a", "tag": "b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parsePurge([]byte(body))
		n := 0
		for _, named := range []bool{p.URL != "", p.Tag != "", p.Prefix != "", p.All} {
			if named {
				n++
			}
		}
		if err == nil && n != 1 {
			t.Errorf("%q: accepted as %+v", body, p)
		}
	})
}
