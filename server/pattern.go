package server

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/go-chi/chi/v5"
)

// maxProgram bounds what the regular expressions of all routes are compiled
// to, in instructions, of 300 bytes at most. {id:a{1000}} has two thousand,
// {id:[0-9]+} has two.
const maxProgram = 1 << 18

// checkPattern asks chi, which panics on patterns it cannot route.
func checkPattern(pattern string) (err error) {
	if pattern == "" {
		return errors.New("is required, such as /products/{id} or /*")
	}
	// chi would take what stands before a space for a method.
	if pattern[0] != '/' || strings.ContainsAny(pattern, " \t") {
		return errors.New("must begin with a slash and hold no spaces")
	}
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(strings.TrimPrefix(fmt.Sprint(p), "chi: "))
		}
	}()
	chi.NewRouter().Handle(pattern, http.NotFoundHandler())
	return nil
}

// parameter matches a parameter of a pattern. A regular expression in it may
// hold braces of its own, one level deep.
var parameter = regexp.MustCompile(`\{[^{}:]*((?::(?:[^{}]|\{[^{}]*\})*)?)\}`)

// anonymous removes the names of parameters: /a/{id} and /a/{name} match the
// same requests.
func anonymous(pattern string) string {
	return parameter.ReplaceAllString(pattern, "{$1}")
}

// programSize returns about how many instructions chi would compile the
// regular expressions of a pattern to, without doing so. It finds them as chi
// does, by the closing brace of each parameter.
func programSize(pattern string) (size int) {
	depth, start := 0, 0
	for i := range len(pattern) {
		switch pattern[i] {
		case '{':
			if depth++; depth == 1 {
				start = i + 1
			}
		case '}':
			if depth--; depth == 0 {
				_, expression, _ := strings.Cut(pattern[start:i], ":")
				// What does not parse, chi does not compile.
				if re, err := syntax.Parse(expression, syntax.Perl); err == nil {
					size += expressionSize(re)
				}
			}
			depth = max(depth, 0)
		}
	}
	return size
}

func expressionSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/16 // a class is one instruction and a table
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	for _, sub := range re.Sub {
		size += expressionSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

func badPrefix(prefix, pattern string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-._~"
	switch {
	case prefix == "":
		return ""
	case prefix[0] != '/' || prefix[len(prefix)-1] == '/':
		return "must begin with a slash and not end with one"
	case strings.Trim(prefix, plain) != "":
		return "may hold only letters, digits, slashes and -._~"
	case pattern != prefix && !strings.HasPrefix(pattern, prefix+"/"):
		return fmt.Sprintf("the pattern %q does not begin with it", pattern)
	}
	return ""
}
