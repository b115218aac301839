package cachefetch

import (
	"fmt"
	"time"

	"github.com/freshet-go/freshet/internal/level2"
	"github.com/freshet-go/freshet/internal/option"
)

const (
	defaultBackendTimeout = 50 * time.Millisecond
	defaultBackendQueue   = 4096
	defaultLeaseWait      = 5 * time.Second

	minBackendQueueBytes = 64 << 10
)

// checkBackend replaces the zero values of the fields that are about the
// backend, and adds an error for each that no cache can be made with.
// LoadTimeout and TTL have been replaced before.
func (o *Options[V]) checkBackend(bad *option.Errors) {
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
				bad.Add(f.field, option.Set, "has no effect without {Backend}", "Backend")
			}
		}
		return
	}
	option.Default(bad, "BackendTTL", &o.BackendTTL, min(o.TTL, level2.MaxTTL))
	option.Default(bad, "BackendTimeout", &o.BackendTimeout, defaultBackendTimeout)
	option.Default(bad, "LeaseWait", &o.LeaseWait, min(defaultLeaseWait, o.LoadTimeout/2))
	option.Default(bad, "BackendQueue", &o.BackendQueue, defaultBackendQueue)
	option.Default(bad, "BackendQueueBytes", &o.BackendQueueBytes, max(o.MaxBytes/16, minBackendQueueBytes))
	if o.BackendTTL > level2.MaxTTL {
		bad.Add("BackendTTL", o.BackendTTL, fmt.Sprintf("must not exceed %v", level2.MaxTTL))
	}
	if o.BackendTimeout >= o.LoadTimeout {
		bad.Add("BackendTimeout", o.BackendTimeout, fmt.Sprintf("must be less than {LoadTimeout}, %v", o.LoadTimeout), "LoadTimeout")
	}
	if o.LeaseWait >= o.LoadTimeout {
		bad.Add("LeaseWait", o.LeaseWait, fmt.Sprintf("must be less than {LoadTimeout}, %v: nothing would be loaded after it", o.LoadTimeout), "LoadTimeout")
	}
	if o.Codec == nil {
		o.Codec = defaultCodec[V]()
		if _, isJSON := o.Codec.(JSONCodec[V]); isJSON && writesNothing[V]() {
			bad.Add("Codec", o.Codec, "encoding/json would lose all of the value: set a Codec, or export its fields")
		}
	}
}
