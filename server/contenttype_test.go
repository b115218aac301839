package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A response without a Content-Type has none on its way to the client, whatever
// its body looks like: not from the upstream, nor from the store, nor in part.
func TestNoContentTypeIsInvented(t *testing.T) {
	const page = "<html><script>alert(1)</script>"
	for _, control := range []string{"max-age=60", "no-store", "no-cache"} {
		for _, typed := range []string{"", "text/x-own"} {
			origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				if typed != "" {
					w.Header().Set("Content-Type", typed)
				}
				w.Header().Set("Cache-Control", control)
				w.Header().Set("Etag", `"1"`)
				_, _ = io.WriteString(w, page)
			}))
			defer origin.Close()
			s := start(t, testConfig(origin.URL), Options{})
			for _, how := range []struct {
				method string
				header []string
			}{
				{"GET", nil}, {"GET", nil}, {"HEAD", nil}, {"GET", []string{"Range", "bytes=0-9"}}, {"POST", nil},
				{"GET", []string{"X-Content-Type-Options", "nosniff"}},
			} {
				resp, body := fetch(t, testClient(t), how.method, s.base+"/", nil, how.header...)
				if got := resp.Header.Values("Content-Type"); typed == "" && len(got) != 0 || typed != "" && (len(got) != 1 || got[0] != typed) {
					t.Errorf("%s %v of a response with %q and Content-Type %q: Content-Type %q", how.method, how.header, control, typed, got)
				}
				if how.method != "HEAD" && body == "" {
					t.Errorf("%s: no body", how.method)
				}
			}
		}
	}
}
