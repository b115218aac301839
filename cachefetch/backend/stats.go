package backend

// Stats say how a cache gets on with its [Backend]. They are all zero
// without one. Counts are since the cache was made.
type Stats struct {
	Hits     uint64 // values that were read and could be used
	Misses   uint64 // reads that found nothing to use, for whatever reason
	Bad      uint64 // of these, bytes that were damaged, of another format, or of another key
	Errors   uint64 // calls that failed
	Timeouts uint64 // calls that did not answer within cachefetch.Options.BackendTimeout
	Skips    uint64 // reads not tried: breaker open, or too many under way
	Drops    uint64 // values that were not written and keys that were not removed, for want of room, time or luck

	Received uint64 // purges that other processes have told
	Resyncs  uint64 // times that the connection for these was made again, and all was looked up again

	Queued      int    // changes that are to be made
	QueuedBytes int64  // what they hold
	Open        bool   // a breaker keeps calls from the backend: reads and writes have one each
	Opened      uint64 // times that one began to
}
