package engine

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
)

// A Mode is what a purge does to what was generated before it.
type Mode uint8

const (
	// Hard removes it.
	Hard Mode = iota
	// Soft ends its freshness: its stale windows begin at the purge.
	Soft
	modes = iota
)

// Valid reports whether m is one of the modes that there are.
func (m Mode) Valid() bool { return m < modes }

// Bounds of the tables of purges. When one is full, all entries are looked at
// once, and the table begins anew; so a purge costs on average what one in
// maxTags of a walk does, and nothing that grows with what is stored. Prefixes
// are few, since each is compared with every entry that is read after a purge.
const (
	maxTags     = 10_000
	maxPrefixes = 256
)

// A mark notes the newest purge of some mode under some name.
type mark struct {
	gen  uint64  // drawn by the purge; 0 = there was none
	prev uint64  // gen of the one before it
	at   Instant // when it was
	wall int64   // the same in nanoseconds since 1970, for what other processes have stored
}

// within reports whether there was a purge in generations (from, to]. It knows
// two purges; where these were many it may say yes in place of no.
func (m *mark) within(from, to uint64) bool {
	return m.gen > from && (m.gen <= to || m.prev > from)
}

type marks [modes]mark

// A table holds the marks of tags and prefixes. Tags are as long as those who
// name them like, and so are known by a hash: a purge may reach too much by it,
// and nothing else.
type table struct {
	tags     map[uint64]*marks
	prefixes []prefixMarks
}

type prefixMarks struct {
	prefix string
	marks  *marks
}

func (t *table) tag(hash uint64) *marks {
	m := t.tags[hash]
	if m == nil {
		if t.tags == nil {
			t.tags = make(map[uint64]*marks)
		}
		m = new(marks)
		t.tags[hash] = m
	}
	return m
}

func (t *table) prefix(prefix string) *marks {
	for _, p := range t.prefixes {
		if p.prefix == prefix {
			return p.marks
		}
	}
	m := new(marks)
	t.prefixes = append(t.prefixes, prefixMarks{prefix, m})
	return m
}

func (t *table) full() bool { return len(t.tags) >= maxTags || len(t.prefixes) >= maxPrefixes }

// epochs knows what was purged when. An entry is purged iff a mark that
// applies to it is of a later generation. Nothing looks for such entries:
// they find out when they are read.
type epochs[V any] struct {
	hasPrefix func(v *V, prefix string) bool
	wall      func() int64
	seed      maphash.Seed // of the hashes of tags

	// newest is the generation of the newest purge of any kind. It is all
	// that a hit looks at: an entry that was checked then is valid.
	newest atomic.Uint64

	compacting sync.Mutex // held through a walk; acquired before mu
	walked     atomic.Uint64

	mu    sync.RWMutex
	flush marks // guarded by mu
	young table // guarded by mu; purges are noted here
	old   table // guarded by mu; being applied by a walk

	// What was forgotten, guarded by mu: the newest purge of any tag, and of
	// any prefix. What was generated before, and is not an entry yet, may be
	// purged and is treated so.
	tagFloor    mark
	prefixFloor mark
}

// purge notes a purge under the marks that name returns, and reports whether
// the table is full.
func (x *epochs[V]) purge(mode Mode, draw func() uint64, now Instant, name func(*epochs[V]) *marks) (full bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.newest.Load() == math.MaxUint64 {
		return false // closed
	}
	// Drawn with mu held, so that newest only grows.
	gen := draw()
	m := &name(x)[mode]
	*m = mark{gen: gen, prev: m.gen, at: now, wall: x.wall()}
	x.newest.Store(gen)
	return x.young.full()
}

// visit calls f for all marks that apply to v with these tags. The caller
// holds mu.
func (x *epochs[V]) visit(v *V, tags []string, f func(*marks)) {
	f(&x.flush)
	if len(x.young.tags) > 0 || len(x.old.tags) > 0 {
		for _, tag := range tags {
			hash := maphash.String(x.seed, tag)
			for _, t := range [...]*table{&x.young, &x.old} {
				if m := t.tags[hash]; m != nil {
					f(m)
				}
			}
		}
	}
	for _, t := range [...]*table{&x.young, &x.old} {
		for _, p := range t.prefixes {
			if x.hasPrefix(v, p.prefix) {
				f(p.marks)
			}
		}
	}
}

// since says what was purged of v after gen: whether it was removed, and else
// the instant at which it became stale, or 0. Of several soft purges under one
// name only the last is known; by then v was stale already if anyone saw it.
// The caller holds mu.
func (x *epochs[V]) since(gen uint64, v *V, tags []string) (gone bool, stale Instant) {
	x.visit(v, tags, func(m *marks) {
		gone = gone || m[Hard].gen > gen
		if s := &m[Soft]; s.gen > gen && (stale == 0 || s.at < stale) {
			stale = max(s.at, 1)
		}
	})
	return gone, stale
}

// forgotten reports whether a purge after gen that may apply to something with
// or without tags is not known any more. The caller holds mu.
func (x *epochs[V]) forgotten(gen uint64, tags []string) bool {
	return x.prefixFloor.gen > gen || len(tags) > 0 && x.tagFloor.gen > gen
}

// PurgeTag purges what has the tag. As all purges it takes a short time that
// does not depend on what is stored, and is complete when it returns: nothing
// generated before is found by Get as it was, and nothing whose load began
// before is put as if it had not been purged.
func (c *Cache[Q, V]) PurgeTag(tag string, mode Mode) {
	c.purge(mode, func(x *epochs[V]) *marks { return x.young.tag(maphash.String(x.seed, tag)) })
}

// PurgePrefix purges what Config.HasPrefix says has the prefix.
func (c *Cache[Q, V]) PurgePrefix(prefix string, mode Mode) {
	c.purge(mode, func(x *epochs[V]) *marks { return x.young.prefix(prefix) })
}

// Flush purges everything. The bytes come back as entries are swept or
// displaced.
func (c *Cache[Q, V]) Flush(mode Mode) {
	// It is tempting to forget all marks after a hard one, which includes
	// them: but a call that came between such a mark and the flush, and joined
	// a load from before both, has to know of the first.
	c.purge(mode, func(x *epochs[V]) *marks { return &x.flush })
}

// Forget drops everything, also what is being loaded, without a purge: what
// other processes have stored may be used as before.
func (c *Cache[Q, V]) Forget() {
	x := &c.epochs
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.newest.Load() == math.MaxUint64 {
		return // closed
	}
	m := &x.flush[Hard]
	m.gen, m.prev, m.at = c.draw(), m.gen, c.Now()
	x.newest.Store(m.gen)
}

func (c *Cache[Q, V]) purge(mode Mode, name func(*epochs[V]) *marks) {
	if c.epochs.purge(mode, c.draw, c.Now(), name) {
		c.compact()
	}
}

// PurgedAfter reports whether there was any purge since gen was drawn.
func (c *Cache[Q, V]) PurgedAfter(gen uint64) bool { return c.epochs.newest.Load() > gen }

// Superseded reports whether a purge of either mode in generations (from, to]
// applies to v with these tags. It may say so in error when there were several
// of one name since from, or very many in all.
//
// A caller who notes the [Cache.Newest] generation before it joins a flight
// must not take what the flight brings if that is superseded between the
// flight's generation and the noted one.
func (c *Cache[Q, V]) Superseded(from, to uint64, v *V, tags []string) (superseded bool) {
	x := &c.epochs
	if from >= to || x.newest.Load() <= from {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.forgotten(from, tags) {
		return true
	}
	x.visit(v, tags, func(m *marks) {
		superseded = superseded || m[Hard].within(from, to) || m[Soft].within(from, to)
	})
	return superseded
}

// PurgedAt is for what another process may have stored, which has no
// generation but a time, in nanoseconds since 1970. It reports whether v with
// these tags was purged at that time or later, and if only softly, the instant
// at which it became stale, else 0. It knows of purges since [Cache.Forgotten].
func (c *Cache[Q, V]) PurgedAt(wall int64, v *V, tags []string) (gone bool, stale Instant) {
	x := &c.epochs
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.visit(v, tags, func(m *marks) {
		gone = gone || m[Hard].wall >= wall
		if s := &m[Soft]; s.wall >= wall && (stale == 0 || s.at < stale) {
			stale = max(s.at, 1)
		}
	})
	return gone, stale
}

// Forgotten returns the time, in nanoseconds since 1970, up to which purges by
// tag or prefix may be forgotten: there were very many since.
func (c *Cache[Q, V]) Forgotten() int64 {
	x := &c.epochs
	x.mu.RLock()
	defer x.mu.RUnlock()
	return max(x.tagFloor.wall, x.prefixFloor.wall)
}

// Holds reports whether e, which Get has returned, is still the live entry of
// its key: neither replaced, deleted or evicted since, nor purged but softly.
func (c *Cache[Q, V]) Holds(e *Entry[V]) bool {
	if e.checked.Load() < c.epochs.newest.Load() {
		return c.outlives(e)
	}
	return !e.dead.Load()
}

// outlives reports whether e is still an entry, neither dropped nor purged, and
// makes it stale if a soft purge says so. Entries that were checked since the
// newest purge need not be asked.
func (c *Cache[Q, V]) outlives(e *Entry[V]) bool {
	x := &c.epochs
	newest := x.newest.Load() // before the marks: they may be newer, never older
	x.mu.RLock()
	gone, stale := x.since(e.Gen, &e.Value, e.Tags)
	// A walk may have dropped e for marks that it has then forgotten, since e
	// was found. Looked at with mu held: it drops first, and forgets with mu.
	gone = gone || e.dead.Load()
	x.mu.RUnlock()
	if gone {
		return false
	}
	if stale != 0 {
		e.soften(stale)
	}
	e.checked.Store(newest)
	return true
}

// storable reports whether e, which is no entry yet, may become one. The caller
// holds the lock of its shard: a walk that forgets marks has either not come
// to the shard, and will find e, or has left its floors.
func (c *Cache[Q, V]) storable(e *Entry[V]) bool {
	x := &c.epochs
	if x.newest.Load() <= e.Gen {
		return true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	gone, _ := x.since(e.Gen, &e.Value, e.Tags)
	return !gone && !x.forgotten(e.Gen, e.Tags)
}

// compact applies the marks of a full table to all entries and forgets them.
// Reads and other purges go on meanwhile; a purge waits only if the next table
// is full before this one is done.
func (c *Cache[Q, V]) compact() {
	x := &c.epochs
	x.compacting.Lock()
	defer x.compacting.Unlock()
	x.mu.Lock()
	if !x.young.full() { // another purge has done it
		x.mu.Unlock()
		return
	}
	x.old, x.young = x.young, table{}
	x.mu.Unlock()
	c.walk()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.old.tags {
		x.tagFloor.raise(m)
	}
	for _, p := range x.old.prefixes {
		x.prefixFloor.raise(p.marks)
	}
	x.old = table{}
}

// raise makes m the newest of itself and ms.
func (m *mark) raise(ms *marks) {
	for i := range ms {
		if ms[i].gen > m.gen {
			*m = ms[i]
		}
	}
}

// walk looks at every entry once and drops those that are purged.
func (c *Cache[Q, V]) walk() {
	var found []*Entry[V]
	for i := range c.index.shards {
		s := &c.index.shards[i]
		s.mu.RLock()
		for _, e := range s.m {
			found = append(found, e)
		}
		s.mu.RUnlock()
		for _, e := range found {
			c.epochs.walked.Add(1)
			if !c.outlives(e) {
				c.drop(e)
			}
		}
		clear(found)
		found = found[:0]
	}
}

// close purges everything that was and will be generated.
func (x *epochs[V]) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flush[Hard] = mark{gen: math.MaxUint64, wall: math.MaxInt64}
	x.newest.Store(math.MaxUint64)
}
