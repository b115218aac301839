package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// maxPurgeBody is the largest request body of /api/purge.
const maxPurgeBody = 64 << 10

// A purgeRequest is what /api/purge is asked for: one of URL, Tag, Prefix and
// All.
type purgeRequest struct {
	URL    string `json:"url,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	All    bool   `json:"all,omitempty"`
	Soft   bool   `json:"soft"`
}

// A fieldError says which field of a request is wrong.
type fieldError struct {
	Field string `json:"field"` // empty if it is the whole
	Why   string `json:"error"`
}

func (e *fieldError) Error() string {
	if e.Field == "" {
		return e.Why
	}
	return e.Field + ": " + e.Why
}

// parsePurge reads the body of /api/purge, strictly: an operator who has
// misspelt "soft" or named two things must learn of it.
func parsePurge(body []byte) (p purgeRequest, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return p, &fieldError{Why: "the body must be a JSON object"}
	}
	fields := map[string]any{"url": &p.URL, "tag": &p.Tag, "prefix": &p.Prefix, "all": &p.All, "soft": &p.Soft}
	var chosen string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return p, &fieldError{Why: "not JSON: " + err.Error()}
		}
		name, _ := t.(string)
		into := fields[name]
		switch {
		case into == nil && isPurgeField(name):
			return p, &fieldError{name, "given twice"}
		case into == nil:
			return p, &fieldError{name, `unknown; use "url", "tag", "prefix" or "all", and "soft"`}
		case name != "soft" && chosen != "":
			return p, &fieldError{name, fmt.Sprintf("cannot be combined with %q", chosen)}
		case name != "soft":
			chosen = name
		}
		if err := decodePurgeField(d, name, into); err != nil {
			return p, err
		}
		delete(fields, name)
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return p, &fieldError{Why: "not JSON: " + err.Error()}
	}
	if _, err := d.Token(); err != io.EOF {
		return p, &fieldError{Why: "something follows the JSON object"}
	}
	if chosen == "" {
		return p, &fieldError{Why: `one of "url", "tag", "prefix" and "all" is needed`}
	}
	return p, nil
}

func isPurgeField(name string) bool {
	switch name {
	case "url", "tag", "prefix", "all", "soft":
		return true
	}
	return false
}

// decodePurgeField reads the value of a field into a *string or *bool.
func decodePurgeField(d *json.Decoder, name string, into any) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return &fieldError{name, "not JSON: " + err.Error()}
	}
	want := "true or false"
	text, isText := into.(*string)
	if isText {
		want = "a string that is not empty"
	}
	err := json.Unmarshal(raw, into)
	switch flag, _ := into.(*bool); {
	case err != nil, string(raw) == "null", isText && *text == "":
		return &fieldError{name, "must be " + want}
	case name == "all" && !*flag:
		return &fieldError{name, "must be true, or left out"}
	}
	return nil
}

// servePurge answers POST /api/purge. The same Purge methods are the Go API.
func (s *Server) servePurge(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurgeBody))
	if err != nil {
		sayJSON(w, http.StatusBadRequest, &fieldError{Why: fmt.Sprintf("the body could not be read, or is larger than %d bytes", maxPurgeBody)})
		return
	}
	p, err := parsePurge(body)
	if err == nil {
		err = s.purge(r.Context(), p)
	}
	var wrong *fieldError
	switch {
	case errors.As(err, &wrong):
		sayJSON(w, http.StatusBadRequest, wrong)
	case err != nil:
		sayJSON(w, http.StatusServiceUnavailable, &fieldError{Why: err.Error()})
	default:
		s.log.Info("purged", "url", discreet.URL(p.URL), "tag", p.Tag, "prefix", discreet.URL(p.Prefix), "all", p.All, "soft", p.Soft)
		sayJSON(w, http.StatusOK, map[string]purgeRequest{"purged": p})
	}
}

// purge does what p says. What the cache finds wrong is an error of the field.
func (s *Server) purge(ctx context.Context, p purgeRequest) error {
	mode := cachemw.Hard
	if p.Soft {
		mode = cachemw.Soft
	}
	var field string
	var err error
	switch {
	case p.URL != "":
		field, err = "url", s.cache.PurgeURL(ctx, p.URL, mode)
	case p.Prefix != "":
		field, err = "prefix", s.cache.PurgePrefix(ctx, p.Prefix, mode)
	case p.Tag != "":
		field, err = "tag", s.cache.PurgeTag(ctx, p.Tag, mode)
	default:
		err = s.cache.Flush(ctx, mode)
	}
	if err == nil || errors.Is(err, cachemw.ErrClosed) {
		return err
	}
	return &fieldError{field, discreet.Text(err.Error())}
}

func sayJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
