// Package demo is what freshet does without arguments: a page that is put
// together from three slow upstreams, built once the way such services often
// begin and once with all that Freshet offers, to be compared under load.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/go-chi/chi/v5"
)

// Demo is the three upstreams and the two pages in front of them. It is made
// by [New]; Close ends the upstreams.
type Demo struct {
	upstreams []*slowServer
	naive     side
	fast      fast

	naiveClient *http.Client
	cache       atomic.Pointer[cachemw.Cache] // set by Handler
}

// side is one of the two ways to build the page.
type side struct {
	calls   atomic.Uint64 // requests to upstreams
	latency histogram     // of requests to the page
}

// New starts the upstreams, on ports of 127.0.0.1 that the system chooses.
func New() (*Demo, error) {
	d := &Demo{}
	for _, spec := range specs {
		u, err := startUpstream(spec)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("demo: %w", err), d.Close())
		}
		d.upstreams = append(d.upstreams, u)
	}
	d.naiveClient = &http.Client{Transport: defaultTransport()}
	if err := d.fast.open(d.upstreams); err != nil {
		return nil, errors.Join(fmt.Errorf("demo: %w", err), d.Close())
	}
	return d, nil
}

// Close ends the upstreams.
func (d *Demo) Close() error {
	var errs []error
	for _, u := range d.upstreams {
		errs = append(errs, u.close())
	}
	if d.naiveClient != nil {
		d.naiveClient.CloseIdleConnections()
	}
	return errors.Join(append(errs, d.fast.close())...)
}

// Handler serves both pages. The cache stands in front of the fast one.
func (d *Demo) Handler(cache *cachemw.Cache) (http.Handler, error) {
	policy := cachemw.Policy{TTL: pageTTL, StaleWhileRevalidate: stale, StaleIfError: stale}
	if err := cache.CheckPolicy(policy); err != nil {
		return nil, err
	}
	d.cache.Store(cache)
	r := chi.NewRouter()
	r.With(d.naive.measure).Get("/naive/page/{id}", d.naivePage)
	r.With(d.fast.measure, cache.Handler(policy), d.fast.limiter.Handler).Get("/fast/page/{id}", d.fastPage)
	return r, nil
}

// measure times requests. It leaves the ResponseWriter alone.
func (s *side) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		defer func() { s.latency.record(time.Since(start)) }()
		next.ServeHTTP(w, r)
	})
}

// Describe says what there is to see and how. admin may be empty.
func (d *Demo) Describe(w io.Writer, addr, admin string) {
	fmt.Fprintf(w, "freshet demo: one page made of three slow upstreams, built twice\n\n")
	for i, u := range d.upstreams {
		name := ""
		if i == 0 {
			name = "upstreams"
		}
		fmt.Fprintf(w, "  %-10s %-12s %4d ms  http://%s/{id}\n", name, u.name, u.delay.Milliseconds(), u.addr())
	}
	fmt.Fprintf(w, "  %-10s http://%s/naive/page/{id}  default client, one call after another, no cache\n", "naive", addr)
	fmt.Fprintf(w, "  %-10s http://%s/fast/page/{id}   pooled clients, calls side by side, cached, bounded\n", "fast", addr)
	if admin != "" {
		fmt.Fprintf(w, "  %-10s http://%s/metrics\n", "admin", admin)
	}
	const form = `'%{time_total}s\n'`
	fmt.Fprintf(w, "\nTry each twice:\n"+
		"  curl -s -o /dev/null -w %[2]s http://%[1]s/naive/page/1\n"+
		"  curl -s -o /dev/null -w %[2]s http://%[1]s/fast/page/1\n"+
		"\nThen put load on both (go install github.com/rakyll/hey@latest) and watch here:\n"+
		"  hey -z 10s -c 50 http://%[1]s/naive/page/1\n"+
		"  hey -z 10s -c 50 http://%[1]s/fast/page/1\n"+
		"\nTimes below are those of the handlers, by requests that ended in that second.\n", addr, form)
}

// Report prints a line each second in which there were requests, until ctx
// ends.
func (d *Demo) Report(ctx context.Context, w io.Writer) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := d.count(time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			next := d.count(now)
			if line := summary(last, next); line != "" {
				fmt.Fprintln(w, line)
			}
			last = next.carry(last)
		}
	}
}
