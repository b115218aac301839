package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/sync/errgroup"
)

// page is what both sides answer: the three upstreams' answers in one.
type page struct {
	User        json.RawMessage `json:"user"`
	Preferences json.RawMessage `json:"preferences"`
	Content     json.RawMessage `json:"content"`
}

// parts returns where the answer of each upstream goes, in their order.
func (p *page) parts() []*json.RawMessage {
	return []*json.RawMessage{&p.User, &p.Preferences, &p.Content}
}

// naivePage asks one upstream after another, for every request.
func (d *Demo) naivePage(w http.ResponseWriter, r *http.Request) {
	var p page
	for i, part := range p.parts() {
		if err := d.naive.fetch(r.Context(), d.upstreams[i], chi.URLParam(r, "id"), part); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	writePage(w, p)
}

// fastPage asks all upstreams at once. Behind the cache it runs once for a
// page and its time to live, however many ask.
func (d *Demo) fastPage(w http.ResponseWriter, r *http.Request) {
	var p page
	id := chi.URLParam(r, "id")
	g, ctx := errgroup.WithContext(r.Context())
	for i, part := range p.parts() {
		g.Go(func() error { return d.fast.fetch(ctx, d.upstreams[i], id, part) })
	}
	if err := g.Wait(); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writePage(w, p)
}

func writePage(w http.ResponseWriter, p page) {
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

// fetch reads the answer of one upstream.
func (s *side) fetch(ctx context.Context, u *upstream, id string, into *json.RawMessage) error {
	s.calls.Add(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.addr()+"/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", u.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", u.name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: answered %s", u.name, resp.Status)
	}
	*into = body
	return nil
}

// defaultTransport is that of http.DefaultClient, with its two idle
// connections per host: all others of a busy service dial again each time.
func defaultTransport() *http.Transport {
	return http.DefaultTransport.(*http.Transport).Clone()
}

// pooledTransport keeps every connection it opens, up to a stated number.
func pooledTransport() *http.Transport {
	const conns = 256
	return &http.Transport{
		MaxConnsPerHost:       conns,
		MaxIdleConnsPerHost:   conns,
		MaxIdleConns:          conns * 3, // three upstreams
		IdleConnTimeout:       60 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
		DisableCompression:    true,
	}
}
