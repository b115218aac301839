package middleware

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// silent swallows what tests make fail.
var silent = log.New(io.Discard, "", 0)

// serve starts a server that does not log what tests make fail.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = silent
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// proxyTo returns a reverse proxy that does not log.
func proxyTo(t *testing.T, target string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.ErrorLog = silent
	return p
}

// fetch returns a whole response and how reading it ended.
func fetch(client *http.Client, target string) (*http.Response, string, error) {
	req, err := http.NewRequest("GET", target, nil)
	if err != nil {
		return nil, "", err
	}
	return fetchWith(client, req)
}

// fetchWith is fetch for any request.
func fetchWith(client *http.Client, req *http.Request) (*http.Response, string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// raised calls do and returns what it panicked with.
func raised(do func()) (value any) {
	defer func() { value = recover() }()
	do()
	return nil
}

// leaving returns the context of a client that leaves after d.
func leaving(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(d, cancel)
	return ctx, cancel
}
