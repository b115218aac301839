package cachefetch

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
	"github.com/freshet-go/freshet/internal/engine"
	"github.com/freshet-go/freshet/internal/option"
)

// Options configures a [Cache]. The zero value works for all types of values
// that Cost can be left out for.
type Options[V any] struct {
	// MaxBytes bounds the bytes of all values held, with their keys and
	// bookkeeping, also while writes are in flight. Zero means 64 MiB; else at
	// least 1024. One value may take up to an eighth of it (up to 8 KiB in caches of less than
	// 64 KiB). The garbage collector's own overhead comes on top of it: see
	// LimitMemory.
	MaxBytes int64

	// LimitMemory has the memory limit of the Go runtime, which is one for the
	// process, follow MaxBytes until Close: to a quarter more, and room for
	// what else is live. The garbage collector would let the heap grow to
	// twice what is held otherwise. A limit that GOMEMLIMIT or
	// debug.SetMemoryLimit has set stays as it is.
	LimitMemory bool

	// Cost returns the bytes of memory that a value refers to or consists of,
	// without its key. It is called once for each value that is to be stored,
	// concurrently, and must not modify it. A panic in it is one of the load,
	// or of Set. Nil means an estimate, made by walking the value with
	// reflection, which takes some microseconds for a small struct, and the
	// longer the more the value refers to. It must be set, else New returns an
	// error, if values can have locks, channels, atomic numbers or handles in
	// them: such things change while they are in use, and cannot be walked
	// safely. The estimate does not look into one that it meets behind an
	// interface, and counts the size of its type alone.
	Cost func(V) int64

	// TTL is how long a value is fresh. Zero means one minute.
	TTL time.Duration

	// Jitter is the largest random part of TTL, between 0 and 1, by which a
	// value's lifetime is shortened, so that values loaded together do not
	// expire together. Zero means none.
	Jitter float64

	// StaleWhileRevalidate is how long after TTL a value is still returned at
	// once while one refresh runs behind. Zero means never.
	StaleWhileRevalidate time.Duration

	// StaleIfError is how long after TTL a value is still returned if loading
	// a new one fails: by an error other than ErrNotFound, a panic, or a
	// timeout. Zero means never.
	StaleIfError time.Duration

	// NegativeTTL is how long ErrNotFound (or an error that wraps it) is
	// remembered as the answer for a key. Zero means it is not.
	NegativeTTL time.Duration

	// FailureTTL is how long any other error of a load is remembered, of the
	// last 1024 keys whose loads failed, if there is no old value to return in
	// its place. Until then a fetch of the key returns it, and no load is
	// begun. Set, Delete and purges of all or of a prefix make it be
	// forgotten. Panics and timeouts are not remembered. Zero means a tenth of
	// a second, so that nothing is asked of a failing upstream more than ten
	// times a second for one key; a nanosecond, practically never.
	FailureTTL time.Duration

	// EarlyRefresh makes hits refresh a value behind before its TTL ends, each
	// by chance: the more likely, the nearer the end, the longer the value
	// took to load, and the more often it is asked for. It is the beta of
	// XFetch: at 1, on average e processes that share no cache load a value
	// anew before its end; larger numbers make it fewer and earlier. Zero
	// means that values are not refreshed while they are fresh.
	EarlyRefresh float64

	// SoftTimeout is how long a Fetch that holds a value usable under
	// StaleIfError waits for a load. After that it returns the old value; the
	// load goes on and its late result is stored. Zero means no such limit.
	SoftTimeout time.Duration

	// LoadTimeout is the deadline of the context of one load. Zero means 30
	// seconds. A load that ignores it is no longer waited for, and what it
	// then returns is not stored.
	LoadTimeout time.Duration

	// WaitTimeout is how long a Fetch waits for a load that another Fetch
	// began. Zero means as long as LoadTimeout allows.
	WaitTimeout time.Duration

	// RefreshWorkers is how many refreshes may run behind at once. When all
	// are busy, a stale value is returned and its refresh is left to a later
	// Fetch. What a FetchMany has refreshed by one call of its load takes one
	// worker. Zero means 16.
	RefreshWorkers int

	// RefreshBackoff is how long a key is left alone after refreshing it
	// failed while its old value can still be returned. It doubles with each
	// failure in a row, up to 32 times, and a random half of it is taken
	// away. Zero means one second.
	RefreshBackoff time.Duration

	// BatchSize is the largest number of keys that FetchMany gives to one
	// call of its load. Zero means 100.
	BatchSize int

	// Name is the label "cache" of the metrics. When it is set, they are also
	// part of what the program writes with github.com/VictoriaMetrics/metrics,
	// until Close, and a name that another cache has is an error. Empty means
	// "default", and that only Cache.WriteMetrics writes them.
	Name string

	// Logger gets what no caller can be told: a panic of a refresh, or of a
	// load that everyone has stopped waiting for. Nil means slog.Default().
	Logger *slog.Logger

	// Observer has functions to be called as the cache works. Nil means none.
	// It is copied by New.
	Observer *Observer

	// Backend is a second level behind this cache, in general shared with
	// other processes. A load asks it first; what was loaded or set is written
	// to it behind. It never costs an error, and a load no more than two times
	// BackendTimeout, or twice that while very many reads are under way, or
	// LeaseWait and a little where another process loads the same key. Nil
	// means none.
	Backend backend.Backend

	// Codec turns values into bytes for Backend. Nil means a BytesCodec if V
	// is []byte, a StringCodec if it is string, else a JSONCodec.
	Codec Codec[V]

	// BackendPrefix begins all keys in Backend. Caches that share a Backend
	// and hold different things need different ones. Change it when V changes
	// so that its old encoding decodes to something wrong.
	BackendPrefix string

	// BackendTTL is how long a value is fresh in Backend, at most a week. If
	// it is longer than TTL, a value is kept here for TTL and then read from
	// Backend again, where another process may have put a newer one. Zero
	// means TTL.
	BackendTTL time.Duration

	// BackendTimeout is how long one call of Backend may take. Zero means 50
	// milliseconds. After five reads in a row that failed or took longer, no
	// more are made for a second, then longer, up to 30 seconds. The same goes
	// for writes.
	BackendTimeout time.Duration

	// BackendQueue and BackendQueueBytes bound the changes that are yet to be
	// made in Backend, in number and in bytes as counted by Cost. What finds
	// no room is not written, and nothing older is read in its place. For
	// removals and purges there is as much room again; what finds none of that
	// becomes a purge of everything in Backend and in other processes. Zero
	// means 4096, and a sixteenth of MaxBytes, or 64 KiB if that is more. The
	// bytes come on top of MaxBytes, as far as the values are not held anyway.
	BackendQueue      int
	BackendQueueBytes int64

	// LeaseWait is how long a load waits for another process to load the same
	// key, if Backend has the Lease capability, and how long such a lease is
	// held. Zero means five seconds, or half of LoadTimeout if that is less.
	LeaseWait time.Duration
}

const (
	defaultMaxBytes       = 64 << 20
	defaultTTL            = time.Minute
	defaultFailureTTL     = 100 * time.Millisecond
	defaultLoadTimeout    = 30 * time.Second
	defaultRefreshWorkers = 16
	defaultRefreshBackoff = time.Second
	defaultBatchSize      = 100
	maxBackoffFactor      = 32
)

// An OptionError says what is wrong with one field of some options. New and
// Validate return all of them joined; errors.As finds the first.
type OptionError = option.Error

// Validate returns the error that [New] would return, nil if there is none but
// that the Name is taken.
func (o Options[V]) Validate() error {
	_, err := o.check()
	return err
}

// check returns o with its zero values replaced, or an error that names every
// field no cache can be made with, and its value.
func (o Options[V]) check() (Options[V], error) {
	bad := option.Of("cachefetch: Options")
	if o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes); o.MaxBytes < engine.MinBytes {
		bad.Add("MaxBytes", o.MaxBytes, fmt.Sprintf("must be at least %d bytes", engine.MinBytes))
	}
	if !(o.Jitter >= 0 && o.Jitter <= 1) { // refuses NaN too
		bad.Add("Jitter", o.Jitter, "must be between 0 and 1")
	}
	if !(o.EarlyRefresh >= 0 && o.EarlyRefresh <= maxEarlyRefresh) {
		bad.Add("EarlyRefresh", o.EarlyRefresh, fmt.Sprintf("must be between 0 and %d", maxEarlyRefresh))
	}
	option.Default(bad, "TTL", &o.TTL, defaultTTL)
	option.NotNegative(bad, "StaleWhileRevalidate", o.StaleWhileRevalidate)
	option.NotNegative(bad, "StaleIfError", o.StaleIfError)
	option.NotNegative(bad, "NegativeTTL", o.NegativeTTL)
	option.Default(bad, "FailureTTL", &o.FailureTTL, defaultFailureTTL)
	option.NotNegative(bad, "SoftTimeout", o.SoftTimeout)
	option.Default(bad, "LoadTimeout", &o.LoadTimeout, defaultLoadTimeout)
	option.NotNegative(bad, "WaitTimeout", o.WaitTimeout)
	option.Default(bad, "RefreshBackoff", &o.RefreshBackoff, defaultRefreshBackoff)
	option.Default(bad, "RefreshWorkers", &o.RefreshWorkers, defaultRefreshWorkers)
	option.Default(bad, "BatchSize", &o.BatchSize, defaultBatchSize)
	if o.SoftTimeout > 0 && o.StaleIfError == 0 {
		bad.Add("SoftTimeout", o.SoftTimeout, "has no effect without {StaleIfError}: there is no old value to return", "StaleIfError")
	}
	if o.SoftTimeout > o.LoadTimeout {
		bad.Add("SoftTimeout", o.SoftTimeout, fmt.Sprintf("must not exceed {LoadTimeout}, %v", o.LoadTimeout), "LoadTimeout")
	}
	if o.Cost == nil {
		var err error
		// No entry may take more than that: see engine.New.
		if o.Cost, err = newEstimate[V](max(o.MaxBytes/4, min(o.MaxBytes, 64<<10))); err != nil {
			bad.Add("Cost", nil, err.Error())
		}
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.checkBackend(bad)
	return o, bad.Err()
}
