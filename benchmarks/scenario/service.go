//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/benchmarks/internal/proc"
	"github.com/freshet-go/freshet/cachefetch/upstream"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// serviceConfig is the service, with the levers that are pulled.
type serviceConfig struct {
	Upstreams  []upstreamReady
	Pool       bool    // upstream.New instead of http.DefaultClient
	Rate       float64 // requests a second that the pool is made for
	SideBySide bool    // fanout.Join3 instead of one call after another
	Cache      bool    // Cache.Handler in front
	Limit      int     // requests in the handler at once, by middleware.Limit; 0 means no limit
}

// serviceStats are what the service knows of itself.
type serviceStats struct {
	PeakGoroutines            int
	ServerErrors              uint64         // that net/http's server has logged
	Errors                    map[string]int // of upstream calls, by their innermost cause
	GC, Busy                  time.Duration  // CPU time of the garbage collector and altogether, as proc.Collector has them
	Requests, Hits, Coalesced uint64         // of the cache

	Pages        uint64        // made, not cached
	PageTime     time.Duration // that they took, all together
	SlowestCalls time.Duration // the longest call of each, all together
}

type service struct {
	clients []*http.Client // one for each upstream
	config  serviceConfig
	cache   *cachemw.Cache

	pages, pageTime, slowest atomic.Int64
	peakGoroutines           atomic.Int64
	serverErrors             lineCounter

	mu     sync.Mutex
	errors map[string]int // guarded by mu; a few causes
}

// note counts an error by its innermost cause.
func (s *service) note(err error) {
	if refused := (*upstream.RefusedError)(nil); errors.As(err, &refused) {
		err = errors.New("refused, " + refused.Reason) // without the upstream's port
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := err.Error(); len(s.errors) < 20 || s.errors[text] > 0 {
		s.errors[text]++
	} else {
		s.errors["others"]++
	}
}

// lineCounter counts what is logged. Under overload that is one and the same
// line again and again: accept: too many open files.
type lineCounter struct{ n atomic.Uint64 }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n.Add(1)
	return len(p), nil
}

const (
	cacheBytes = 512 << 20 // all ids fit
	pageTTL    = 10 * time.Minute
)

func runService(c serviceConfig) error {
	s := &service{config: c, errors: make(map[string]int)}
	if err := s.connect(); err != nil {
		return err
	}
	r := chi.NewRouter()
	if c.Cache {
		var err error
		if s.cache, err = cachemw.New(cachemw.Options{MaxBytes: cacheBytes}); err != nil {
			return err
		}
		r.Use(s.cache.Handler(cachemw.Policy{Name: "page", TTL: pageTTL}))
	}
	if c.Limit > 0 {
		r.Use(cachemw.Limit(cachemw.LimitOptions{Name: "page", MaxInFlight: c.Limit}))
	}
	r.Get("/page/{id}", s.page)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go s.watch()
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: log.New(&s.serverErrors, "", 0)}
	return serve(l.Addr().String(), func() error { return server.Serve(l) }, s.stats)
}

// connect makes the clients.
func (s *service) connect() error {
	trusted := x509.NewCertPool()
	secure := false
	for _, u := range s.config.Upstreams {
		if len(u.Certificate) > 0 {
			c, err := x509.ParseCertificate(u.Certificate)
			if err != nil {
				return fmt.Errorf("certificate: %w", err)
			}
			trusted.AddCert(c)
			secure = true
		}
	}
	naive := http.DefaultClient
	if secure { // the default but for whom it trusts
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
		naive = &http.Client{Transport: transport}
	}
	for i := range s.config.Upstreams {
		if !s.config.Pool {
			s.clients = append(s.clients, naive)
			continue
		}
		options := upstream.Options{
			Name:              theUpstreams[i].Name,
			RequestsPerSecond: s.config.Rate,
			Latency:           theUpstreams[i].Delay,
		}
		if secure {
			options.TLSClientConfig = &tls.Config{RootCAs: trusted}
		}
		transport, err := upstream.New(options)
		if err != nil {
			return err
		}
		s.clients = append(s.clients, &http.Client{Transport: transport})
	}
	return nil
}

// watch notes the most goroutines.
func (s *service) watch() {
	for range time.Tick(50 * time.Millisecond) {
		s.peakGoroutines.Store(max(s.peakGoroutines.Load(), int64(runtime.NumGoroutine())))
	}
}

// stats returns the numbers, and begins the peak anew.
func (s *service) stats() serviceStats {
	gc, busy := proc.Collector()
	now := runtime.NumGoroutine()
	v := serviceStats{
		ServerErrors:   s.serverErrors.n.Load(),
		PeakGoroutines: max(now, int(s.peakGoroutines.Swap(0))),
		GC:             gc,
		Busy:           busy,
		Pages:          uint64(s.pages.Load()),
		PageTime:       time.Duration(s.pageTime.Load()),
		SlowestCalls:   time.Duration(s.slowest.Load()),
	}
	s.mu.Lock()
	v.Errors = maps.Clone(s.errors)
	s.mu.Unlock()
	if s.cache != nil {
		c := s.cache.Stats()
		v.Hits, v.Coalesced = c.Hits, c.Coalesced
		v.Requests = c.Hits + c.Stale + c.Coalesced + c.Misses + c.Bypassed + c.Errors
	}
	return v
}

// status returns what a client is told of an error.
func status(err error) int {
	if errors.Is(err, upstream.ErrRefused) {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}
