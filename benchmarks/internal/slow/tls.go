package slow

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A TLS is an upstream behind TLS, HTTP/1.1 only, as many are. It is made of
// net/http, so it costs more than a Plain.
type TLS struct {
	Address     string
	Certificate []byte // to be trusted, DER

	name     string
	listener net.Listener
	server   *http.Server
	mu       sync.Mutex
	delays   *Delays // guarded by mu
	counts   counts
}

// NewTLS returns an upstream that listens on a port of 127.0.0.1.
func NewTLS(name string, delays *Delays) (*TLS, error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("slow: %w", err)
	}
	t := &TLS{Address: l.Addr().String(), Certificate: certificate.Certificate[0], name: name, listener: l, delays: delays}
	t.server = &http.Server{
		Handler:           http.HandlerFunc(t.serve),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients of an overloaded service leave in the middle
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				t.counts.connections.Add(1)
			}
		},
	}
	return t, nil
}

// Stats may be called at any time.
func (t *TLS) Stats() Stats { return t.counts.stats() }

// Serve answers until Close.
func (t *TLS) Serve() error { return t.server.ServeTLS(t.listener, "", "") }

// Close ends Serve.
func (t *TLS) Close() error { return t.server.Close() }

func (t *TLS) serve(w http.ResponseWriter, r *http.Request) {
	t.counts.begin()
	defer t.counts.end()
	t.mu.Lock()
	delay := t.delays.Next()
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), delay)
	defer cancel()
	<-ctx.Done()
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body(t.name, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]))
}

// selfSigned makes a certificate of 127.0.0.1 for an hour.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("slow: key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "scenario"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("slow: certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
