package compat

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	chimw "github.com/go-chi/chi/v5/middleware"
	echomw "github.com/labstack/echo/v4/middleware"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// Middleware that judges what clients send judges every request with a body,
// on either side of the cache, also where there is a fresh response to GET.
func TestRequestsWithBodiesAreJudged(t *testing.T) {
	const body = "twenty bytes of body"
	for _, row := range []struct {
		name   string
		wrap   wrapper
		fields []string
		want   int
	}{
		{"chi RequestSize", chimw.RequestSize(10), nil, http.StatusRequestEntityTooLarge},
		{"MaxBytesHandler", func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }, nil, http.StatusRequestEntityTooLarge},
		{"echo BodyLimit", inEcho(echomw.BodyLimit("10B")), nil, http.StatusRequestEntityTooLarge},
		{"chi AllowContentType", chimw.AllowContentType("text/plain"), []string{"Content-Type", "x/y"}, http.StatusUnsupportedMediaType},
		{"chi ContentCharset", chimw.ContentCharset("utf-8"), []string{"Content-Type", "text/plain; charset=koi8-r"}, http.StatusUnsupportedMediaType},
		{"chi AllowContentEncoding", chimw.AllowContentEncoding("gzip"), []string{"Content-Encoding", "x"}, http.StatusUnsupportedMediaType},
		{"gorilla csrf", gorillaCSRF(), nil, http.StatusForbidden},
		{"nosurf", secured, nil, http.StatusBadRequest},
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			for _, at := range []place{outside, inside} {
				if method == http.MethodGet && (row.name == "gorilla csrf" || row.name == "nosurf") {
					continue // they judge unsafe methods
				}
				t.Run(fmt.Sprintf("%s/%s/%s", row.name, method, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := http.Handler(http.HandlerFunc(reads))
						mw := newCache(t).Handler(cachemw.Policy{})
						if at == outside {
							h = row.wrap(mw(h))
						} else {
							h = mw(row.wrap(h))
						}
						for i, want := range []int{http.StatusOK, row.want, http.StatusOK} {
							r := httptest.NewRequest(http.MethodGet, "/page", nil)
							if want != http.StatusOK {
								r = httptest.NewRequest(method, "/page", strings.NewReader(body))
								for j := 0; j < len(row.fields); j += 2 {
									r.Header.Set(row.fields[j], row.fields[j+1])
								}
							}
							w := httptest.NewRecorder()
							h.ServeHTTP(w, r)
							if w.Code != want {
								t.Errorf("request %d: %d, want %d", i, w.Code, want)
							}
						}
					})
				})
			}
		}
	}
}

// reads answers with the page if it can read what it was sent.
func reads(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	page(w, r)
}
