// Package server is the Freshet gateway as a library: upstreams and routes
// from a [Config], one cache in front of them, an admin listener beside them,
// reload and graceful shutdown. The command in server/freshet is a thin layer
// of flags and signals around it:
//
//	config, err := server.Load("freshet.yaml")
//	...
//	s, err := server.New(config, server.Options{})
//	...
//	if err := s.Listen(); err != nil { ... }
//	err = s.Serve(ctx) // until ctx ends, then drains
//
// What the cache may not or cannot store passes through as it came: every
// method but CONNECT, 1xx responses, trailers, upgrades, bodies of any length.
package server

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// Options are what a [Server] needs beside its [Config]. The zero value works.
type Options struct {
	// Logger gets what the server has to say. Nil means slog.Default().
	Logger *slog.Logger

	// Version is shown in the metric freshet_build_info. It may be empty.
	Version string

	// Debug serves /debug/ on the admin listener, guarded like the rest of
	// it. Nil means that there is nothing there. The command mounts
	// net/http/pprof; this package does not import it, because that would
	// add profiles to http.DefaultServeMux of every program that imports
	// this one.
	Debug http.Handler

	// LimitMemory is that of the cache's options.
	LimitMemory bool

	// Metrics are written on /metrics too: of transports, limiters and caches
	// that Handler uses.
	Metrics []cachefetch.MetricsSource

	// Handler, if set, makes what the main listener serves in place of
	// Config.Routes, which are ignored then. The cache is the server's, and
	// closed by it.
	Handler func(*cachemw.Cache) (http.Handler, error)
}

// A Server is a gateway with its cache, its two listeners and their life: New,
// Listen, Serve. Handler, AdminHandler, Cache, Reload and Close may be called
// concurrently with everything else.
type Server struct {
	opts    Options
	config  Config // with defaults, as started
	log     *slog.Logger
	cache   *cachemw.Cache
	gateway *gateway // nil if Options.Handler is set
	main    *http.Server
	admin   *http.Server // nil if there is none

	connections *connections // of main

	started time.Time

	// Set by Listen, before Serve.
	mainListener, adminListener net.Listener

	state                   atomic.Int32
	reloads, reloadFailures atomic.Uint64
}

const (
	stateStarting int32 = iota
	stateServing
	stateDraining
)

// ErrNoRoutes is returned by [Server.Reload] on a server whose main handler is
// Options.Handler.
var ErrNoRoutes = errors.New("server: has no routes to reload")

// New checks c and makes a server of it that listens nowhere yet. It must be
// ended by Serve or Close.
func New(c Config, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{opts: o, config: c.withDefaults(), log: o.Logger, started: time.Now()}
	if err := s.check(c); err != nil {
		return nil, err
	}
	cache, err := cachemw.New(cachemw.Options{
		MaxBytes:       s.config.MaxBytes,
		LimitMemory:    o.LimitMemory,
		Name:           s.config.Name,
		RefreshWorkers: s.config.RefreshWorkers,
		Logger:         o.Logger,
	})
	if err != nil {
		return nil, c.cacheError(err)
	}
	s.cache = cache
	handler, err := s.mainHandler(c)
	if err != nil {
		_ = cache.Close()
		return nil, err
	}
	s.connections = newConnections(s.config.MaxConnections, s.config.MaxConnectionsPerAddress)
	s.main = s.httpServer(s.connections.handler(handler))
	s.main.ConnContext = s.connections.accept
	s.main.ConnState = func(c net.Conn, state http.ConnState) {
		connState(c, state)
		s.connections.state(c, state)
	}
	if c.H2C {
		s.main.Protocols = new(http.Protocols)
		s.main.Protocols.SetHTTP1(true)
		s.main.Protocols.SetUnencryptedHTTP2(true)
	}
	if s.config.Admin != adminOff {
		s.admin = s.httpServer(s.adminHandler())
	}
	return s, nil
}

// check validates what can be without a cache.
func (s *Server) check(c Config) error {
	if s.opts.Handler == nil {
		if err := c.Validate(); err != nil {
			return err
		}
	} else {
		l := &errorList{where: c.where}
		c.validateListeners(l)
		if err := l.err(); err != nil {
			return err
		}
	}
	return c.validateExposure()
}

func (s *Server) mainHandler(c Config) (http.Handler, error) {
	if s.opts.Handler != nil {
		return s.opts.Handler(s.cache)
	}
	s.gateway = &gateway{cache: s.cache, log: s.log}
	return s.gateway, s.gateway.apply(c)
}

// httpServer has no limit on the time a whole request or response may take,
// since bodies may be long. One that is slow to begin is cut off.
func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           &guard{h, s.config.MaxHeaderFields},
		ConnState:         connState,
		ReadHeaderTimeout: s.config.ReadHeaderTimeout,
		IdleTimeout:       s.config.IdleTimeout,
		MaxHeaderBytes:    s.config.MaxHeaderBytes,
		ErrorLog:          discreet.Logger(s.log),
	}
}

// follow makes a listener one whose connections' framing is followed.
func (s *Server) follow(ln net.Listener, h2c bool) net.Listener {
	return wireListener{ln, s.config.MaxHeaderFields, h2c}
}

// Handler returns what the main listener serves, for use under another
// server. Call Close when it is no longer used. What only the bytes of a
// request show is up to that server: two lengths, and a header's fields before
// all of them are read. So is the number of connections.
func (s *Server) Handler() http.Handler { return s.main.Handler }

// AdminHandler returns what the admin listener serves, nil if Config.Admin is
// "off".
func (s *Server) AdminHandler() http.Handler {
	if s.admin == nil {
		return nil
	}
	return s.admin.Handler
}

// Cache returns the server's cache, which Serve and Close close.
func (s *Server) Cache() *cachemw.Cache { return s.cache }

// ReloadFailed counts a reload that has failed before there was a Config for
// Reload: a file that cannot be read, or is no configuration.
func (s *Server) ReloadFailed() { s.reloadFailures.Add(1) }

// Reload puts the upstreams and routes of c in place of the ones before. No
// request is dropped: those under way finish on the old routes. The cache
// keeps what it holds. If c is not valid, Reload returns all its errors and
// changes nothing.
//
// Everything but upstreams and routes needs a restart. The names of such
// settings that differ are returned, and logged; the rest is applied.
func (s *Server) Reload(c Config) (restart []string, err error) {
	if s.gateway == nil {
		return nil, ErrNoRoutes
	}
	if err := s.gateway.apply(c); err != nil {
		s.reloadFailures.Add(1)
		return nil, err
	}
	s.reloads.Add(1)
	restart = restartKeys(s.config, c)
	if len(restart) > 0 {
		s.log.Warn("changes that take effect after a restart only", "keys", restart)
	}
	return restart, nil
}
