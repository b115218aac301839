package middleware

import (
	"strconv"
	"sync/atomic"
)

// ages and statuses are the values of the fields that every hit has, by the
// number in them. They are the same for all responses and are made once, so
// that a hit makes none, and none is kept with each entry.
var (
	ages     = lines{prefix: ""}
	statuses = lines{prefix: "freshet; hit; ttl="}
)

// lines are values of one field that end in a number.
type lines struct {
	prefix string
	kept   [keptLines]atomic.Pointer[[1]string]
}

// keptLines is how many numbers have lines that are kept: those from
// -keptLines/8 (a stale response has a negative ttl) up, more than an hour of
// seconds. They take at most half a megabyte.
const keptLines = 4608

// at returns the value for n, clipped.
func (l *lines) at(n int64) []string {
	i := uint64(n + keptLines/8)
	if i >= keptLines {
		return []string{l.prefix + strconv.FormatInt(n, 10)}
	}
	p := l.kept[i].Load()
	if p == nil {
		p = &[1]string{l.prefix + strconv.FormatInt(n, 10)}
		l.kept[i].Store(p)
	}
	return p[:]
}
