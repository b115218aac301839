package upstream

import (
	"crypto/tls"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOptionsErrorsNameFieldAndValue(t *testing.T) {
	for _, tt := range []struct {
		field, value string
		o            Options
	}{
		{"RequestsPerSecond", "-1", Options{RequestsPerSecond: -1, Latency: time.Second}},
		{"RequestsPerSecond", "NaN", Options{RequestsPerSecond: math.NaN(), Latency: time.Second}},
		{"RequestsPerSecond", "+Inf", Options{RequestsPerSecond: math.Inf(1), Latency: time.Second}},
		{"RequestsPerSecond", "0", Options{Latency: time.Second}},
		{"RequestsPerSecond", "50000", Options{RequestsPerSecond: 50000, Latency: time.Second}}, // more than there are ports
		{"Latency", "0s", Options{RequestsPerSecond: 100}},
		{"Latency", "-1s", Options{RequestsPerSecond: 100, Latency: -time.Second}},
		{"Latency", "30s", Options{RequestsPerSecond: 1, Latency: 30 * time.Second}}, // the header's own limit
		{"MaxConnsPerHost", "-1", Options{MaxConnsPerHost: -1}},
		{"MaxConnsPerHost", "70000", Options{MaxConnsPerHost: 70000}},
		{"MaxConnsPerHost", "5", Options{MaxConnsPerHost: 5, RequestsPerSecond: 100, Latency: time.Second}},
		{"MaxIdleConnsPerHost", "-1", Options{MaxIdleConnsPerHost: -1}},
		{"MaxIdleConnsPerHost", "9", Options{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 9}},
		{"MaxIdleConnsPerHost", "9", Options{MaxInFlight: 8, MaxIdleConnsPerHost: 9}},
		{"MaxIdleConns", "-1", Options{MaxIdleConns: -1}},
		{"MaxIdleConns", "7", Options{MaxIdleConnsPerHost: 8, MaxIdleConns: 7}},
		{"MaxInFlight", "-1", Options{MaxInFlight: -1}},
		{"MaxInFlight", "7", Options{MaxConnsPerHost: 8, MaxInFlight: 7}},
		{"MaxInFlight", "7", Options{RequestsPerSecond: 100, Latency: time.Second, MaxInFlight: 7}},
		{"QueueTimeout", "1s", Options{MaxQueue: -1, QueueTimeout: time.Second}},
		{"QueueTimeout", "2s", Options{QueueTimeout: 2 * time.Second, RequestTimeout: 2 * time.Second}},
		{"QueueTimeout", "-1s", Options{QueueTimeout: -time.Second}},
		{"ConnTimeout", "-1s", Options{ConnTimeout: -time.Second}},
		{"DialTimeout", "-1s", Options{DialTimeout: -time.Second}},
		{"TLSTimeout", "-1s", Options{TLSTimeout: -time.Second}},
		{"ResponseHeaderTimeout", "-1s", Options{ResponseHeaderTimeout: -time.Second}},
		{"ResponseHeaderTimeout", "3s", Options{ResponseHeaderTimeout: 3 * time.Second, RequestTimeout: 2 * time.Second}},
		{"BodyTimeout", "-1s", Options{BodyTimeout: -time.Second}},
		{"IdleConnTimeout", "-1s", Options{IdleConnTimeout: -time.Second}},
		{"H2C", "true", Options{H2C: true, DisableHTTP2: true}},
		{"H2C", "true", Options{H2C: true, TLSClientConfig: new(tls.Config)}},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			_, err := New(tt.o)
			if want := fmt.Sprintf("upstream: Options.%s: %s: ", tt.field, tt.value); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q...", err, want)
			}
		})
	}
	_, err := New(Options{MaxConnsPerHost: 8, MaxInFlight: 7, MaxIdleConnsPerHost: 9, DialTimeout: -1})
	if strings.Count(fmt.Sprint(err), "Options.") != 4 {
		t.Errorf("three sizes that do not agree and a bad time, got %v", err)
	}
}

// The sizes that are left out follow from the others, and agree with them.
func TestTransportSizesFollow(t *testing.T) {
	type sizes struct{ conns, idlePerHost, idle, inFlight, queue int }
	for _, tt := range []struct {
		name string
		o    Options
		want sizes
	}{
		{"nothing", Options{}, sizes{1024, 1024, 4096, 2048, 2048}},
		// 1,500 in flight on average, and 3 x 38.7 more at times.
		{"intent", Options{RequestsPerSecond: 5000, Latency: 300 * time.Millisecond}, sizes{1617, 1617, 6468, 3234, 3234}},
		{"seldom", Options{RequestsPerSecond: 0.1, Latency: 100 * time.Millisecond}, sizes{1, 1, 4, 2, 2}},
		{"connections", Options{MaxConnsPerHost: 10}, sizes{10, 10, 40, 20, 20}},
		{"few in flight", Options{MaxInFlight: 5}, sizes{5, 5, 20, 5, 5}},
		{"many in flight", Options{MaxInFlight: 9000}, sizes{1024, 1024, 4096, 9000, 9000}},
		{"idle in all", Options{MaxIdleConns: 50}, sizes{1024, 50, 50, 2048, 2048}},
		{"no queue", Options{MaxConnsPerHost: 10, MaxQueue: -1}, sizes{10, 10, 40, 20, -1}},
	} {
		o, err := tt.o.WithDefaults()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if again, err := o.WithDefaults(); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%s: are not accepted as they are: %v", tt.name, err)
		}
		if got := (sizes{o.MaxConnsPerHost, o.MaxIdleConnsPerHost, o.MaxIdleConns, o.MaxInFlight, o.MaxQueue}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestTransportTimesFollow(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		o                    Options
		queue, header, whole time.Duration
	}{
		{"nothing", Options{}, time.Second, 30 * time.Second, time.Minute},
		{"short whole", Options{RequestTimeout: time.Second}, time.Second / 2, time.Second, time.Second},
		{"long header", Options{ResponseHeaderTimeout: time.Hour}, time.Second, time.Hour, 2 * time.Hour},
		{"endless", Options{RequestTimeout: -1}, time.Second, 30 * time.Second, -1},
	} {
		o, err := tt.o.WithDefaults()
		if err != nil || o.QueueTimeout != tt.queue || o.ResponseHeaderTimeout != tt.header || o.RequestTimeout != tt.whole {
			t.Errorf("%s: queue %v, header %v, whole %v, %v", tt.name, o.QueueTimeout, o.ResponseHeaderTimeout, o.RequestTimeout, err)
		}
	}
}

// The options are the caller's, and may be used for the next transport.
func TestNewLeavesOptionsAlone(t *testing.T) {
	o := Options{TLSClientConfig: &tls.Config{ServerName: "a"}}
	tr := newTestTransport(t, o)
	if o.MaxConnsPerHost != 0 || o.Name != "" || tr.pool.Load().TLSClientConfig == o.TLSClientConfig {
		t.Error("modified or shared")
	}
	if tr.pool.Load().TLSClientConfig.ServerName != "a" {
		t.Error("the TLS configuration got lost")
	}
}
