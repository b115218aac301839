package server

import (
	"fmt"
	"io"
	"math"
	"os"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// Load reads a configuration file, as [Parse] does.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("server: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1)) // Parse refuses what is longer
	if err != nil {
		return Config{}, fmt.Errorf("server: %w", err)
	}
	return Parse(path, src)
}

// Parse reads a configuration in YAML. It is strict: an unknown key, a value
// of the wrong kind, a key or route that comes twice, a route to an upstream
// that does not exist, or a bad policy is an error. All errors found are
// returned together, up to a hundred, each a [*ConfigError] with its line and
// column in the file called name. Secrets of URLs are left out of them.
//
// What a file costs to read is in proportion to its size, whatever is in it:
// size, nesting, values and the expansion of aliases are bounded.
func Parse(name string, src []byte) (Config, error) {
	d := &decoder{errorList: &errorList{where: places{file: name, at: make(map[string]place)}}}
	var c Config
	if top := d.parseYAML(src); top != nil {
		d.mark("", top)
		decodeFields(d, "", top, configFields, &c)
	}
	// What has the wrong type was left zero, so a value may be reported as
	// missing that was only unreadable. Only one kind of error at a time.
	if err := d.err(); err != nil {
		return Config{}, err
	}
	c.where = d.where
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

var configFields = []field[Config]{
	{"listen", func(d *decoder, p string, n *node, c *Config) { c.Listen = d.str(p, n) }},
	{"admin", func(d *decoder, p string, n *node, c *Config) { c.Admin = d.str(p, n) }},
	{"admin_token", func(d *decoder, p string, n *node, c *Config) { c.AdminToken = d.secret(p, n) }},
	{"max_bytes", func(d *decoder, p string, n *node, c *Config) { c.MaxBytes = d.size(p, n) }},
	{"name", func(d *decoder, p string, n *node, c *Config) { c.Name = d.str(p, n) }},
	{"refresh_workers", func(d *decoder, p string, n *node, c *Config) { c.RefreshWorkers = d.integer(p, n) }},
	{"drain_timeout", func(d *decoder, p string, n *node, c *Config) { c.DrainTimeout = d.duration(p, n) }},
	{"read_header_timeout", func(d *decoder, p string, n *node, c *Config) { c.ReadHeaderTimeout = d.duration(p, n) }},
	{"idle_timeout", func(d *decoder, p string, n *node, c *Config) { c.IdleTimeout = d.duration(p, n) }},
	{"max_header_bytes", func(d *decoder, p string, n *node, c *Config) {
		v := d.size(p, n)
		if v > math.MaxInt32 {
			d.add(p, "%d: must be at most %d", v, math.MaxInt32)
			return
		}
		c.MaxHeaderBytes = int(v)
	}},
	{"max_connections", func(d *decoder, p string, n *node, c *Config) { c.MaxConnections = d.integer(p, n) }},
	{"max_connections_per_address", func(d *decoder, p string, n *node, c *Config) { c.MaxConnectionsPerAddress = d.integer(p, n) }},
	{"max_header_fields", func(d *decoder, p string, n *node, c *Config) { c.MaxHeaderFields = d.integer(p, n) }},
	{"h2c", func(d *decoder, p string, n *node, c *Config) { c.H2C = d.boolean(p, n) }},
	{"upstreams", func(d *decoder, p string, n *node, c *Config) {
		d.mapping(p, n, func(name, path string, entry pair) {
			u := Upstream{Name: name}
			decodeFields(d, path, entry.value, upstreamFields, &u)
			c.Upstreams = append(c.Upstreams, u)
		})
	}},
	{"routes", func(d *decoder, p string, n *node, c *Config) {
		d.items(p, n, func(path string, item *node) {
			var r Route
			decodeFields(d, path, item, routeFields, &r)
			c.Routes = append(c.Routes, r)
		})
	}},
}

var upstreamFields = []field[Upstream]{
	{"url", func(d *decoder, p string, n *node, u *Upstream) { u.URL = d.str(p, n) }},
	{"preserve_host", func(d *decoder, p string, n *node, u *Upstream) { u.PreserveHost = d.boolean(p, n) }},
	{"via", func(d *decoder, p string, n *node, u *Upstream) { u.NoVia = !d.boolean(p, n) }},
	{"h2c", func(d *decoder, p string, n *node, u *Upstream) { u.H2C = d.boolean(p, n) }},
	{"http2", func(d *decoder, p string, n *node, u *Upstream) { u.NoHTTP2 = !d.boolean(p, n) }},
	{"proxy", func(d *decoder, p string, n *node, u *Upstream) { u.Proxy = d.boolean(p, n) }},
	{"requests_per_second", func(d *decoder, p string, n *node, u *Upstream) { u.RequestsPerSecond = d.number(p, n) }},
	{"latency", func(d *decoder, p string, n *node, u *Upstream) { u.Latency = d.duration(p, n) }},
	{"max_conns", func(d *decoder, p string, n *node, u *Upstream) { u.MaxConns = d.integer(p, n) }},
	{"max_idle_conns", func(d *decoder, p string, n *node, u *Upstream) { u.MaxIdleConns = d.integer(p, n) }},
	{"max_in_flight", func(d *decoder, p string, n *node, u *Upstream) { u.MaxInFlight = d.integer(p, n) }},
	{"max_queue", func(d *decoder, p string, n *node, u *Upstream) { u.MaxQueue = d.integer(p, n) }},
	{"queue_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.QueueTimeout = d.duration(p, n) }},
	{"conn_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.ConnTimeout = d.duration(p, n) }},
	{"dial_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.DialTimeout = d.duration(p, n) }},
	{"tls_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.TLSTimeout = d.duration(p, n) }},
	{"response_header_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.ResponseHeaderTimeout = d.duration(p, n) }},
	{"body_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.BodyTimeout = d.duration(p, n) }},
	{"request_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.RequestTimeout = d.duration(p, n) }},
	{"idle_timeout", func(d *decoder, p string, n *node, u *Upstream) { u.IdleTimeout = d.duration(p, n) }},
	{"max_conn_age", func(d *decoder, p string, n *node, u *Upstream) { u.MaxConnAge = d.duration(p, n) }},
}

var routeFields = []field[Route]{
	{"pattern", func(d *decoder, p string, n *node, r *Route) { r.Pattern = d.str(p, n) }},
	{"upstream", func(d *decoder, p string, n *node, r *Route) { r.Upstream = d.str(p, n) }},
	{"strip_prefix", func(d *decoder, p string, n *node, r *Route) { r.StripPrefix = d.str(p, n) }},
	{"policy", func(d *decoder, p string, n *node, r *Route) { decodeFields(d, p, n, policyFields, &r.Policy) }},
	{"limit", func(d *decoder, p string, n *node, r *Route) {
		before := len(d.errs)
		decodeFields(d, p, n, limitFields, &r.Limit)
		if len(d.errs) == before && r.Limit == (cachemw.LimitOptions{}) {
			d.add(p, "has no max_in_flight")
		}
	}},
}

var limitFields = []field[cachemw.LimitOptions]{
	{"max_in_flight", func(d *decoder, p string, n *node, v *cachemw.LimitOptions) { v.MaxInFlight = d.integer(p, n) }},
	{"min_in_flight", func(d *decoder, p string, n *node, v *cachemw.LimitOptions) { v.MinInFlight = d.integer(p, n) }},
	{"max_queue", func(d *decoder, p string, n *node, v *cachemw.LimitOptions) { v.MaxQueue = d.integer(p, n) }},
	{"queue_timeout", func(d *decoder, p string, n *node, v *cachemw.LimitOptions) { v.QueueTimeout = d.duration(p, n) }},
}

var policyFields = []field[cachemw.Policy]{
	{"name", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.Name = d.str(p, n) }},
	{"ttl", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.TTL = d.duration(p, n) }},
	{"status_ttl", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.StatusTTL = d.statusTTL(p, n) }},
	{"heuristic_limit", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.HeuristicLimit = d.duration(p, n) }},
	{"targeted_fields", func(d *decoder, p string, n *node, v *cachemw.Policy) {
		v.TargetedFields = append([]string{}, d.strings(p, n)...) // an empty list is not the default
	}},
	{"set_cookie", func(d *decoder, p string, n *node, v *cachemw.Policy) {
		v.SetCookie = cachemw.SetCookie(d.str(p, n))
	}},
	{"stale_while_revalidate", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.StaleWhileRevalidate = d.duration(p, n) }},
	{"stale_if_error", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.StaleIfError = d.duration(p, n) }},
	{"soft_timeout", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.SoftTimeout = d.duration(p, n) }},
	{"fill_timeout", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.FillTimeout = d.duration(p, n) }},
	{"wait_timeout", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.WaitTimeout = d.duration(p, n) }},
	{"max_body_bytes", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.MaxBodyBytes = d.size(p, n) }},
	{"max_bytes", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.MaxBytes = d.size(p, n) }},
	{"max_waiting", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.MaxWaiting = d.integer(p, n) }},
	{"max_orphans", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.MaxOrphans = d.integer(p, n) }},
	{"max_variants", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.MaxVariants = d.integer(p, n) }},
	{"query", func(d *decoder, p string, n *node, v *cachemw.Policy) {
		decodeFields(d, p, n, queryFields, &v.Query)
	}},
	{"credentials", func(d *decoder, p string, n *node, v *cachemw.Policy) {
		v.Credentials = append([]string{}, d.strings(p, n)...) // an empty list is not the default
	}},
	{"headers", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.Headers = d.strings(p, n) }},
	{"request_directives", func(d *decoder, p string, n *node, v *cachemw.Policy) {
		v.RequestDirectives = cachemw.RequestDirectives(d.str(p, n))
	}},
	{"hide_status", func(d *decoder, p string, n *node, v *cachemw.Policy) { v.HideStatus = d.boolean(p, n) }},
}

var queryFields = []field[cachemw.Query]{
	{"allow", func(d *decoder, p string, n *node, q *cachemw.Query) { q.Allow = d.strings(p, n) }},
	{"ignore", func(d *decoder, p string, n *node, q *cachemw.Query) { q.Ignore = d.strings(p, n) }},
	{"sort", func(d *decoder, p string, n *node, q *cachemw.Query) { q.Sort = d.boolean(p, n) }},
}
