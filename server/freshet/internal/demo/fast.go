package demo

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/fanout"
	"github.com/freshet-go/freshet/cachefetch/upstream"
	cachemw "github.com/freshet-go/freshet/middleware"
)

// What the fast side is sized for, and how long its pieces are fresh. The page
// is kept by the HTTP cache in front; those of its parts that change seldom
// are kept longer than the page, so that a new page need not wait for them.
const (
	expected  = 1000 // requests a second to each upstream
	inPage    = 100  // pages that may be made at once
	pageTTL   = 10 * time.Second
	partTTL   = time.Minute
	stale     = 10 * time.Minute
	partBytes = 16 << 20
)

// fast is how the page is built with Freshet: a client for each upstream, with
// a pool that is large enough and bounded, the calls side by side, and a cache
// for the two parts that change seldom.
type fast struct {
	side
	transports  []*upstream.Transport // in the order of the upstreams
	clients     []*http.Client
	users       *cachefetch.Cache[json.RawMessage]
	preferences *cachefetch.Cache[json.RawMessage]
	limiter     *cachemw.Limiter
}

// open makes what a fast side needs. After an error close frees what there is.
func (f *fast) open(upstreams []*slowServer) (err error) {
	for _, u := range upstreams {
		t, err := upstream.New(upstream.Options{
			Name:              u.name,
			Unlisted:          true, // the admin listener writes them
			RequestsPerSecond: expected,
			Latency:           u.delay,
			RequestTimeout:    10 * time.Second,
		})
		if err != nil {
			return err
		}
		f.transports = append(f.transports, t)
		f.clients = append(f.clients, &http.Client{Transport: t})
	}
	parts := cachefetch.Options[json.RawMessage]{
		MaxBytes:             partBytes,
		TTL:                  partTTL,
		StaleWhileRevalidate: stale,
		Cost:                 func(v json.RawMessage) int64 { return int64(len(v)) },
	}
	if f.users, err = cachefetch.New(parts); err != nil {
		return err
	}
	if f.preferences, err = cachefetch.New(parts); err != nil {
		return err
	}
	f.limiter, err = cachemw.NewLimiter(cachemw.LimitOptions{Name: "/fast/page/{id}", MaxInFlight: inPage})
	return err
}

func (f *fast) close() error {
	var errs []error
	for _, t := range f.transports {
		errs = append(errs, t.Close())
	}
	for _, c := range []*cachefetch.Cache[json.RawMessage]{f.users, f.preferences} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// fastPage asks all upstreams at once. Behind the cache it runs once for a
// page and its time to live, however many ask.
func (d *Demo) fastPage(w http.ResponseWriter, r *http.Request) {
	f, id := &d.fast, chi.URLParam(r, "id")
	load := func(i int) func(context.Context) (json.RawMessage, error) {
		return func(ctx context.Context) (json.RawMessage, error) {
			return f.fetch(ctx, f.clients[i], d.upstreams[i], id)
		}
	}
	user, preferences, content, err := fanout.Join3(r.Context(),
		func(ctx context.Context) (json.RawMessage, error) { return f.users.Fetch(ctx, id, load(0)) },
		func(ctx context.Context) (json.RawMessage, error) { return f.preferences.Fetch(ctx, id, load(1)) },
		load(2))
	if err != nil {
		cachemw.Fail(w, err) // a stale page if there is one, else 503, 504 or 502
		return
	}
	writePage(w, page{user, preferences, content})
}

// Metrics are those of the fast side's clients and of its limiter.
func (d *Demo) Metrics() []cachefetch.MetricsSource {
	all := []cachefetch.MetricsSource{d.fast.limiter}
	for _, t := range d.fast.transports {
		all = append(all, t)
	}
	return all
}
