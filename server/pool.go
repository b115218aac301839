package server

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-go/freshet/cachefetch/upstream"
)

// transportOptions are the settings of an upstream's client. What is zero here
// and not a gateway's own default is that of package upstream.
func (u Upstream) transportOptions() upstream.Options {
	o := upstream.Options{
		Name: u.Name,
		// A reload replaces a transport by one of the same name while
		// requests are under way. The admin listener has the metrics of both.
		Unlisted:              true,
		RequestsPerSecond:     u.RequestsPerSecond,
		Latency:               u.Latency,
		MaxConnsPerHost:       u.MaxConns,
		MaxIdleConnsPerHost:   u.MaxIdleConns,
		MaxInFlight:           u.MaxInFlight,
		MaxQueue:              u.MaxQueue,
		QueueTimeout:          u.QueueTimeout,
		ConnTimeout:           u.ConnTimeout,
		DialTimeout:           u.DialTimeout,
		TLSTimeout:            u.TLSTimeout,
		ResponseHeaderTimeout: u.ResponseHeaderTimeout,
		BodyTimeout:           u.BodyTimeout,
		// Bodies may be long: BodyTimeout watches over them.
		RequestTimeout:  cmp.Or(u.RequestTimeout, -1),
		IdleConnTimeout: u.IdleTimeout,
		MaxConnAge:      u.MaxConnAge,
		DisableHTTP2:    u.NoHTTP2,
		H2C:             u.H2C,
		// Clients get the bytes that the upstream sent, compressed or not.
		DisableCompression: true,
	}
	if !u.Proxy {
		o.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	return o
}

// poolKeys maps the names of the transport's options to those in a file. A
// name comes before those that it begins with.
var poolKeys = []string{
	"RequestsPerSecond", "requests_per_second",
	"Latency", "latency",
	"MaxConnsPerHost", "max_conns",
	"MaxIdleConnsPerHost", "max_idle_conns",
	"MaxInFlight", "max_in_flight",
	"MaxQueue", "max_queue",
	"QueueTimeout", "queue_timeout",
	"ConnTimeout", "conn_timeout",
	"DialTimeout", "dial_timeout",
	"TLSTimeout", "tls_timeout",
	"ResponseHeaderTimeout", "response_header_timeout",
	"BodyTimeout", "body_timeout",
	"RequestTimeout", "request_timeout",
	"IdleConnTimeout", "idle_timeout",
	"MaxConnAge", "max_conn_age",
	"DisableHTTP2", "http2: false",
	"H2C", "h2c",
}

var poolKey = strings.NewReplacer(poolKeys...)

// validatePool reports what is wrong with an upstream's client where it stands
// in the file, in the file's words.
func validatePool(l *errorList, path string, u Upstream) {
	_, err := u.withDefaults().transportOptions().WithDefaults()
	for _, e := range flatten(err) {
		field, reason, ok := strings.Cut(strings.TrimPrefix(e.Error(), "upstream: Options."), ": ")
		if !ok {
			l.add(path, "%v", e)
			continue
		}
		l.add(path+"."+poolKey.Replace(field), "%s", poolKey.Replace(reason))
	}
}

// withDefaults fills in what a gateway has other defaults for than a client
// inside a program.
func (u Upstream) withDefaults() Upstream {
	orDefault(&u.BodyTimeout, 5*time.Minute)
	if header := time.Minute; u.RequestTimeout > 0 {
		orDefault(&u.ResponseHeaderTimeout, min(header, u.RequestTimeout))
	} else {
		orDefault(&u.ResponseHeaderTimeout, header)
	}
	return u
}
