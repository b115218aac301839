package cachefetch

import (
	"slices"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	for _, want := range []purge{
		{kind: purgeKey, name: "user 7", stamp: stamp{1, 7}},
		{kind: purgeTag, soft: true, name: "", stamp: stamp{-1, 1 << 63}},
		{kind: purgePrefix, name: "\xff\x00"},
		{kind: purgeFlush, soft: true, stamp: stamp{1 << 62, 0}},
	} {
		b := appendMessage([]byte("before"), "p:", want)
		prefix, got, ok := parseMessage(b[len("before"):])
		if prefix != "p:" || got != want || !ok {
			t.Errorf("parseMessage = %q, %+v, %v, want %+v", prefix, got, ok, want)
		}
	}
}

func TestMessageOfAnotherFormat(t *testing.T) {
	good := appendMessage(nil, "p:", purge{kind: purgeTag, name: "users"})
	change := func(i int, b byte) []byte {
		m := slices.Clone(good)
		m[i] = b
		return m
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another version": change(0, 2),
		"kind 0":          change(9, 0),
		"kind 7":          change(9, 7),
		"softer":          change(10, 2),
		"long prefix":     change(messageFixed, 200),
		"cut":             good[:len(good)-1],
		"too long":        append(slices.Clone(good), 0),
		"text":            []byte("invalidate users, please"),
	} {
		if _, p, ok := parseMessage(b); ok {
			t.Errorf("%s: read as %+v", name, p)
		}
	}
}

// FuzzParseMessage: whatever comes, parsing does not panic, and what it takes
// for a message is one.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendMessage(nil, "p:", purge{kind: purgeTag, soft: true, name: "users", stamp: stamp{9, 7}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		prefix, p, ok := parseMessage(b)
		if !ok {
			return
		}
		pre, again, ok := parseMessage(appendMessage(nil, prefix, p))
		if pre != prefix || again != p || !ok {
			t.Errorf("read as %q, %+v, then as %q, %+v", prefix, p, pre, again)
		}
	})
}
