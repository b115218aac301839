package cachefetch

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/freshet-go/freshet/internal/limit"
)

// hosts has a limiter for each host that requests are under way to. One that
// nobody uses is dropped, so that a caller who asks many hosts does not fill
// the memory: what is held is bounded by what is in flight.
type hosts struct {
	config limit.Config

	mu     sync.Mutex
	byName map[hostName]*host // guarded by mu
}

// hostName is what net/http pools connections by, apart from proxies.
type hostName struct{ scheme, host string }

type host struct {
	*limit.Limiter
	users int // guarded by hosts.mu; in flight or in the queue
}

func nameOf(u *url.URL) hostName {
	n := hostName{scheme: u.Scheme, host: strings.ToLower(u.Host)}
	switch u.Scheme {
	case "http":
		n.host = strings.TrimSuffix(n.host, ":80")
	case "https":
		n.host = strings.TrimSuffix(n.host, ":443")
	}
	return n
}

// acquire takes a place for a request to u, and returns how to give it back,
// which is done once.
func (h *hosts) acquire(ctx context.Context, u *url.URL) (release func(), err error) {
	name := nameOf(u)
	h.mu.Lock()
	one := h.byName[name]
	if one == nil {
		one = &host{Limiter: limit.New(h.config)}
		h.byName[name] = one
	}
	one.users++
	h.mu.Unlock()
	if err := one.Acquire(ctx); err != nil {
		h.leave(name, one)
		return nil, err
	}
	return func() {
		one.Release()
		h.leave(name, one)
	}, nil
}

func (h *hosts) leave(name hostName, one *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(h.byName, name)
	}
}

// count returns how many requests are in flight and in queues, to all hosts.
func (h *hosts) count() (inFlight, queued int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.byName {
		inFlight += one.InFlight()
		queued += one.Queued()
	}
	return inFlight, queued
}
