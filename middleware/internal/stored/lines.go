package stored

import (
	"strconv"
	"sync/atomic"
)

// Ages and Hits are the values of the fields that every hit has, by the number
// in them. They are the same for all responses and are made once, so that a
// hit makes none.
var (
	Ages = Lines{prefix: ""}
	Hits = Lines{prefix: "freshet; hit; ttl="}
)

// Lines are values of one field that end in a number.
type Lines struct {
	prefix string
	kept   [keptLines]atomic.Pointer[string]
}

// keptLines is how many numbers have lines that are kept: those from
// -keptLines/8 (a stale response has a negative ttl) up, more than an hour of
// seconds. They take at most half a megabyte.
const keptLines = 4608

// At returns the value for n.
func (l *Lines) At(n int64) string {
	i := uint64(n + keptLines/8)
	if i >= keptLines {
		return l.prefix + strconv.FormatInt(n, 10)
	}
	p := l.kept[i].Load()
	if p == nil {
		s := l.prefix + strconv.FormatInt(n, 10)
		p = &s
		l.kept[i].Store(p)
	}
	return *p
}
