// Command transportproxy is a reverse proxy that does not cache, on a client
// that does: what the conformance run scores as the cache's Transport face.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	upstream := flag.String("upstream", "", "URL of the origin")
	flag.Parse()
	target, err := url.Parse(*upstream)
	if err != nil || target.Host == "" {
		log.Fatalf("transportproxy: -upstream: %q: not a URL", *upstream)
	}
	cache, err := cachemw.New(cachemw.Options{MaxBytes: 256 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DisableCompression = true // a proxy asks for what its client asked for
	// As the gateway is configured for the same run.
	policy := cachemw.Policy{HeuristicLimit: 24 * time.Hour, StaleIfError: time.Hour}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: cache.Transport(policy, base),
	}
	log.Fatal(http.ListenAndServe(*listen, proxy))
}
