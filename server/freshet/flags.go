package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/freshet-go/freshet/server"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// tokenVariable is the environment variable with the admin token. The one in a
// configuration file comes first.
const tokenVariable = "FRESHET_ADMIN_TOKEN"

// flags are the command line. Those in given were set, and come before the
// configuration file.
type flags struct {
	upstream, configFile, listen, admin string
	maxBytes                            size
	drainTimeout                        time.Duration

	given map[string]bool
}

// size is a flag.Value in bytes.
type size int64

func (s *size) String() string {
	for _, u := range []struct {
		suffix string
		bytes  size
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if *s >= u.bytes && *s%u.bytes == 0 {
			return fmt.Sprintf("%d%s", *s/u.bytes, u.suffix)
		}
	}
	return fmt.Sprint(int64(*s))
}

func (s *size) Set(text string) error {
	n, err := server.ParseSize(text)
	if err == nil && n == 0 {
		err = errors.New("must be more than 0")
	}
	*s = size(n)
	return err
}

const usage = `usage: freshet                                     a demo: a slow page made fast
       freshet -upstream URL [flags]               a cache in front of one upstream
       freshet -config FILE [flags]                upstreams and routes from a file

`

// parseFlags reads the command line. If done, the program ends with code.
func parseFlags(args []string, stdout, stderr io.Writer) (f *flags, code int, done bool) {
	f = &flags{maxBytes: 256 << 20, given: make(map[string]bool)}
	fs := flag.NewFlagSet("freshet", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed here, in one line
	fs.StringVar(&f.upstream, "upstream", "", "`URL` of the upstream, such as http://127.0.0.1:8000")
	fs.StringVar(&f.configFile, "config", "", "configuration `file` in YAML; SIGHUP reloads it")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	fs.StringVar(&f.admin, "admin", "127.0.0.1:9090", "`address` of /metrics, /healthz, /readyz, /api/purge and /debug/pprof/, or \"off\";\nbeyond loopback it needs a token in $"+tokenVariable)
	fs.Var(&f.maxBytes, "max-bytes", "`size` of the cache, such as 256MiB or 2GB")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", 30*time.Second, "how long requests may take to finish after SIGTERM")
	showVersion := fs.Bool("version", false, "print the version and end")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return nil, 0, true
	} else if err != nil {
		fmt.Fprintf(stderr, "freshet: %v\n", err)
		return nil, 2, true
	}
	fs.Visit(func(fl *flag.Flag) { f.given[fl.Name] = true })
	if err := f.check(fs.Args()); err != nil {
		fmt.Fprintf(stderr, "freshet: %v\n", err)
		return nil, 2, true
	}
	if *showVersion {
		fmt.Fprintf(stdout, "freshet %s\n", version())
		return nil, 0, true
	}
	return f, 0, false
}

func (f *flags) check(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", discreet.URL(args[0]))
	case f.given["upstream"] && f.given["config"]:
		return fmt.Errorf("-upstream %q and -config %q exclude each other", discreet.URL(f.upstream), f.configFile)
	case f.given["config"] && f.configFile == "":
		return errors.New(`-config "": is not a file name`)
	case f.drainTimeout <= 0:
		return fmt.Errorf("-drain-timeout %v: must be positive", f.drainTimeout)
	}
	if f.given["upstream"] {
		if _, err := server.CheckURL(f.upstream); err != nil {
			return fmt.Errorf("-upstream %w", err)
		}
	}
	return nil
}

// isDemo reports whether there is nothing to be a gateway for.
func (f *flags) isDemo() bool { return f.upstream == "" && f.configFile == "" }

// config returns what the flags, the file and the environment make together.
func (f *flags) config(getenv func(string) string) (server.Config, error) {
	var c server.Config
	switch {
	case f.configFile != "":
		var err error
		if c, err = server.Load(f.configFile); err != nil {
			return c, err
		}
	case f.upstream != "":
		c.Upstreams = []server.Upstream{{Name: "upstream", URL: f.upstream}}
		c.Routes = []server.Route{{Pattern: "/*", Upstream: "upstream"}}
	}
	// Without a file all flags count, else those that were given.
	if f.decides("listen") {
		c.Listen = f.listen
	}
	if f.decides("admin") {
		c.Admin = f.admin
	}
	if f.decides("max-bytes") {
		c.MaxBytes = int64(f.maxBytes)
	}
	if f.decides("drain-timeout") {
		c.DrainTimeout = f.drainTimeout
	}
	if c.AdminToken == "" {
		c.AdminToken = getenv(tokenVariable)
	}
	return c, nil
}
