package cachefetch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

func TestBackendOptionsErrors(t *testing.T) {
	backend := new(backendtest.Memory)
	for _, tt := range []struct {
		field, value string
		o            Options[string]
	}{
		{"Codec", "set", Options[string]{Codec: StringCodec{}}},
		{"BackendPrefix", "set", Options[string]{BackendPrefix: "users:"}},
		{"BackendTTL", "set", Options[string]{BackendTTL: time.Hour}},
		{"BackendTimeout", "set", Options[string]{BackendTimeout: time.Second}},
		{"BackendQueue", "set", Options[string]{BackendQueue: 1}},
		{"BackendQueueBytes", "set", Options[string]{BackendQueueBytes: 1}},
		{"LeaseWait", "set", Options[string]{LeaseWait: time.Second}},
		{"BackendTTL", "-1s", Options[string]{Backend: backend, BackendTTL: -time.Second}},
		{"BackendTTL", "192h0m0s", Options[string]{Backend: backend, BackendTTL: 8 * 24 * time.Hour}},
		{"BackendTimeout", "-1s", Options[string]{Backend: backend, BackendTimeout: -time.Second}},
		{"BackendTimeout", "1s", Options[string]{Backend: backend, BackendTimeout: time.Second, LoadTimeout: time.Second}},
		{"LeaseWait", "-1s", Options[string]{Backend: backend, LeaseWait: -time.Second}},
		{"LeaseWait", "30s", Options[string]{Backend: backend, LeaseWait: 30 * time.Second}},
		{"BackendQueue", "-1", Options[string]{Backend: backend, BackendQueue: -1}},
		{"BackendQueueBytes", "-1", Options[string]{Backend: backend, BackendQueueBytes: -1}},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			tt.o.MaxBytes = 1 << 20
			_, err := New(tt.o)
			if want := fmt.Sprintf("cachefetch: Options.%s: %s: ", tt.field, tt.value); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q...", err, want)
			}
		})
	}
}

func TestBackendOptionsDefaults(t *testing.T) {
	o, err := Options[string]{MaxBytes: 64 << 20, TTL: time.Hour, LoadTimeout: 3 * time.Second, Backend: new(backendtest.Memory)}.check()
	if err != nil {
		t.Fatal(err)
	}
	if o.Codec != (StringCodec{}) || o.BackendTTL != time.Hour || o.BackendTimeout != 50*time.Millisecond ||
		o.LeaseWait != 1500*time.Millisecond || o.BackendQueue != 4096 || o.BackendQueueBytes != 4<<20 {
		t.Errorf("%+v", o)
	}
}
