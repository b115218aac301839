package limit

import "time"

// A Law finds how many pieces of work may be under way at once, from how long
// each takes. Work that waits for others, somewhere behind, takes longer: more of
// it at once then brings nothing but waiting.
//
// It compares the mean time of an epoch with what work takes that waits for
// nothing. If work takes longer, the limit is lowered by as much (Little's law),
// which is a trial: if as much is done in a second as before, pieces of work had
// waited behind each other; if less is done, that is the time that work takes now,
// and the limit comes back. As long as work takes no longer, and the limit is
// reached, the limit grows, faster from epoch to epoch. Now and then, a limit that
// is reached is lowered to see whether there is waiting that has come unnoticed.
//
// The idea that a limit follows the gradient of latency is that of TCP Vegas and
// of Netflix's concurrency-limits; that a trial tells drift apart is ours. It is
// not safe for concurrent use.
type Law struct {
	least, most float64
	limit       float64

	usual time.Duration // that work takes which waits for nothing; 0 = not known
	trial trial         // if the limit was lowered in this epoch
	calm  int           // epochs without waiting, one after the other
	due   int           // epochs to go to the next trial without need
	pause int           // epochs between these
	doubt bool          // whether a trial that was in vain has shown what is usual now

	epoch epoch
}

// A trial is a limit that was lowered.
type trial struct {
	from     float64 // the limit before; 0 = no trial
	underWay float64 // before
	rate     float64 // before
	took     time.Duration
}

// An epoch measures what begins after a change. Of that it follows a cohort, the
// first so many, until nearly all of them have ended: the mean of those that end
// first would be that of the quick.
type epoch struct {
	began       time.Time
	cohort      uint32 // its number, not 0
	size, begun int    // of the cohort

	count int           // of the cohort, that have ended
	sum   time.Duration // that those have taken
	work  int           // sum of what was under way as each of it began
	full  bool          // the limit was reached
}

// seen is what an epoch has shown.
type seen struct {
	took     time.Duration // mean
	underWay float64       // mean
	rate     float64       // done in a second, by Little's law
	full     bool
}

// What the law allows.
const (
	tolerance = 1.5                  // of the usual time, that is not taken for waiting
	slack     = 2 * time.Millisecond // beside it
	room      = 1.25                 // of what is under way without waiting
	steepest  = 0.2                  // what is left of a limit at least
	gentle    = 0.8                  // the same, where the limit was not reached
	changed   = 1.25                 // of the time before a trial, that no trial explains
	probe     = 0.75                 // what is left of it in a trial without need
	rarest    = 64                   // epochs between trials without need
	enough    = 20                   // pieces of work in a cohort, at least
	plenty    = 200                  // at most
)

// NewLaw returns the law of a limit between two bounds. It begins with the upper
// one.
func NewLaw(least, most int) *Law {
	return &Law{least: float64(least), most: float64(most), limit: float64(most), pause: 2, due: 2, epoch: epoch{cohort: 1}}
}

// Limit returns how many may be under way.
func (l *Law) Limit() int { return int(l.limit) }

// Usual returns how long work takes that waits for nothing, 0 if that is not
// known.
func (l *Law) Usual() time.Duration { return l.usual }

// Full notes that the limit was reached.
func (l *Law) Full() { l.epoch.full = true }

// A Start is the beginning of a piece of work.
type Start struct {
	at     time.Time
	cohort uint32
}

// Begin notes that a piece of work begins, beside so many.
func (l *Law) Begin(now time.Time, beside int) Start {
	e := &l.epoch
	if e.began.IsZero() && beside <= l.Limit() { // what another limit has let in is done
		e.began = now
		e.size = min(max(enough, beside/2), plenty)
	}
	if e.began.IsZero() || e.begun == e.size {
		return Start{at: now}
	}
	e.begun++
	e.work += beside + 1
	return Start{now, e.cohort}
}

// End notes that a piece of work has ended.
func (l *Law) End(s Start, now time.Time) {
	e := &l.epoch
	if e.began.IsZero() || s.cohort != e.cohort {
		return
	}
	e.count++
	e.sum += now.Sub(s.at)
	if e.count >= e.size-e.size/10 && e.sum > 0 {
		mean := e.sum / time.Duration(e.count)
		underWay := float64(e.work) / float64(e.begun)
		l.judge(seen{took: mean, underWay: underWay, rate: underWay / mean.Seconds(), full: e.full})
		l.epoch = epoch{cohort: e.cohort + 1}
	}
}

// judge ends an epoch.
func (l *Law) judge(s seen) {
	if l.usual == 0 {
		l.usual = s.took
	}
	from := l.limit
	switch t := l.trial; {
	case t.from > 0 && float64(s.took) > changed*float64(t.took):
		from, l.trial = t.from, trial{} // less at once took longer: something else has happened meanwhile
	case t.from > 0 && t.kept(s):
		l.trial, l.pause, l.calm, l.doubt = trial{}, 2, 0, false
		l.usual = min(l.usual, s.took)
	case t.from > 0: // it was in vain
		l.trial, l.pause, l.calm = trial{}, min(2*l.pause, rarest), 0
		l.due = l.pause
		l.set(t.from)
		switch waits := l.waits(s); {
		case waits && !l.doubt:
			// What was measured before may have been half of one thing and half
			// of another.
			l.doubt = true
		case waits:
			l.usual, l.doubt, l.pause, l.due = s.took, false, 2, 2
		}
		return
	}
	l.learn(s.took)
	switch {
	case l.waits(s):
		left := max(room*float64(l.usual)/float64(s.took), steepest)
		if !s.full {
			left = max(left, gentle) // it may be nobody's fault, and few have to wait
		}
		l.try(from, min(s.underWay, l.limit)*left, s)
	case s.full && l.due <= 0:
		l.due = l.pause
		l.try(from, l.limit*probe, s)
	case s.full:
		l.doubt = false
		l.due--
		l.calm = min(l.calm+1, 3)
		l.set(l.limit * (1 + 0.1*float64(int(1)<<l.calm)))
	}
}

// waits reports whether work takes longer than usual.
func (l *Law) waits(s seen) bool {
	return s.took > time.Duration(tolerance*float64(l.usual))+slack
}

// kept reports whether as much is done as before the trial: at least half of what
// would be missing if none of it had waited.
func (t trial) kept(s seen) bool {
	return s.rate >= t.rate*(1+min(1, s.underWay/t.underWay))/2
}

// learn has the usual time fall to what work takes. It does not rise but by a
// trial: what rises slowly with the load would be taken for usual.
func (l *Law) learn(took time.Duration) {
	if took < l.usual {
		l.usual -= (l.usual - took) / 4
	}
}

// try lowers the limit.
func (l *Law) try(from, limit float64, s seen) {
	l.calm = 0
	if l.set(limit); l.limit < from {
		l.trial = trial{from, s.underWay, s.rate, s.took}
	}
}

func (l *Law) set(limit float64) { l.limit = min(max(limit, l.least), l.most) }
