//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/freshet-go/freshet/cachefetch/fanout"
)

// content is the page: what the three upstreams say, in one.
type content struct {
	User        json.RawMessage `json:"user"`
	Preferences json.RawMessage `json:"preferences"`
	Content     json.RawMessage `json:"content"`
}

func (s *service) page(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var took [3]time.Duration
	call := func(i int) func(context.Context) (json.RawMessage, error) {
		return func(ctx context.Context) (json.RawMessage, error) {
			began := time.Now()
			body, err := s.get(ctx, i, chi.URLParam(r, "id"))
			took[i] = time.Since(began)
			return body, err
		}
	}
	var c content
	var err error
	if s.config.SideBySide {
		c.User, c.Preferences, c.Content, err = fanout.Join3(r.Context(), call(0), call(1), call(2))
	} else {
		c, err = inTurn(r.Context(), call(0), call(1), call(2))
	}
	if err != nil {
		s.note(err)
		if status(err) == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, err.Error(), status(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	body, _ := json.Marshal(c) // the upstreams' JSON was checked by get
	_, _ = w.Write(body)
	s.pages.Add(1)
	s.pageTime.Add(int64(time.Since(began)))
	s.slowest.Add(int64(max(took[0], took[1], took[2])))
}

// inTurn makes one call after another, as the code of many services reads.
func inTurn(ctx context.Context, user, preferences, text func(context.Context) (json.RawMessage, error)) (c content, err error) {
	if c.User, err = user(ctx); err != nil {
		return c, err
	}
	if c.Preferences, err = preferences(ctx); err != nil {
		return c, err
	}
	c.Content, err = text(ctx)
	return c, err
}

// get asks an upstream.
func (s *service) get(ctx context.Context, upstream int, id string) (json.RawMessage, error) {
	url := s.config.Upstreams[upstream].URL + "/" + id
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.clients[upstream].Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !json.Valid(body)) {
		err = fmt.Errorf("%s: status %d, %d bytes", url, resp.StatusCode, len(body))
	}
	return body, err
}
