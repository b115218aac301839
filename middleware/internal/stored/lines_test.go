package stored

import (
	"fmt"
	"testing"
	"unsafe"
)

// Numbers inside and outside of what is kept, and around the ends of it.
func TestLines(t *testing.T) {
	l := Lines{prefix: "ttl="}
	for _, n := range []int64{-1 << 40, -keptLines/8 - 1, -keptLines / 8, -1, 0, 1, keptLines - keptLines/8 - 1, keptLines - keptLines/8, 1 << 40} {
		for range 2 {
			if got := l.At(n); got != fmt.Sprint("ttl=", n) {
				t.Errorf("At(%d) = %q", n, got)
			}
		}
	}
	first := l.At(7)
	if again := l.At(7); unsafe.StringData(again) != unsafe.StringData(first) {
		t.Error("a line was made twice")
	}
}
