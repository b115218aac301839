package engine

import "testing"

// Replace takes the place of the very entry that it is about, and of nothing
// that was put, deleted or purged since.
func TestReplace(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile func(c testCache, gen uint64)
		want      string
		ok        bool
	}{
		{"nothing", func(testCache, uint64) {}, "replaced", true},
		{"another purge", func(c testCache, _ uint64) { c.PurgeTag("other", Hard) }, "replaced", true},
		{"deleted", func(c testCache, _ uint64) { c.delete("key") }, "", false},
		{"put anew", func(c testCache, _ uint64) { c.put("key", "newer", 300) }, "newer", false},
		{"flushed", func(c testCache, _ uint64) { c.Flush(Hard) }, "", false},
		{"closed", func(c testCache, _ uint64) { c.Close() }, "", false},
		{"deleted and put again", func(c testCache, _ uint64) { c.delete("key"); c.put("key", "again", 300) }, "again", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, 1<<20)
			c.put("key", "old", 300)
			old := c.Get(c.hash("key"), "key")
			gen := c.Generation()
			tt.meanwhile(c, gen)
			if ok := c.Replace(old, c.entry("key", "replaced", gen), 400); ok != tt.ok {
				t.Errorf("Replace = %v, want %v", ok, tt.ok)
			}
			if v, _ := c.get("key"); v != tt.want {
				t.Errorf("got %q, want %q", v, tt.want)
			}
			if tt.name == "closed" {
				return
			}
			c.settle()
			want := int64(0)
			switch {
			case tt.ok:
				want = 400
			case tt.want != "":
				want = 300
			}
			if u := c.Usage(); tt.name != "flushed" && u.Bytes != want {
				t.Errorf("%d bytes, want %d", u.Bytes, want)
			}
		})
	}
}
