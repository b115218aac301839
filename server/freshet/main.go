// Command freshet is a caching HTTP gateway.
//
//	freshet                                  the demo: a slow page made fast
//	freshet -upstream http://127.0.0.1:8000  a cache in front of one upstream
//	freshet -config freshet.yaml             upstreams and routes from a file
//
// With -config, SIGHUP reloads the file; all that come while it is being read
// are one more. SIGTERM and SIGINT let requests finish before the program ends,
// whatever it does meanwhile; a second one ends it at once. Exit codes are
// 0 after a clean end, 2 for bad flags or a bad file, 1 for all else.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/freshet-go/freshet/server"
	"github.com/freshet-go/freshet/server/freshet/internal/demo"
	"github.com/freshet-go/freshet/server/internal/discreet"
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
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	// The transports of net/http have no logger of their own.
	log.SetFlags(0)
	log.SetOutput(discreet.Logger(logger).Writer())

	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	hangups := make(chan struct{}, 1)
	go watch(signals, drain, hangups, logger, exit)

	read := func() (server.Config, error) { return f.config(getenv) }
	config, err := load(ctx, read, logger)
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		f.complain(stderr, err)
		return 2
	}
	opts := server.Options{Logger: logger, Version: version(), Debug: profiles(), LimitMemory: true}
	if f.isDemo() {
		return runDemo(ctx, f, config, opts, hangups, stdout, stderr)
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
	logListening(logger, s)
	return serve(ctx, s, hangups, logger, func() error {
		if f.configFile == "" {
			return errors.New("there is no -config to reload")
		}
		config, err := load(ctx, read, logger)
		if err != nil {
			s.ReloadFailed()
			return err
		}
		_, err = s.Reload(config)
		return err
	})
}

func runDemo(ctx context.Context, f *flags, config server.Config, opts server.Options, hangups <-chan struct{}, stdout, stderr io.Writer) int {
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
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go d.Report(ctx, stdout)
	return serve(ctx, s, hangups, opts.Logger, func() error { return errors.New("the demo has no -config to reload") })
}

// serve runs s until ctx ends.
func serve(ctx context.Context, s *server.Server, hangups <-chan struct{}, logger *slog.Logger, reload func() error) int {
	go reloads(ctx, hangups, reload, logger)
	if err := s.Serve(ctx); err != nil {
		logger.Error("ended", "error", err)
		return 1
	}
	return 0
}

func logListening(logger *slog.Logger, s *server.Server) {
	logger.Info("listening", "address", s.Addr())
	if s.AdminAddr() != nil {
		logger.Info("listening for the admin", "address", s.AdminAddr())
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
