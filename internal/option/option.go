// Package option has the one error that bad options are, whatever they are
// options of. The public packages give it the name OptionError.
package option

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// An Error says what is wrong with one field of some options. It is a value,
// so that who reads options from somewhere else, under other names, can say so
// in the words of that place.
type Error struct {
	Of     string   // the options, such as "cachefetch: Options"
	Field  string   // its path among them, such as "TTL" or "Query.Ignore"
	Value  any      // what it is
	Reason string   // what is wrong with it; other fields stand in braces, such as {TTL}
	Refers []string // those fields
}

// Error returns "package: Options.Field: value: reason".
func (e *Error) Error() string {
	return fmt.Sprintf("%s.%s: %s: %s", e.Of, e.Field, e.Given(), e.Because(func(field string) string { return field }))
}

// Given returns the value as text, in quotes if it is a string.
func (e *Error) Given() string {
	if s, ok := e.Value.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(e.Value)
}

// Because returns the reason, in which other fields are called what name says.
func (e *Error) Because(name func(field string) string) string {
	reason := e.Reason
	for _, field := range e.Refers {
		reason = strings.ReplaceAll(reason, "{"+field+"}", name(field))
	}
	return reason
}

// Set is the value of what is better not printed.
const Set = word("set")

type word string

// Errors collects what is wrong with some options.
type Errors struct {
	of   string
	errs []error
}

// Of returns an empty collection for some options, such as
// "cachefetch: Options".
func Of(of string) *Errors { return &Errors{of: of} }

// Add adds an error. See [Error] for what it consists of.
func (l *Errors) Add(field string, value any, reason string, refers ...string) {
	l.errs = append(l.errs, &Error{Of: l.of, Field: field, Value: value, Reason: reason, Refers: refers})
}

// Err returns all errors joined, each an [*Error], nil if there are none.
func (l *Errors) Err() error { return errors.Join(l.errs...) }

// A Number is an option that has an order and a zero.
type Number interface {
	~int | ~int64 | ~float64
}

// Default adds an error if v is negative, and makes it zero's if it is zero.
func Default[T Number](l *Errors, field string, v *T, zero T) {
	NotNegative(l, field, *v)
	*v = cmp.Or(*v, zero)
}

// NotNegative adds an error if v is negative.
func NotNegative[T Number](l *Errors, field string, v T) {
	if v < 0 {
		l.Add(field, v, "must not be negative")
	}
}
