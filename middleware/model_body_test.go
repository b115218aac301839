package middleware_test

import (
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A rep is a representation: a body, and what it was made for. One with a
// strong entity tag is the same for all runs that find the same; all others
// are of one run.
type rep struct {
	id      int
	place   int
	version int64
	query   string
	who     who
	total   int
	runs    []*run // that send it; guarded by world.mu

	made sync.Once
	text string
}

// lineBytes is the length of a line of a body. Each says what it is part of,
// so that no cut and no mixture passes for something else.
const lineBytes = 160

// repFor returns what a run sends. The caller holds world.mu.
func (m *world) repFor(run *run) *rep {
	r := &rep{place: run.place, version: run.version, query: run.query, who: run.who, total: m.plan.total(run.place, run.version)}
	if m.plan.calm { // this origin is of one mind, and says by what it tells clients apart
		r.who = who{}
		if len(m.plan.places[run.place].vary) > 0 {
			r.who.lang = run.who.lang
		}
	}
	if m.plan.places[run.place].validator == "strong" {
		for _, known := range m.reps {
			if known.version == r.version && known.place == r.place && known.query == r.query && known.who == r.who {
				known.runs = append(known.runs, run)
				return known
			}
		}
	}
	r.id, r.runs = len(m.reps), append(r.runs, run)
	m.reps = append(m.reps, r)
	return r
}

// total is the length of all representations of one version.
func (h *plan) total(place int, version int64) int {
	sizes := []int{0, 50, lineBytes, 1000, 1000, 3000, 3000, bodyLimit, 6000, 20_000, 100_000}
	if h.calm {
		sizes = sizes[:8]
	}
	return pick(diceOf(h.seed, place, int(version), 3), sizes...)
}

func (r *rep) body() string {
	r.made.Do(func() { r.text = r.make() })
	return r.text
}

func (r *rep) make() string {
	var b strings.Builder
	for n := 0; b.Len() < r.total; n++ {
		line := fmt.Sprintf("rep=%d line=%d of=%d version=%d %v ", r.id, n, r.total, r.version, r.who)
		line += strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(line))), 16)
		b.WriteString(line + strings.Repeat(".", lineBytes-1-len(line)) + "\n")
	}
	return b.String()[:r.total]
}

// head sets the fields that tell what the body will be.
func (r *rep) head(h http.Header) {
	h.Set("X-Rep", strconv.Itoa(r.id))
}

func (r *rep) etag(kind string) string {
	if kind != "strong" && kind != "weak" {
		return ""
	}
	sum := fnv.New32()
	fmt.Fprint(sum, r.query, r.who)
	tag := fmt.Sprintf(`"%d.%d.%x"`, r.place, r.version, sum.Sum32())
	if kind == "weak" {
		return "W/" + tag
	}
	return tag
}

func modifiedAt(version int64) string {
	return time.Unix(900_000_000+version, 0).UTC().Format(http.TimeFormat)
}
