package cachefetch

import (
	"slices"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	for _, want := range []purge{
		{kind: purgeKey, name: "user 7", stamp: 1},
		{kind: purgeTag, soft: true, name: "", stamp: -1},
		{kind: purgePrefix, name: "\xff\x00"},
		{kind: purgeFlush, soft: true, stamp: 1 << 62},
	} {
		b := appendMessage([]byte("before"), 7, "p:", want)
		origin, prefix, got, ok := parseMessage(b[len("before"):])
		if origin != 7 || prefix != "p:" || got != want || !ok {
			t.Errorf("parseMessage = %d, %q, %+v, %v, want %+v", origin, prefix, got, ok, want)
		}
	}
}

func TestMessageOfAnotherFormat(t *testing.T) {
	good := appendMessage(nil, 7, "p:", purge{kind: purgeTag, name: "users"})
	change := func(i int, b byte) []byte {
		m := slices.Clone(good)
		m[i] = b
		return m
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another version": change(0, 2),
		"kind 0":          change(9, 0),
		"kind 6":          change(9, 6),
		"softer":          change(10, 2),
		"long prefix":     change(messageFixed, 200),
		"cut":             good[:len(good)-1],
		"too long":        append(slices.Clone(good), 0),
		"text":            []byte("invalidate users, please"),
	} {
		if _, _, p, ok := parseMessage(b); ok {
			t.Errorf("%s: read as %+v", name, p)
		}
	}
}

// FuzzParseMessage: whatever comes, parsing does not panic, and what it takes
// for a message is one.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendMessage(nil, 7, "p:", purge{kind: purgeTag, soft: true, name: "users", stamp: 9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		origin, prefix, p, ok := parseMessage(b)
		if !ok {
			return
		}
		o, pre, again, ok := parseMessage(appendMessage(nil, origin, prefix, p))
		if o != origin || pre != prefix || again != p || !ok {
			t.Errorf("read as %d, %q, %+v, then as %d, %q, %+v", origin, prefix, p, o, pre, again)
		}
	})
}
