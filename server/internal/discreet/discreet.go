// Package discreet prints what comes from others: without the secrets of a
// URL, without bytes of a client or an upstream, and not more often than
// someone can read it.
package discreet

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// hidden stands where something was left out.
const hidden = "xxxxx"

// maxText bounds what is printed of one text, in bytes.
const maxText = 1 << 10

// URL returns text, which may be a URL, without its user information, query
// and fragment. Errors print what is not a URL after all, so the text is not
// parsed: a password with a slash in it would end as part of a path. Where an
// @ is, all in front of it is hidden.
func URL(text string) string {
	scheme, rest := "", text
	if before, after, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(before, "@?#/:") {
		scheme, rest = before+"://", after
	}
	query := strings.IndexAny(rest, "?#")
	switch at := strings.LastIndexByte(rest, '@'); {
	case at >= 0 && query >= 0 && query < at:
		rest = hidden // the @ may be in a query, or the ? in a password
	case query >= 0:
		rest = rest[:query+1] + hidden
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = hidden + rest[at:]
	}
	return clip(scheme + rest)
}

// links matches URLs inside of a text, up to what surely ends them.
var links = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"]+`)

// Text returns text with each URL in it as [URL] prints it.
func Text(text string) string {
	if !strings.Contains(text, "://") {
		return clip(text)
	}
	return clip(links.ReplaceAllStringFunc(text, URL))
}

// quoted matches what strconv.Quote makes.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Foreign returns the first line of a text of net/http without the strings
// that it quotes: those are what the other side has sent.
func Foreign(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return Text(quoted.ReplaceAllLiteralString(text, `"..."`))
}

// Error is Foreign for the text of an error, which may be nil.
func Error(err error) string {
	if err == nil {
		return ""
	}
	return Foreign(err.Error())
}

// clip shortens text to about maxText, between characters. It keeps the end:
// that is where errors say why.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	head, tail := 3*maxText/4, len(text)-maxText/4
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + "..." + text[tail:]
}
