package cachefetch

import (
	"crypto/tls"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTransportOptionsErrorsNameFieldAndValue(t *testing.T) {
	for _, tt := range []struct {
		field, value string
		o            TransportOptions
	}{
		{"RequestsPerSecond", "-1", TransportOptions{RequestsPerSecond: -1, Latency: time.Second}},
		{"RequestsPerSecond", "NaN", TransportOptions{RequestsPerSecond: math.NaN(), Latency: time.Second}},
		{"RequestsPerSecond", "+Inf", TransportOptions{RequestsPerSecond: math.Inf(1), Latency: time.Second}},
		{"RequestsPerSecond", "0", TransportOptions{Latency: time.Second}},
		{"RequestsPerSecond", "50000", TransportOptions{RequestsPerSecond: 50000, Latency: time.Second}}, // more than there are ports
		{"Latency", "0s", TransportOptions{RequestsPerSecond: 100}},
		{"Latency", "-1s", TransportOptions{RequestsPerSecond: 100, Latency: -time.Second}},
		{"Latency", "30s", TransportOptions{RequestsPerSecond: 1, Latency: 30 * time.Second}}, // the header's own limit
		{"MaxConnsPerHost", "-1", TransportOptions{MaxConnsPerHost: -1}},
		{"MaxConnsPerHost", "70000", TransportOptions{MaxConnsPerHost: 70000}},
		{"MaxConnsPerHost", "5", TransportOptions{MaxConnsPerHost: 5, RequestsPerSecond: 100, Latency: time.Second}},
		{"MaxIdleConnsPerHost", "-1", TransportOptions{MaxIdleConnsPerHost: -1}},
		{"MaxIdleConnsPerHost", "9", TransportOptions{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 9}},
		{"MaxIdleConnsPerHost", "9", TransportOptions{MaxInFlight: 8, MaxIdleConnsPerHost: 9}},
		{"MaxIdleConns", "-1", TransportOptions{MaxIdleConns: -1}},
		{"MaxIdleConns", "7", TransportOptions{MaxIdleConnsPerHost: 8, MaxIdleConns: 7}},
		{"MaxInFlight", "-1", TransportOptions{MaxInFlight: -1}},
		{"MaxInFlight", "7", TransportOptions{MaxConnsPerHost: 8, MaxInFlight: 7}},
		{"MaxInFlight", "7", TransportOptions{RequestsPerSecond: 100, Latency: time.Second, MaxInFlight: 7}},
		{"QueueTimeout", "1s", TransportOptions{MaxQueue: -1, QueueTimeout: time.Second}},
		{"QueueTimeout", "2s", TransportOptions{QueueTimeout: 2 * time.Second, RequestTimeout: 2 * time.Second}},
		{"QueueTimeout", "-1s", TransportOptions{QueueTimeout: -time.Second}},
		{"ConnTimeout", "-1s", TransportOptions{ConnTimeout: -time.Second}},
		{"DialTimeout", "-1s", TransportOptions{DialTimeout: -time.Second}},
		{"TLSTimeout", "-1s", TransportOptions{TLSTimeout: -time.Second}},
		{"ResponseHeaderTimeout", "-1s", TransportOptions{ResponseHeaderTimeout: -time.Second}},
		{"ResponseHeaderTimeout", "3s", TransportOptions{ResponseHeaderTimeout: 3 * time.Second, RequestTimeout: 2 * time.Second}},
		{"BodyTimeout", "-1s", TransportOptions{BodyTimeout: -time.Second}},
		{"IdleConnTimeout", "-1s", TransportOptions{IdleConnTimeout: -time.Second}},
		{"H2C", "true", TransportOptions{H2C: true, DisableHTTP2: true}},
		{"H2C", "true", TransportOptions{H2C: true, TLSClientConfig: new(tls.Config)}},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			_, err := NewTransport(tt.o)
			if want := fmt.Sprintf("cachefetch: TransportOptions.%s: %s: ", tt.field, tt.value); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q...", err, want)
			}
		})
	}
	_, err := NewTransport(TransportOptions{MaxConnsPerHost: 8, MaxInFlight: 7, MaxIdleConnsPerHost: 9, DialTimeout: -1})
	if strings.Count(fmt.Sprint(err), "TransportOptions.") != 4 {
		t.Errorf("three sizes that do not agree and a bad time, got %v", err)
	}
}

// The sizes that are left out follow from the others, and agree with them.
func TestTransportSizesFollow(t *testing.T) {
	type sizes struct{ conns, idlePerHost, idle, inFlight, queue int }
	for _, tt := range []struct {
		name string
		o    TransportOptions
		want sizes
	}{
		{"nothing", TransportOptions{}, sizes{1024, 1024, 4096, 2048, 2048}},
		// 1,500 in flight on average, and 3 x 38.7 more at times.
		{"intent", TransportOptions{RequestsPerSecond: 5000, Latency: 300 * time.Millisecond}, sizes{1617, 1617, 6468, 3234, 3234}},
		{"seldom", TransportOptions{RequestsPerSecond: 0.1, Latency: 100 * time.Millisecond}, sizes{1, 1, 4, 2, 2}},
		{"connections", TransportOptions{MaxConnsPerHost: 10}, sizes{10, 10, 40, 20, 20}},
		{"few in flight", TransportOptions{MaxInFlight: 5}, sizes{5, 5, 20, 5, 5}},
		{"many in flight", TransportOptions{MaxInFlight: 9000}, sizes{1024, 1024, 4096, 9000, 9000}},
		{"idle in all", TransportOptions{MaxIdleConns: 50}, sizes{1024, 50, 50, 2048, 2048}},
		{"no queue", TransportOptions{MaxConnsPerHost: 10, MaxQueue: -1}, sizes{10, 10, 40, 20, -1}},
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
		o                    TransportOptions
		queue, header, whole time.Duration
	}{
		{"nothing", TransportOptions{}, time.Second, 30 * time.Second, time.Minute},
		{"short whole", TransportOptions{RequestTimeout: time.Second}, time.Second / 2, time.Second, time.Second},
		{"long header", TransportOptions{ResponseHeaderTimeout: time.Hour}, time.Second, time.Hour, 2 * time.Hour},
		{"endless", TransportOptions{RequestTimeout: -1}, time.Second, 30 * time.Second, -1},
	} {
		o, err := tt.o.WithDefaults()
		if err != nil || o.QueueTimeout != tt.queue || o.ResponseHeaderTimeout != tt.header || o.RequestTimeout != tt.whole {
			t.Errorf("%s: queue %v, header %v, whole %v, %v", tt.name, o.QueueTimeout, o.ResponseHeaderTimeout, o.RequestTimeout, err)
		}
	}
}

// The options are the caller's, and may be used for the next transport.
func TestNewTransportLeavesOptionsAlone(t *testing.T) {
	o := TransportOptions{TLSClientConfig: &tls.Config{ServerName: "a"}}
	tr := newTestTransport(t, o)
	if o.MaxConnsPerHost != 0 || o.Name != "" || tr.pool.Load().TLSClientConfig == o.TLSClientConfig {
		t.Error("modified or shared")
	}
	if tr.pool.Load().TLSClientConfig.ServerName != "a" {
		t.Error("the TLS configuration got lost")
	}
}
