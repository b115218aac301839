package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/freshet-go/freshet/cachefetch/upstream"
)

// An https upstream is spoken to in HTTP/2 if it can, and only with a
// certificate that can be trusted.
func TestUpstreamOverTLS(t *testing.T) {
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.TLS.ServerName, " ", r.Host)
	}))
	origin.EnableHTTP2 = true
	origin.Config.ErrorLog = log.New(io.Discard, "", 0)
	origin.StartTLS()
	defer origin.Close()

	c := Upstream{Name: "app", URL: origin.URL, PreserveHost: true}.withDefaults()
	u, err := newForwarder(c, &bufferPool{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.retire()
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		u.ServeHTTP(w, httptest.NewRequest("GET", "http://shop.example/", nil))
		return w
	}
	if w := get(); w.Code != http.StatusBadGateway {
		t.Errorf("an unknown authority: %d %q", w.Code, w.Body)
	}
	roots := x509.NewCertPool()
	roots.AddCert(origin.Certificate())
	u.transport.CloseIdleConnections()
	u, err = newForwarder(c, &bufferPool{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer u.retire()
	o := c.transportOptions()
	o.TLSClientConfig = &tls.Config{RootCAs: roots}
	if u.transport, err = upstream.New(o); err != nil {
		t.Fatal(err)
	}
	u.proxy.Transport = u.transport
	// The name that is verified is that of the URL, whatever Host is sent. An
	// IP address is never sent as a server name.
	if w := get(); w.Code != 200 || w.Body.String() != "HTTP/2.0  shop.example" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
