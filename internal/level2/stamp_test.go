package level2

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Stamps follow the clock and never repeat, also when it stands still.
func TestStampClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		var mu sync.Mutex
		seen := make(map[int64]bool)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				last := int64(0)
				for range 1000 {
					at := c.Next().At
					if at <= last {
						t.Errorf("%d after %d", at, last)
					}
					last = at
					mu.Lock()
					if seen[at] {
						t.Errorf("%d twice", at)
					}
					seen[at] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		if got, now := c.Next().At, time.Now().UnixNano(); got != now {
			t.Errorf("stamp %d at %d", got, now)
		}
	})
}

// A stamp of another process is followed if it is a little ahead.
func TestStampClockObserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		now := time.Now().UnixNano()
		ahead := now + int64(maxClockSkew)
		c.observe(Stamp{ahead, otherTest})
		if got := c.Next().At; got != ahead+1 {
			t.Errorf("%d after the start, want 1 after what was observed", got-now)
		}
		c.observe(Stamp{now, otherTest}) // older: changes nothing
		c.observe(Stamp{ahead + int64(time.Hour), otherTest})
		if got := c.Next().At; got != ahead+2 {
			t.Errorf("%d after the start, want an hour not to be followed", got-now)
		}
	})
}

// What is too old after one change, and after several in either order.
func TestBound(t *testing.T) {
	const own, other, third = ownTest, otherTest, otherTest + 1
	const skew = int64(maxClockSkew)
	mine := removal(Stamp{10, own}, Stamp{10, own})      // this process's, at 10
	theirs := removal(Stamp{20, other}, Stamp{30, own})  // another's, heard of at 30
	ahead := removal(Stamp{skew, other}, Stamp{30, own}) // another's, by a clock far ahead
	value := renewal(Stamp{10, own})                     // no removal
	for _, tt := range []struct {
		name    string
		b       Bound
		too     []Stamp // too old
		allowed []Stamp
	}{
		{"none", Bound{}, nil, []Stamp{{1, own}, {1, other}}},
		{"own", mine, []Stamp{{9, own}, {10 + skew, other}, {11, third}}, []Stamp{{10, own}, {11, own}, {11 + skew, other}}},
		{"another's", theirs,
			[]Stamp{{30, own}, {19, other}, {20 + skew, third}},
			[]Stamp{{31, own}, {20, other}, {21, other}, {21 + skew, third}}},
		{"a value", value, []Stamp{{9, own}, {10, other}}, []Stamp{{10, own}, {11, other}}},
		// The other's may have been before: nothing of its process either, since it may be ahead.
		{"own, and another's", mine.and(theirs),
			[]Stamp{{30, own}, {20, other}, {21, other}, {10 + skew, other}, {20 + skew, third}},
			[]Stamp{{31, own}, {21 + skew, other}, {21 + skew, third}}},
		{"another's that is surely later", mine.and(removal(Stamp{11 + skew, other}, Stamp{2 * skew, own})),
			[]Stamp{{2 * skew, own}, {10 + skew, other}, {11 + 2*skew, third}},
			[]Stamp{{11 + skew, other}, {2*skew + 1, own}}},
		{"another's, then own", theirs.and(removal(Stamp{40, own}, Stamp{40, own})),
			[]Stamp{{39, own}, {40 + skew, other}},
			[]Stamp{{40, own}, {41 + skew, other}}},
		{"another's ahead, then own", ahead.and(removal(Stamp{40, own}, Stamp{40, own})),
			[]Stamp{{39, own}, {skew, other}, {2 * skew, other}, {2 * skew, third}},
			[]Stamp{{40, own}, {2*skew + 1, other}}},
	} {
		for _, b := range []Bound{tt.b, tt.b.and(Bound{}), Bound{}.and(tt.b), tt.b.and(tt.b)} {
			for _, s := range tt.too {
				if b.Allows(s) {
					t.Errorf("%s: %+v allows %+v", tt.name, b, s)
				}
			}
			for _, s := range tt.allowed {
				if !b.Allows(s) {
					t.Errorf("%s: %+v does not allow %+v", tt.name, b, s)
				}
			}
		}
	}
}

// The order in which changes are heard of does not matter.
func TestBoundAndCommutes(t *testing.T) {
	bounds := []Bound{{}, renewal(Stamp{5, ownTest})}
	for at := range int64(3) {
		for by := range uint64(3) {
			bounds = append(bounds, removal(Stamp{1 + at*int64(maxClockSkew), ownTest + by}, Stamp{7 + at, ownTest}))
		}
	}
	for _, b := range bounds {
		for _, c := range bounds {
			if one, other := b.and(c), c.and(b); one != other {
				t.Errorf("%+v and %+v: %+v, or %+v", b, c, one, other)
			}
		}
	}
}
