package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tagged stores a value with tags and returns its entry.
func (c testCache) tagged(key string, tags ...string) *Entry[doc] {
	e := c.entry(key, "v", c.Generation())
	e.Tags = tags
	c.Put(c.hash(key), e, 300, 0)
	return e
}

func (c testCache) has(key string) bool {
	_, ok := c.get(key)
	return ok
}

func TestPurgeReachesWhatItNames(t *testing.T) {
	for _, row := range []struct {
		name  string
		purge func(c testCache, mode Mode)
		left  map[string]bool
	}{
		{"tag", func(c testCache, m Mode) { c.PurgeTag("red", m) }, map[string]bool{"/b": true, "/b/c": true}},
		{"tag of several", func(c testCache, m Mode) { c.PurgeTag("blue", m) }, map[string]bool{"/a": true, "/b/c": true}},
		{"no such tag", func(c testCache, m Mode) { c.PurgeTag("/a", m) }, map[string]bool{"/a": true, "/ab": true, "/b": true, "/b/c": true}},
		{"prefix", func(c testCache, m Mode) { c.PurgePrefix("/a", m) }, map[string]bool{"/b": true, "/b/c": true}},
		{"a whole key", func(c testCache, m Mode) { c.PurgePrefix("/b/c", m) }, map[string]bool{"/a": true, "/ab": true, "/b": true}},
		{"empty prefix", func(c testCache, m Mode) { c.PurgePrefix("", m) }, nil},
		{"flush", func(c testCache, m Mode) { c.Flush(m) }, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, mode := range []Mode{Hard, Soft} {
				c := newCache(t, 1<<20)
				keys := map[string][]string{"/a": {"red"}, "/ab": {"red", "blue"}, "/b": {"blue"}, "/b/c": nil}
				if row.name == "tag of several" {
					keys["/b"] = []string{"green", "blue"}
				}
				for key, tags := range keys {
					c.tagged(key, tags...)
				}
				row.purge(c, mode)
				for key, tags := range keys {
					e := c.Get(c.hash(key), key)
					switch {
					case row.left[key] && (e == nil || e.State(c.Now()) != Fresh):
						t.Errorf("mode %d: %s should be left", mode, key)
					case !row.left[key] && mode == Hard && e != nil:
						t.Errorf("%s outlived the purge", key)
					case !row.left[key] && mode == Soft && (e == nil || e.State(c.Now()) == Fresh):
						t.Errorf("%s is not stale: %v", key, e)
					}
					if e := c.tagged(key, tags...); c.Get(c.hash(key), key) != e || e.State(c.Now()) != Fresh {
						t.Errorf("mode %d: %s, put after the purge, is not there", mode, key)
					}
				}
			}
		})
	}
}

func TestPurgedIsRemovedWhenRead(t *testing.T) {
	c := newCache(t, 1<<20)
	c.tagged("key", "red")
	c.PurgeTag("red", Hard)
	if n := c.Usage().Entries; n != 1 {
		t.Fatalf("%d entries: the purge itself looked for them", n)
	}
	c.get("key")
	if n := c.Usage().Entries; n != 0 {
		t.Errorf("%d entries after the read", n)
	}
	c.tagged("key", "red")
	c.PurgeTag("red", Hard)
	if c.delete("key") {
		t.Error("Delete found what was purged")
	}
}

// A soft purge begins the stale windows, and does not make them longer.
func TestSoftPurgeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, 1<<20)
		defer c.Close()
		put := func(key string) *Entry[doc] {
			e := c.tagged(key, "red")
			e.Times = NewTimes(c.Now(), 10*time.Second, 2*time.Second, 4*time.Second)
			return e
		}
		e, late := put("key"), put("late")
		expect := func(what string, e *Entry[doc], want State) {
			t.Helper()
			c.get(e.Value.key) // notices
			if got := e.State(c.Now()); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		time.Sleep(time.Second)
		c.PurgeTag("red", Soft)
		expect("at once", e, StaleWhileRevalidate)
		time.Sleep(time.Second)
		c.PurgeTag("red", Soft)
		time.Sleep(time.Second)
		expect("the second purge changes nothing", e, StaleIfError)
		if !e.Usable(c.Now()) {
			t.Error("not usable in its stale-if-error window")
		}
		expect("first seen after two", late, StaleWhileRevalidate)
		time.Sleep(2 * time.Second)
		expect("after all windows", e, Gone)
		f := put("another")
		time.Sleep(11 * time.Second)
		c.PurgeTag("red", Soft)
		time.Sleep(time.Second)
		expect("stale before the purge", f, StaleIfError)
	})
}

// What a load brings that began before a purge is not stored, and if the
// purge was soft, is stale.
func TestPurgeReachesLoadsUnderWay(t *testing.T) {
	for name, purge := range map[string]func(c testCache, mode Mode){
		"tag":    func(c testCache, m Mode) { c.PurgeTag("red", m) },
		"prefix": func(c testCache, m Mode) { c.PurgePrefix("k", m) },
		"flush":  func(c testCache, m Mode) { c.Flush(m) },
	} {
		for _, mode := range []Mode{Hard, Soft} {
			c := newCache(t, 1<<20)
			e := c.entry("key", "v", c.Generation())
			e.Tags = []string{"red"}
			purge(c, mode)
			before := c.Usage().WindowBytes
			stored := c.Put(c.hash("key"), e, 300, 0)
			if stored != (mode == Soft) {
				t.Errorf("%s, mode %d: stored %v", name, mode, stored)
			}
			if got := c.Get(c.hash("key"), "key"); mode == Hard && got != nil {
				t.Errorf("%s: found", name)
			} else if mode == Soft && got.State(c.Now()) == Fresh {
				t.Errorf("%s: fresh", name)
			}
			if u := c.Usage(); mode == Hard && u.WindowBytes != before {
				t.Errorf("%s: %d bytes of the window are lost", name, u.WindowBytes-before)
			}
		}
	}
}

func TestSuperseded(t *testing.T) {
	c := newCache(t, 1<<20)
	v, red, blue := &doc{key: "key"}, []string{"red"}, []string{"blue"}
	load := c.Generation()
	early := c.Newest()
	c.PurgeTag("red", Hard)
	late := c.Newest()
	expect := func(what string, from, to uint64, tags []string, want bool) {
		t.Helper()
		if got := c.Superseded(from, to, v, tags); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	expect("joined before the purge", load, early, red, false)
	expect("joined after it", load, late, red, true)
	expect("load begun after it", c.Generation(), c.Newest(), red, false)
	expect("another tag", load, late, blue, false)
	expect("no tag", load, late, nil, false)
	c.PurgeTag("red", Soft)
	expect("joined before both", load, early, red, false)
	expect("joined between a hard and a soft one", load, late, red, true)
	between := c.Generation()
	c.PurgeTag("blue", Hard)
	c.PurgeTag("blue", Hard)
	expect("joined before two, with two before", load, load, blue, false)
	expect("joined after two", between, c.Newest(), blue, true)
	joined := c.Newest()
	c.Flush(Hard)
	expect("joined between a tag's purge and a flush", between, joined, blue, true)
	expect("joined before a flush, no purge before", between, joined, nil, false)
	between = c.Generation()
	c.PurgePrefix("other", Hard)
	expect("another prefix", between, c.Newest(), nil, false)
	c.PurgePrefix("ke", Hard)
	expect("prefix", between, c.Newest(), nil, true)
}

func TestPurgedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, 1<<20)
		defer c.Close()
		v := &doc{key: "key"}
		before := time.Now().UnixNano()
		time.Sleep(time.Second)
		c.PurgeTag("red", Hard)
		c.PurgeTag("blue", Soft)
		at := c.Now()
		time.Sleep(time.Second)
		after := time.Now().UnixNano()
		for _, row := range []struct {
			name  string
			wall  int64
			tags  []string
			gone  bool
			stale Instant
		}{
			{"before, purged", before, []string{"blue", "red"}, true, at},
			{"before, softly", before, []string{"blue"}, false, at},
			{"before, another", before, []string{"green"}, false, 0},
			{"after", after, []string{"red", "blue"}, false, 0},
		} {
			if gone, stale := c.PurgedAt(row.wall, v, row.tags); gone != row.gone || stale != row.stale {
				t.Errorf("%s: %v, %v", row.name, gone, stale)
			}
		}
	})
}

// A purge looks at no entry, however many there are.
func TestPurgeCostDoesNotDependOnEntries(t *testing.T) {
	c := newCache(t, 64<<20)
	for i := range 20_000 {
		c.tagged(fmt.Sprint("key", i), "red")
	}
	for i := range maxTags - 1 {
		c.PurgeTag(fmt.Sprint("tag", i), Hard)
	}
	for i := range maxPrefixes - 1 {
		c.PurgePrefix(fmt.Sprint("prefix", i), Soft)
	}
	c.Flush(Soft)
	if n := c.epochs.walked.Load(); n != 0 {
		t.Errorf("purges looked at %d entries", n)
	}
}

// When the tables are full they are applied and forgotten; the bounds hold,
// and so does every purge.
func TestPurgeTablesAreBounded(t *testing.T) {
	for _, row := range []struct {
		name  string
		limit int
		purge func(c testCache, i int)
	}{
		{"tags", maxTags, func(c testCache, i int) { c.PurgeTag(fmt.Sprintf("t%05d", i), Hard) }},
		{"prefixes", maxPrefixes, func(c testCache, i int) { c.PurgePrefix(fmt.Sprintf("t%05d", i), Hard) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCache(t, 1<<20)
			for _, i := range []int{0, row.limit - 1, row.limit} {
				c.tagged(fmt.Sprintf("t%05d", i), fmt.Sprintf("t%05d", i))
			}
			c.tagged("kept", "kept")
			soft := c.tagged("soft", "soft")
			c.PurgeTag("soft", Soft)
			began := c.Generation()
			wall := time.Now().UnixNano() - 1
			for i := range row.limit {
				row.purge(c, i)
				if n := len(c.epochs.young.tags); n > maxTags {
					t.Fatalf("%d tags", n)
				}
			}
			if got := c.epochs.walked.Load(); got != 5 {
				t.Errorf("looked at %d entries, want each of 5 once", got)
			}
			for key, want := range map[string]bool{"t00000": false, fmt.Sprint("t", row.limit-1): false, fmt.Sprintf("t%05d", row.limit): true, "kept": true, "soft": true} {
				if c.has(key) != want {
					t.Errorf("%s: found %v", key, !want)
				}
			}
			if soft.State(c.Now()) == Fresh {
				t.Error("the soft purge was forgotten and not applied")
			}
			// Whether these were purged is not known any more.
			tagged := c.entry("new", "v", began)
			tagged.Tags = []string{"t00001"}
			if c.Put(c.hash("new"), tagged, 300, 0) {
				t.Error("stored what may have been purged")
			}
			v := &doc{key: "t00001"}
			if c.Forgotten() < wall || !c.Superseded(began, c.Newest(), v, []string{"t00001"}) {
				t.Error("taken for not purged, but may have been")
			}
			if stored := c.Put(c.hash("plain"), c.entry("plain", "v", began), 300, 0); stored != (row.name == "tags") {
				t.Errorf("without tags: stored %v", stored)
			}
			if c.tagged("later", "t00001"); !c.has("later") {
				t.Error("what was generated after all purges is not there")
			}
		})
	}
}

// Whatever is purged, put and read at the same time: nothing that was
// generated before a purge is found once that has returned.
func TestPurgeUnderLoad(t *testing.T) {
	c := newCache(t, 1<<20)
	const tags = 8
	var versions [tags]atomic.Int64 // raised before the tag is purged
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for tag := range tags {
		name := fmt.Sprint("tag", tag)
		wg.Go(func() {
			for i := range 500 {
				versions[tag].Add(1)
				switch i % 3 {
				case 0:
					c.PurgeTag(name, Hard)
				case 1:
					c.PurgePrefix(name, Hard)
				default:
					c.PurgeTag(fmt.Sprint("unused", tag, i), Hard)
					c.PurgeTag(name, Hard)
				}
				want := versions[tag].Load()
				for j := range 4 {
					key := fmt.Sprint(name, "/", j)
					if e := c.Get(c.hash(key), key); e != nil && e.Value.body < fmt.Sprintf("%09d", want) {
						t.Errorf("%s: version %s found after %d was purged", key, e.Value.body, want-1)
						return
					}
				}
			}
		})
	}
	var puts sync.WaitGroup
	for range 4 {
		puts.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				tag := i % tags
				key := fmt.Sprint("tag", tag, "/", i/tags%4)
				gen := c.Generation()
				e := c.entry(key, fmt.Sprintf("%09d", versions[tag].Load()), gen)
				e.Tags = []string{fmt.Sprint("tag", tag)}
				c.Put(c.hash(key), e, 300, 0)
			}
		})
	}
	wg.Wait()
	close(stop)
	puts.Wait()
}

// The same while tables fill and are forgotten all the time.
func TestCompactionUnderLoad(t *testing.T) {
	c := newCache(t, 1<<20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 4 * maxPrefixes {
				key := fmt.Sprint("g", g, "/", i)
				e := c.entry(key, "v", c.Generation())
				if i%2 == 0 {
					c.Put(c.hash(key), e, 300, 0)
				}
				c.PurgePrefix(key, Hard)
				if i%2 == 1 && c.Put(c.hash(key), e, 300, 0) || c.has(key) {
					t.Errorf("%s outlived its purge", key)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A reader finds an entry, and then is slow: meanwhile the entry is purged, a
// walk drops it, and the purge is forgotten.
func TestDroppedBeforeForgotten(t *testing.T) {
	c := newCache(t, 1<<20)
	c.put("key", "v", 300)
	found := c.index.get(c.hash("key"))
	c.PurgePrefix("key", Hard)
	for i := range maxPrefixes {
		c.PurgePrefix(fmt.Sprint("other", i), Hard)
	}
	if len(c.epochs.young.prefixes)+len(c.epochs.old.prefixes) >= maxPrefixes {
		t.Fatal("no purge was forgotten")
	}
	if c.outlives(found) || c.recheck(c.hash("key"), found) != nil {
		t.Error("the entry outlived its purge")
	}
	c.put("key", "w", 300)
	if e := c.recheck(c.hash("key"), found); e == nil || e.Value.body != "w" {
		t.Errorf("%v in place of the one that came after", e)
	}
}

// A caller whose clock was read before the purge has noticed it all the same.
func TestSoftPurgeIsNotUndoneByAnOlderClock(t *testing.T) {
	e := &Entry[int]{Times: NewTimes(0, time.Hour, time.Minute, 0)}
	e.soften(Instant(time.Minute))
	for now, want := range map[Instant]State{
		Instant(time.Second): StaleWhileRevalidate, Instant(time.Minute): StaleWhileRevalidate, Instant(2 * time.Minute): Gone,
	} {
		if got := e.State(now); got != want {
			t.Errorf("at %v: %v, want %v", time.Duration(now), got, want)
		}
	}
}
