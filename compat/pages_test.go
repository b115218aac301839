package compat

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// byTTL is the policy for handlers that say nothing of caching.
var byTTL = cachemw.Policy{TTL: time.Minute, StaleWhileRevalidate: 10 * time.Minute}

func silentPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
}

// valuePage shows that the handler has the values of the first client's context.
func valuePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Value", fmt.Sprint(r.Context().Value("key")))
	page(w, r)
}

func basic(name, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

var passwords = chimw.BasicAuth("site", map[string]string{"alice": "a", "bob": "b"})

func getHead(next http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(chimw.GetHead)
	r.Get("/page", next.ServeHTTP)
	return r
}

// byHost tells requests apart by what is in every key.
func byHost(next http.Handler) http.Handler {
	return chimw.RouteHeaders().Route("Host", "site.test", chimw.SetHeader("X-Site", "1")).RouteDefault(chimw.SetHeader("X-Site", "?")).Handler(next)
}

// byTier tells requests apart by a field that no response names in Vary.
func byTier(next http.Handler) http.Handler {
	return chimw.RouteHeaders().
		Route("X-Tier", "alice", chimw.SetHeader("X-For", "alice")).
		Route("X-Tier", "bob", chimw.SetHeader("X-For", "bob")).
		Handler(next)
}

var keyed = cachemw.Policy{Headers: []string{"X-Tier"}}
