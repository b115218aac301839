package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/freshet-go/freshet/server"
)

// flagOf names the flag that sets what a path of the configuration says.
var flagOf = map[string]string{"listen": "listen", "admin": "admin", "max_bytes": "max-bytes", "drain_timeout": "drain-timeout"}

// complain prints an error, one line for each that it joins. One about a value
// that came from a flag names the flag.
func (f *flags) complain(w io.Writer, err error) {
	var joined interface{ Unwrap() []error }
	var listening *server.ListenError
	var config *server.ConfigError
	switch {
	case errors.As(err, &joined):
		for _, e := range joined.Unwrap() {
			f.complain(w, e)
		}
	case errors.As(err, &listening):
		name := flagOf[listening.Key]
		fmt.Fprintf(w, "freshet: -%s %s: %v (choose another with -%s)\n", name, listening.Address, rootCause(listening.Err), name)
	case errors.As(err, &config) && f.decides(flagOf[config.Path]):
		fmt.Fprintf(w, "freshet: -%s %s\n", flagOf[config.Path], config.Reason)
	case errors.As(err, &config) && config.Line > 0:
		fmt.Fprintln(w, config) // file:line:column, for editors to jump to
	default:
		fmt.Fprintf(w, "freshet: %v\n", err)
	}
}

// decides reports whether a value comes from the flag of that name.
func (f *flags) decides(name string) bool {
	return name != "" && (f.configFile == "" || f.given[name])
}

// rootCause takes off "listen tcp 127.0.0.1:8080: bind:", said already.
func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
