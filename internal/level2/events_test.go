package level2

import (
	"slices"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	for _, want := range []Purge{
		{Kind: PurgeKey, Name: "user 7", Stamp: Stamp{1, 7}},
		{Kind: PurgeTag, Soft: true, Name: "", Stamp: Stamp{-1, 1 << 63}},
		{Kind: PurgePrefix, Name: "\xff\x00"},
		{Kind: PurgeFlush, Soft: true, Stamp: Stamp{1 << 62, 0}},
	} {
		b := appendMessage([]byte("before"), "p:", want)
		prefix, got, ok := parseMessage(b[len("before"):])
		if prefix != "p:" || got != want || !ok {
			t.Errorf("parseMessage = %q, %+v, %v, want %+v", prefix, got, ok, want)
		}
	}
}

func TestMessageOfAnotherFormat(t *testing.T) {
	good := appendMessage(nil, "p:", Purge{Kind: PurgeTag, Name: "users"})
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
	f.Add(appendMessage(nil, "p:", Purge{Kind: PurgeTag, Soft: true, Name: "users", Stamp: Stamp{9, 7}}))
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
