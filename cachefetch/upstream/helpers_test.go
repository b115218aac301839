package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/internal/pipetest"
)

// withServer runs f in a bubble, with a Transport to a server of h.
func withServer(t *testing.T, o Options, h http.HandlerFunc, f func(t *testing.T, tr *Transport)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := pipetest.New()
		srv := &http.Server{Handler: h}
		go srv.Serve(network)
		o.DialContext = network.Dial
		tr := newTestTransport(t, o)
		f(t, tr)
		tr.Close()
		srv.Close()
	})
}

func newTestTransport(t testing.TB, o Options) *Transport {
	t.Helper()
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// get asks for a URL and reads the answer.
func get(ctx context.Context, tr http.RoundTripper, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// wait blocks a handler for d, or until its client has left.
func wait(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// wantRefused checks that err is a RefusedError with the reason.
func wantRefused(t *testing.T, err error, reason string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, ErrRefused) {
		t.Fatalf("got %v, want it refused: %s", err, reason)
	}
	if refused.Reason != reason || refused.RetryAfter < time.Second || refused.Host == "" {
		t.Errorf("got %+v, want reason %q", refused, reason)
	}
}

// wantError checks the phase and the cause of a failure.
func wantError(t *testing.T, err error, phase string, cause error) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %v (%T), want an Error", err, err)
	}
	if failed.Phase != phase || cause != nil && !errors.Is(err, cause) {
		t.Errorf("got %v, want phase %q and cause %v", err, phase, cause)
	}
	return failed
}
