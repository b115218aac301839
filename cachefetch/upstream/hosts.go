package upstream

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
//
// Net/http drops nothing of a host until it keeps a connection to it. So hosts
// counts those that no connection was kept to, and calls full when there are
// too many: then it is time for another pool.
type hosts struct {
	config limit.Config
	full   func()

	mu     sync.Mutex
	byName map[hostName]*host    // guarded by mu
	unkept map[hostName]struct{} // guarded by mu; at most maxUnkept
}

// maxUnkept is how many hosts net/http may remember in vain, at about 600 bytes
// each (Go 1.26 and 1.27).
const maxUnkept = 1000

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
// which is done once: whether a connection to the host was kept.
func (h *hosts) acquire(ctx context.Context, u *url.URL) (release func(kept bool), err error) {
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
	return func(kept bool) {
		one.Release()
		h.leave(name, one)
		h.note(name, kept)
	}, nil
}

func (h *hosts) leave(name hostName, one *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(h.byName, name)
	}
}

// note remembers what net/http remembers of a host.
func (h *hosts) note(name hostName, kept bool) {
	h.mu.Lock()
	if kept {
		delete(h.unkept, name)
	} else {
		h.unkept[name] = struct{}{}
	}
	full := len(h.unkept) >= maxUnkept
	if full {
		clear(h.unkept)
	}
	h.mu.Unlock()
	if full {
		h.full()
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
