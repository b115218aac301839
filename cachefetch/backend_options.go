package cachefetch

import (
	"fmt"
	"time"
)

const (
	defaultBackendTimeout = 50 * time.Millisecond
	defaultBackendQueue   = 4096
	defaultLeaseWait      = 5 * time.Second

	minBackendQueueBytes = 64 << 10
)

// checkBackend replaces the zero values of the fields that are about the
// backend, and calls bad for each that no cache can be made with. LoadTimeout
// and TTL have been replaced before.
func (o *Options[V]) checkBackend(bad func(field string, value any, why string)) {
	if o.Backend == nil {
		for _, f := range []struct {
			field string
			set   bool
		}{
			{"Codec", o.Codec != nil},
			{"BackendPrefix", o.BackendPrefix != ""},
			{"BackendTTL", o.BackendTTL != 0},
			{"BackendTimeout", o.BackendTimeout != 0},
			{"BackendQueue", o.BackendQueue != 0},
			{"BackendQueueBytes", o.BackendQueueBytes != 0},
			{"LeaseWait", o.LeaseWait != 0},
		} {
			if f.set {
				bad(f.field, "set", "has no effect without Backend")
			}
		}
		return
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		zero  time.Duration
	}{
		{"BackendTTL", &o.BackendTTL, o.TTL},
		{"BackendTimeout", &o.BackendTimeout, defaultBackendTimeout},
		{"LeaseWait", &o.LeaseWait, min(defaultLeaseWait, o.LoadTimeout/2)},
	} {
		if *d.value < 0 {
			bad(d.field, *d.value, "must not be negative")
		} else if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if o.BackendTTL > maxBackendTTL {
		bad("BackendTTL", o.BackendTTL, fmt.Sprintf("must not exceed %v", maxBackendTTL))
	}
	if o.BackendTimeout >= o.LoadTimeout {
		bad("BackendTimeout", o.BackendTimeout, fmt.Sprintf("must be less than LoadTimeout, %v", o.LoadTimeout))
	}
	if o.LeaseWait >= o.LoadTimeout {
		bad("LeaseWait", o.LeaseWait, fmt.Sprintf("must be less than LoadTimeout, %v: nothing would be loaded after it", o.LoadTimeout))
	}
	if o.BackendQueue < 0 {
		bad("BackendQueue", o.BackendQueue, "must not be negative")
	} else if o.BackendQueue == 0 {
		o.BackendQueue = defaultBackendQueue
	}
	if o.BackendQueueBytes < 0 {
		bad("BackendQueueBytes", o.BackendQueueBytes, "must not be negative")
	} else if o.BackendQueueBytes == 0 {
		o.BackendQueueBytes = max(o.MaxBytes/16, minBackendQueueBytes)
	}
	if o.Codec == nil {
		o.Codec = defaultCodec[V]()
		if _, isJSON := o.Codec.(JSONCodec[V]); isJSON && writesNothing[V]() {
			bad("Codec", o.Codec, "encoding/json would lose all of the value: set a Codec, or export its fields")
		}
	}
}
