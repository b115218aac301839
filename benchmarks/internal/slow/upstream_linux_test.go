package slow

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
)

func delays(t *testing.T) *Delays {
	t.Helper()
	d, err := NewDelays(1, 0.5, 1) // a nanosecond
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// getTwice asks for many ids at once, all twice, and checks the answers.
func getTwice(t *testing.T, client *http.Client, base string) {
	t.Helper()
	defer client.CloseIdleConnections()
	var clients sync.WaitGroup
	for _, id := range []string{"1", "22", "333", "4444"} {
		clients.Go(func() {
			for range 2 {
				resp, err := client.Get(base + "/" + id)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				var got struct{ Upstream, ID string }
				if err != nil || json.Unmarshal(text, &got) != nil || got.Upstream != "user" || got.ID != id {
					t.Errorf("%s: %q, %v", id, text, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestPlain(t *testing.T) {
	for _, places := range []int{0, 1} {
		u, err := NewPlain("user", delays(t), places)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = u.Serve() }() // until the test ends
		getTwice(t, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}, "http://"+u.Address.String())
		s := u.Stats()
		if s.Requests != 8 || s.Connections < 1 || s.Connections > 8 || s.Peak < 1 || s.Peak > 4 {
			t.Errorf("%+v", s)
		}
		if places == 1 && s.Peak != 1 {
			t.Errorf("%d in work at once, want 1", s.Peak)
		}
	}
	if _, err := NewPlain("user", delays(t), -1); err == nil {
		t.Error("-1 places accepted")
	}
}

func TestTLS(t *testing.T) {
	u, err := NewTLS("user", delays(t))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- u.Serve() }()
	certificate, err := x509.ParseCertificate(u.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(certificate)
	getTwice(t, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}}, "https://"+u.Address)
	if s := u.Stats(); s.Requests != 8 || s.Connections < 1 {
		t.Errorf("%+v", s)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
