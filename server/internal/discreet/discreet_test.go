package discreet

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestURL(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := URL(text); got != want {
			t.Errorf("URL(%q) = %q, want %q", text, got, want)
		}
		if again := URL(want); again != want {
			t.Errorf("URL(%q) = %q, want it as it is", want, again)
		}
	}
	f("", "")
	f("http://host:80/path", "http://host:80/path")
	f("https://[::1]/a/b", "https://[::1]/a/b")
	f("host:80", "host:80")
	f("http://me:hush@host/path", "http://xxxxx@host/path")
	f("http://hush@host", "http://xxxxx@host")
	f("http://host/path?token=hush", "http://host/path?xxxxx")
	f("http://host/path#hush", "http://host/path#xxxxx")
	f("http://me:hush@host/path?token=hush#hush", "http://xxxxx@host/path?xxxxx")
	// Not what their authors took them for.
	f("me:hush@host", "xxxxx@host")
	f("http:me:hush@host", "xxxxx@host")
	f("http:/me:hush@host", "xxxxx@host")
	f("//me:hush@host", "xxxxx@host")
	f("me:hush://me@host", "xxxxx@host")
	f("http://me:hu/sh@host", "http://xxxxx@host")
	f("http://me:hu@sh@host", "http://xxxxx@host")
	f("http://me:hu?sh@host", "http://xxxxx")
	f("http://me:hu#sh@host", "http://xxxxx")
	f("http://host/?hu=s@h", "http://xxxxx")
	f("http://me:hush\n@host", "http://xxxxx@host")
}

func TestText(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := Text(text); got != want {
			t.Errorf("Text(%q) = %q, want %q", text, got, want)
		}
	}
	f("", "")
	f("no such upstream: a@b?c", "no such upstream: a@b?c")
	f(`from http://me:hush@a/?b to "https://hush@c", twice`, `from http://xxxxx@a/?xxxxx to "https://xxxxx@c", twice`)
	f("upstreams.http://me:hush@a.url: bad", "upstreams.http://xxxxx@a.url: bad")
}

func TestForeignKeepsNothingThatIsQuoted(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := Foreign(text); got != want {
			t.Errorf("Foreign(%q) = %q, want %q", text, got, want)
		}
	}
	f(`malformed HTTP response "hush"`, `malformed HTTP response "..."`)
	f(`got ["hu\"sh" "hush\\"], want less`, `got ["..." "..."], want less`)
	f("net/http: HTTP/1.x transport connection broken: malformed MIME header line: \"hush: \\\"\"", `net/http: HTTP/1.x transport connection broken: malformed MIME header line: "..."`)
	f("first\nhush", "first")
	f("dial tcp 127.0.0.1:1: connect: connection refused", "dial tcp 127.0.0.1:1: connect: connection refused")
	if got := Error(errors.New(`bad "hush"`)); got != `bad "..."` {
		t.Errorf("Error: %q", got)
	}
	if got := Error(nil); got != "" {
		t.Errorf("Error(nil): %q", got)
	}
}

func TestLongTextIsCut(t *testing.T) {
	long := "begin " + strings.Repeat("ä", maxText) + " end"
	got := Text(long)
	if len(got) > maxText+3 || !utf8.ValidString(got) || !strings.HasPrefix(got, "begin ä") || !strings.HasSuffix(got, "ä end") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := URL("http://me:" + strings.Repeat("hush", maxText) + "@host"); got != "http://xxxxx@host" {
		t.Errorf("%q", got)
	}
}

func FuzzURLHidesSecrets(f *testing.F) {
	for _, s := range []string{"", "@", "?", "#", "/", "://", "\n", "é", "\xff", "%", ":"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "s3cr3t"
		for _, text := range []string{
			"http://" + before + secret + after + "@host/",
			"//" + before + secret + after + "@host/",
			"http://host/" + before + "?" + secret + after,
			"http://host/" + before + "#" + secret + after,
		} {
			if got := URL(text); strings.Contains(got, secret) && !strings.Contains(before+after, secret) {
				t.Errorf("URL(%q) = %q", text, got)
			}
		}
	})
}
