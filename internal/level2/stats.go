package level2

import "github.com/freshet-go/freshet/cachefetch/backend"

// Stats returns the counts.
func (l *Level[V]) Stats() backend.Stats {
	q := l.queue.usage()
	open, opened := l.calls.state()
	return backend.Stats{
		Hits:        l.hits.Load(),
		Misses:      l.misses.Load(),
		Bad:         l.bad.Load(),
		Errors:      l.calls.counts.errors.Load(),
		Timeouts:    l.calls.counts.timeouts.Load(),
		Skips:       l.calls.counts.skips.Load(),
		Drops:       q.drops,
		Received:    l.received.Load(),
		Resyncs:     l.resyncs.Load(),
		Queued:      q.ops,
		QueuedBytes: q.bytes,
		Open:        open,
		Opened:      opened,
	}
}
