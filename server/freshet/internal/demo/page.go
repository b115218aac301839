package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"
)

// page is what both sides answer: the three upstreams' answers in one.
type page struct {
	User        json.RawMessage `json:"user"`
	Preferences json.RawMessage `json:"preferences"`
	Content     json.RawMessage `json:"content"`
}

// naivePage asks one upstream after another, for every request.
func (d *Demo) naivePage(w http.ResponseWriter, r *http.Request) {
	var p page
	for i, part := range []*json.RawMessage{&p.User, &p.Preferences, &p.Content} {
		var err error
		if *part, err = d.naive.fetch(r.Context(), d.naiveClient, d.upstreams[i], chi.URLParam(r, "id")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
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
func (s *side) fetch(ctx context.Context, client *http.Client, u *slowServer, id string) (json.RawMessage, error) {
	s.calls.Add(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.addr()+"/"+url.PathEscape(id), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: answered %s", u.name, resp.Status)
	}
	return body, nil
}

// defaultTransport is that of http.DefaultClient, with its two idle
// connections per host: all others of a busy service dial again each time.
func defaultTransport() *http.Transport {
	return http.DefaultTransport.(*http.Transport).Clone()
}
