package middleware

import (
	"fmt"
	"testing"
)

// Numbers inside and outside of what is kept, and around the ends of it.
func TestLines(t *testing.T) {
	l := lines{prefix: "ttl="}
	for _, n := range []int64{-1 << 40, -keptLines/8 - 1, -keptLines / 8, -1, 0, 1, keptLines - keptLines/8 - 1, keptLines - keptLines/8, 1 << 40} {
		for range 2 {
			got := l.at(n)
			if len(got) != 1 || cap(got) != 1 || got[0] != fmt.Sprint("ttl=", n) {
				t.Errorf("at(%d) = %q, capacity %d", n, got, cap(got))
			}
		}
	}
	first := l.at(7)
	if again := l.at(7); &again[0] != &first[0] {
		t.Error("a line was made twice")
	}
}
