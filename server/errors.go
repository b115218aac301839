package server

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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

// errorList collects the errors of one configuration.
type errorList struct {
	where places
	errs  []*ConfigError
}

// add reports a bad value. If the value itself is not in the file (one that is
// missing), the error points to what it is missing from.
func (l *errorList) add(path, format string, args ...any) {
	e := &ConfigError{Path: path, Reason: fmt.Sprintf(format, args...)}
	if l.where.at != nil {
		e.File = l.where.file
		p, ok := l.where.at[path]
		for up := path; !ok && up != ""; {
			up = parentPath(up)
			p, ok = l.where.at[up]
		}
		e.Line, e.Column = max(p.line, 1), max(p.column, 1)
	}
	l.errs = append(l.errs, e)
}

// err joins what was added, in the order of the file.
func (l *errorList) err() error {
	slices.SortStableFunc(l.errs, func(a, b *ConfigError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(l.errs))
	for i, e := range l.errs {
		errs[i] = e
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
