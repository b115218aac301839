package upstream

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// complaints collects what is wrong with some options.
type complaints []error

func (c *complaints) add(field string, value any, format string, args ...any) {
	*c = append(*c, fmt.Errorf("upstream: Options.%s: %v: %s", field, value, fmt.Sprintf(format, args...)))
}

// WithDefaults returns o as [New] uses it, with the sizes and times
// that follow from those given, or an error that names every field no
// transport can be made with, and its value.
func (o Options) WithDefaults() (Options, error) {
	var bad complaints
	if o.Name == "" {
		o.Name = "default"
	}
	o.checkSizes(&bad)
	if len(bad) == 0 { // a negative size would be complained about twice
		o.checkAgreement(&bad)
		o.fillSizes()
	}
	o.checkTimes(&bad)
	if o.H2C && o.DisableHTTP2 {
		bad.add("H2C", true, "cannot be combined with DisableHTTP2")
	}
	if o.H2C && o.TLSClientConfig != nil {
		bad.add("H2C", true, "is for connections without TLS, but there is a TLSClientConfig")
	}
	return o, errors.Join(bad...)
}

// Validate returns the error that [New] would return for o itself.
func (o Options) Validate() error {
	_, err := o.WithDefaults()
	return err
}

// checkSizes looks at each size by itself.
func (o *Options) checkSizes(bad *complaints) {
	if !(o.RequestsPerSecond >= 0 && !math.IsInf(o.RequestsPerSecond, 1)) {
		bad.add("RequestsPerSecond", o.RequestsPerSecond, "must be a number and not negative")
	}
	if o.Latency < 0 {
		bad.add("Latency", o.Latency, "must not be negative")
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"MaxConnsPerHost", o.MaxConnsPerHost},
		{"MaxIdleConnsPerHost", o.MaxIdleConnsPerHost},
		{"MaxIdleConns", o.MaxIdleConns},
		{"MaxInFlight", o.MaxInFlight},
		{"MinInFlight", o.MinInFlight},
	} {
		if n.value < 0 {
			bad.add(n.field, n.value, "must not be negative")
		}
	}
	if o.MaxConnsPerHost > maxConns {
		bad.add("MaxConnsPerHost", o.MaxConnsPerHost, "must be at most %d, the ports of a client", maxConns)
	}
}

// checkAgreement looks at the sizes that are given together.
//
// circles: one rule after the other, each about two sizes
func (o *Options) checkAgreement(bad *complaints) {
	intent := o.RequestsPerSecond > 0
	conns := o.MaxConnsPerHost
	switch {
	case intent && o.Latency == 0:
		bad.add("Latency", o.Latency, "is needed with RequestsPerSecond")
	case !intent && o.Latency > 0:
		bad.add("RequestsPerSecond", o.RequestsPerSecond, "is needed with Latency")
	case intent && conns > 0 && conns != ConnsFor(o.RequestsPerSecond, o.Latency):
		bad.add("MaxConnsPerHost", conns, "does not agree with RequestsPerSecond and Latency, which need %d",
			ConnsFor(o.RequestsPerSecond, o.Latency))
	case intent:
		conns = ConnsFor(o.RequestsPerSecond, o.Latency)
		if conns > maxIntentConns {
			bad.add("RequestsPerSecond", o.RequestsPerSecond,
				"at %v each needs %d connections, but a client has about %d ports to one address", o.Latency, conns, maxIntentConns)
		}
	}
	if o.MaxInFlight > 0 && o.MinInFlight > o.MaxInFlight {
		bad.add("MinInFlight", o.MinInFlight, "must be at most MaxInFlight, %d", o.MaxInFlight)
	}
	if conns > 0 && o.MaxInFlight > 0 && o.MaxInFlight < conns {
		bad.add("MaxInFlight", o.MaxInFlight, "must be at least the number of connections, %d: the others could not be used", conns)
	}
	if conns > 0 && o.MaxIdleConnsPerHost > conns {
		bad.add("MaxIdleConnsPerHost", o.MaxIdleConnsPerHost, "must be at most the number of connections, %d", conns)
	}
	if o.MaxInFlight > 0 && o.MaxIdleConnsPerHost > o.MaxInFlight {
		bad.add("MaxIdleConnsPerHost", o.MaxIdleConnsPerHost, "must be at most MaxInFlight, %d", o.MaxInFlight)
	}
	if o.MaxIdleConns > 0 && o.MaxIdleConnsPerHost > o.MaxIdleConns {
		bad.add("MaxIdleConns", o.MaxIdleConns, "must be at least MaxIdleConnsPerHost, %d", o.MaxIdleConnsPerHost)
	}
	if o.MaxQueue < 0 && o.QueueTimeout > 0 {
		bad.add("QueueTimeout", o.QueueTimeout, "has no effect without a queue, and MaxQueue is %d", o.MaxQueue)
	}
}

// fillSizes derives the sizes that are left out. Those given agree.
func (o *Options) fillSizes() {
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = max(defaultMaxConns, o.MaxIdleConnsPerHost)
		if o.RequestsPerSecond > 0 {
			o.MaxConnsPerHost = ConnsFor(o.RequestsPerSecond, o.Latency)
		} else if o.MaxInFlight > 0 {
			o.MaxConnsPerHost = min(o.MaxConnsPerHost, o.MaxInFlight)
		}
	}
	if o.MaxIdleConnsPerHost == 0 {
		o.MaxIdleConnsPerHost = o.MaxConnsPerHost
		if o.MaxIdleConns > 0 {
			o.MaxIdleConnsPerHost = min(o.MaxIdleConnsPerHost, o.MaxIdleConns)
		}
	}
	if o.MaxIdleConns == 0 {
		o.MaxIdleConns = 4 * o.MaxIdleConnsPerHost
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 2 * o.MaxConnsPerHost
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = o.MaxInFlight
	}
}

// checkTimes looks at the durations and fills in those that are left out.
func (o *Options) checkTimes(bad *complaints) {
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"QueueTimeout", o.QueueTimeout},
		{"ConnTimeout", o.ConnTimeout},
		{"DialTimeout", o.DialTimeout},
		{"TLSTimeout", o.TLSTimeout},
		{"ResponseHeaderTimeout", o.ResponseHeaderTimeout},
		{"BodyTimeout", o.BodyTimeout},
		{"IdleConnTimeout", o.IdleConnTimeout},
	} {
		if d.value < 0 {
			bad.add(d.field, d.value, "must not be negative")
		}
	}
	fill(&o.RequestTimeout, max(defaultRequestTimeout, 2*o.ResponseHeaderTimeout))
	queue, header := defaultQueueTimeout, defaultResponseHeaderTimeout
	if whole := o.RequestTimeout; whole > 0 {
		if o.QueueTimeout >= whole {
			bad.add("QueueTimeout", o.QueueTimeout, "must be less than RequestTimeout, %v, or no time is left for the request", whole)
		}
		if o.ResponseHeaderTimeout > whole {
			bad.add("ResponseHeaderTimeout", o.ResponseHeaderTimeout, "must be at most RequestTimeout, %v", whole)
		}
		queue, header = min(queue, whole/2), min(header, whole)
	}
	if o.MaxQueue >= 0 {
		fill(&o.QueueTimeout, queue)
	}
	fill(&o.ConnTimeout, defaultConnTimeout)
	fill(&o.DialTimeout, defaultDialTimeout)
	fill(&o.TLSTimeout, defaultTLSTimeout)
	fill(&o.ResponseHeaderTimeout, header)
	fill(&o.BodyTimeout, defaultBodyTimeout)
	fill(&o.IdleConnTimeout, defaultIdleConnTimeout)
	fill(&o.MaxConnAge, defaultMaxConnAge)
	if o.Latency >= o.ResponseHeaderTimeout && o.ResponseHeaderTimeout > 0 {
		bad.add("Latency", o.Latency, "must be less than ResponseHeaderTimeout, %v, which would end most requests", o.ResponseHeaderTimeout)
	}
}

func fill(d *time.Duration, zero time.Duration) {
	if *d == 0 {
		*d = zero
	}
}
