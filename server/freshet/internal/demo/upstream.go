package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// spec describes an upstream.
type spec struct {
	name  string
	delay time.Duration
	body  func(id string) any
}

var specs = []spec{
	{"user", 300 * time.Millisecond, func(id string) any {
		return map[string]any{"id": id, "name": "User " + id, "plan": "standard"}
	}},
	{"preferences", 400 * time.Millisecond, func(id string) any {
		return map[string]any{"user": id, "language": "en", "theme": "dark", "items_per_page": 20}
	}},
	{"content", 200 * time.Millisecond, func(id string) any {
		items := make([]string, 5)
		for i := range items {
			items[i] = fmt.Sprintf("item %d for page %s", i+1, id)
		}
		return map[string]any{"page": id, "items": items}
	}},
}

// A slowServer is an upstream, slow like a real one: it waits, it does not
// compute.
type slowServer struct {
	spec
	listener net.Listener
	server   *http.Server
	requests atomic.Uint64
}

func startUpstream(s spec) (*slowServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &slowServer{spec: s, listener: ln}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{id}", u.serve)
	u.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() { _ = u.server.Serve(ln) }()
	return u, nil
}

func (u *slowServer) serve(w http.ResponseWriter, r *http.Request) {
	u.requests.Add(1)
	delay := time.NewTimer(u.delay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(u.body(r.PathValue("id")))
}

func (u *slowServer) addr() string { return u.listener.Addr().String() }

func (u *slowServer) close() error {
	err := u.server.Close()
	if e := u.listener.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}
