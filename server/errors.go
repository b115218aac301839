package server

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-go/freshet/server/internal/discreet"
)

// A ConfigError is one thing wrong with a configuration. [Parse], [Config.Validate]
// and [Server.Reload] return all of them, joined; errors.As finds the first.
type ConfigError struct {
	// File, Line and Column say where the bad value is, counted from 1. All
	// are zero in a Config that was not read from a file.
	File         string
	Line, Column int

	// Path names the value: routes[0].policy.ttl.
	Path string

	// Reason says what is wrong, with the offending value.
	Reason string
}

// Error returns "file:line:column: path: reason", or "server: path: reason"
// for a Config that was not read from a file.
func (e *ConfigError) Error() string {
	where := "server"
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Path == "" {
		return where + ": " + e.Reason
	}
	return where + ": " + e.Path + ": " + e.Reason
}

// place is a position in a configuration file, counted from 1.
type place struct{ line, column int }

// places maps the paths of a Config to where they stand in its file.
type places struct {
	file string
	at   map[string]place // never written to after Parse has returned
}

// maxErrors bounds how many errors are told of one configuration.
const maxErrors = 100

// errorList collects the errors of one configuration.
type errorList struct {
	where places
	errs  []*ConfigError
	more  bool // there were more than maxErrors
}

// add reports a bad value. If the value itself is not in the file (one that is
// missing), the error points to what it is missing from.
func (l *errorList) add(path, format string, args ...any) {
	if len(l.errs) == maxErrors {
		l.more = true
		return
	}
	p, ok := l.where.at[path]
	for up := path; !ok && up != ""; {
		up = parentPath(up)
		p, ok = l.where.at[up]
	}
	l.addAt(p, path, format, args...)
}

// addAt is add for what has a place of its own, the zero one if that is the
// whole file. Values are quoted in reasons, and a key in the wrong place ends
// up in a path, so secrets of URLs are taken out here.
func (l *errorList) addAt(p place, path, format string, args ...any) {
	if len(l.errs) == maxErrors {
		l.more = true
		return
	}
	e := &ConfigError{Path: discreet.Text(path), Reason: discreet.Text(fmt.Sprintf(format, args...))}
	if l.where.at != nil {
		e.File, e.Line, e.Column = l.where.file, max(p.line, 1), max(p.column, 1)
	}
	l.errs = append(l.errs, e)
}

// err joins what was added, in the order of the file.
func (l *errorList) err() error {
	slices.SortStableFunc(l.errs, func(a, b *ConfigError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(l.errs), len(l.errs)+1)
	for i, e := range l.errs {
		errs[i] = e
	}
	if l.more {
		errs = append(errs, fmt.Errorf("server: more than %d errors, the others are not told", maxErrors))
	}
	return errors.Join(errs...)
}

// parentPath returns what holds path: a.b of a.b[0] and of a.b.c, "" of a.
func parentPath(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}
