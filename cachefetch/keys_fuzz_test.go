package cachefetch

import (
	"context"
	"strings"
	"testing"
)

// Whatever keys, tags and prefixes look like: no key has the value of another,
// by any of the methods, and a purge reaches what it names and nothing else.
func FuzzKeys(f *testing.F) {
	f.Add("a", "b", "a", "red")
	f.Add("", "\x00", "", "")
	f.Add("a", "ab", "a", "a")
	f.Add("ü", "u\u0308", "\xff", "\xc3")
	f.Add("a\nb", "a b", "a\n", strings.Repeat("t", 300))
	c, err := New(Options[string]{MaxBytes: 4 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Fuzz(func(t *testing.T, a, b, prefix, tag string) {
		ctx := t.Context()
		if a == b {
			return
		}
		if err := c.Flush(ctx, Hard); err != nil {
			t.Fatal(err)
		}
		load := func(_ context.Context, keys []string) (map[string]string, error) {
			values := map[string]string{}
			for _, key := range keys {
				values[key] = "value of " + key
			}
			return values, nil
		}
		fill := func() {
			rs, err := c.FetchMany(ctx, []string{a, b, a}, load)
			if err != nil || rs[0].Value != "value of "+a || rs[1].Value != "value of "+b || rs[2] != rs[0] {
				t.Fatalf("%q, %q: %+v, %v", a, b, rs, err)
			}
			if err := c.SetItem(ctx, a, Item[string]{Value: "value of " + a, Tags: []string{tag, tag + "x"}}); err != nil {
				t.Fatal(err)
			}
		}
		left := func(what string, wantA, wantB bool) {
			t.Helper()
			for key, want := range map[string]bool{a: wantA, b: wantB} {
				if v, ok := c.Get(key); ok != want || ok && v != "value of "+key {
					t.Errorf("after %s of %q, %q: %q has %q, %v", what, prefix, tag, key, v, ok)
				}
			}
		}
		fill()
		left("filling", true, true)
		c.PurgeTag(ctx, tag, Hard)
		left("PurgeTag", false, true)
		fill()
		c.PurgePrefix(ctx, prefix, Hard)
		left("PurgePrefix", !strings.HasPrefix(a, prefix), !strings.HasPrefix(b, prefix))
		fill()
		c.Expire(ctx, a)
		left("Expire", false, true)
		fill()
		c.Delete(ctx, b)
		left("Delete", true, false)
	})
}
