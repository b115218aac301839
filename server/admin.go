package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/freshet-go/freshet/cachefetch"
)

// adminHandler serves what operators and their tools ask.
func (s *Server) adminHandler() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /metrics", s.serveMetrics)
	// A page in a browser on this machine could send a request, without being
	// able to read the answer.
	sameSite := http.NewCrossOriginProtection()
	guarded.Handle("POST /api/purge", sameSite.Handler(http.HandlerFunc(s.servePurge)))
	if s.opts.Debug != nil {
		guarded.Handle("/debug/", s.opts.Debug)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	if token := s.config.AdminToken; token != "" {
		mux.Handle("/", requireToken(token, guarded))
	} else {
		mux.Handle("/", requireLocalHost(guarded))
	}
	return mux
}

// say answers with one line.
func say(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line+"\n")
}

// serveReady answers 503 until the server serves, and again while it drains,
// so that a load balancer sends its requests elsewhere.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	switch s.state.Load() {
	case stateServing:
		say(w, http.StatusOK, "ready")
	case stateDraining:
		say(w, http.StatusServiceUnavailable, "draining")
	default:
		say(w, http.StatusServiceUnavailable, "starting")
	}
}

// serveMetrics writes the Prometheus text format. It is put together first,
// so that a slow reader holds nothing up.
func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	sources := []cachefetch.MetricsSource{s.cache, serverMetrics{s}, processMetrics{}}
	if s.gateway != nil {
		sources = append(sources, s.gateway.sources()...)
	}
	cachefetch.WriteMetrics(&b, append(sources, s.opts.Metrics...)...)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = b.WriteTo(w)
}

// requireToken asks for Authorization: Bearer <token>. Hashes are compared, so
// that the time taken tells nothing, the length included.
func requireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimLeft(given, " ")))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="freshet admin"`)
			say(w, http.StatusUnauthorized, "unauthorized")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireLocalHost refuses names other than localhost. Without it a web page
// whose name is made to resolve to 127.0.0.1 could read from a listener that
// only trusts its being on loopback.
func requireLocalHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
			say(w, http.StatusForbidden, "ask by IP address or localhost, or set an admin token")
			return
		}
		next.ServeHTTP(w, r)
	})
}
