package server

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"

	"github.com/freshet-go/freshet/cachefetch/upstream"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// A forwarder is one upstream with its pool of connections. It outlives the router
// that made it if the next one has the same settings.
type forwarder struct {
	config    Upstream // with defaults
	target    *url.URL
	transport *upstream.Transport
	proxy     *httputil.ReverseProxy
	failures  discreet.Throttle
	log       *slog.Logger

	active  atomic.Int64 // exchanges under way
	retired atomic.Bool
}

// newForwarder opens nothing yet. The configuration is valid.
func newForwarder(c Upstream, bufs *bufferPool, log *slog.Logger) (*forwarder, error) {
	target, err := CheckURL(c.URL)
	if err != nil {
		return nil, err
	}
	transport, err := upstream.New(c.transportOptions())
	if err != nil {
		return nil, err
	}
	u := &forwarder{
		config:    c,
		target:    target,
		transport: transport,
		log:       log.With("upstream", c.Name),
	}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		ModifyResponse: checkStatus,
		Transport:      u.transport,
		BufferPool:     bufs,
		ErrorHandler:   u.fail,
		ErrorLog:       discreet.Logger(u.log),
	}
	return u, nil
}

// ServeHTTP sends r upstream and the response to w.
func (u *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.active.Add(1)
	defer func() {
		if u.active.Add(-1) == 0 && u.retired.Load() {
			u.transport.CloseIdleConnections()
		}
	}()
	u.proxy.ServeHTTP(asSent{w}, r)
}

// retire closes the idle connections now, and those that are in use when the
// last exchange has ended: one that comes late would keep them open again.
func (u *forwarder) retire() {
	u.retired.Store(true)
	u.transport.CloseIdleConnections()
}
