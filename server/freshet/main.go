// Command freshet is a caching HTTP gateway.
//
//	freshet                                  the demo: a slow page made fast
//	freshet -upstream http://127.0.0.1:8000  a cache in front of one upstream
//	freshet -config freshet.yaml             upstreams and routes from a file
//
// With -config, SIGHUP reloads the file. SIGTERM and SIGINT let requests
// finish before the program ends; a second one ends it at once. Exit codes are
// 0 after a clean end, 2 for bad flags or a bad file, 1 for all else.
package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/freshet-go/freshet/server"
	"github.com/freshet-go/freshet/server/freshet/internal/demo"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	os.Exit(run(os.Args[1:], os.Getenv, signals, os.Stdout, os.Stderr, os.Exit))
}

// run is the program with its surroundings as arguments. exit ends the process
// on a second signal.
func run(args []string, getenv func(string) string, signals <-chan os.Signal, stdout, stderr io.Writer, exit func(int)) int {
	f, code, done := parseFlags(args, stdout, stderr)
	if done {
		return code
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	config, err := f.config(getenv)
	if err != nil {
		f.complain(stderr, err)
		return 2
	}
	opts := server.Options{Logger: log, Version: version(), Debug: profiles(), LimitMemory: true}
	if f.isDemo() {
		return runDemo(f, config, opts, signals, stdout, stderr, exit)
	}
	s, err := server.New(config, opts)
	if err != nil {
		f.complain(stderr, err)
		return 2
	}
	if err := s.Listen(); err != nil {
		f.complain(stderr, err)
		return 1
	}
	logListening(log, s)
	reload := func() error {
		if f.configFile == "" {
			return errors.New("there is no -config to reload")
		}
		config, err := f.config(getenv)
		if err == nil {
			_, err = s.Reload(config)
		}
		return err
	}
	return serve(s, signals, reload, log, exit)
}

func runDemo(f *flags, config server.Config, opts server.Options, signals <-chan os.Signal, stdout, stderr io.Writer, exit func(int)) int {
	d, err := demo.New()
	if err != nil {
		f.complain(stderr, err)
		return 1
	}
	defer d.Close()
	opts.Handler, opts.Metrics = d.Handler, d.Metrics()
	s, err := server.New(config, opts)
	if err != nil {
		f.complain(stderr, err)
		return 2
	}
	if err := s.Listen(); err != nil {
		f.complain(stderr, err)
		return 1
	}
	admin := ""
	if s.AdminAddr() != nil {
		admin = s.AdminAddr().String()
	}
	d.Describe(stdout, s.Addr().String(), admin)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go d.Report(ctx, stdout)
	reload := func() error { return errors.New("the demo has no -config to reload") }
	return serve(s, signals, reload, opts.Logger, exit)
}

// serve runs s until a signal ends it.
func serve(s *server.Server, signals <-chan os.Signal, reload func() error, log *slog.Logger, exit func(int)) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go watch(signals, stop, reload, log, exit)
	if err := s.Serve(ctx); err != nil {
		log.Error("ended", "error", err)
		return 1
	}
	return 0
}

// watch acts on signals: the first to end drains, the second ends at once.
func watch(signals <-chan os.Signal, drain func(), reload func() error, log *slog.Logger, exit func(int)) {
	ending := false
	for sig := range signals {
		switch {
		case sig == syscall.SIGHUP:
			if err := reload(); err != nil {
				log.Error("reload failed, the configuration before stays in use", "error", err)
			} else {
				log.Info("reloaded")
			}
		case ending:
			log.Error("second signal, ending at once", "signal", sig)
			exit(1)
		default:
			ending = true
			log.Info("ending after requests under way", "signal", sig)
			drain()
		}
	}
}

func logListening(log *slog.Logger, s *server.Server) {
	log.Info("listening", "address", s.Addr())
	if s.AdminAddr() != nil {
		log.Info("listening for the admin", "address", s.AdminAddr())
	}
}

// profiles serves /debug/pprof/. Importing net/http/pprof also registers it on
// http.DefaultServeMux, which this program serves nowhere.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// version is that of the module, "(devel)" in a checkout.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
