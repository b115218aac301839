package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// Validate reports everything that is wrong with c, as joined *ConfigErrors.
// [Parse] has done so already. What depends on more than c is left to [New]:
// the budget, a policy's share of it (checked by [Server.Reload] too), and
// that an admin listener beyond loopback has a token, which may come from
// elsewhere than the rest of c.
func (c Config) Validate() error {
	return c.validate(cachemw.Policy.Validate)
}

// validate is Validate with the check that policies have to pass.
func (c Config) validate(policy func(cachemw.Policy) error) error {
	l := &errorList{where: c.where}
	c.validateListeners(l)
	for _, n := range []struct {
		path  string
		value int64
	}{
		{"max_bytes", c.MaxBytes},
		{"refresh_workers", int64(c.RefreshWorkers)},
		{"max_header_bytes", int64(c.MaxHeaderBytes)},
		{"max_header_fields", int64(c.MaxHeaderFields)},
		{"max_connections", int64(c.MaxConnections)},
		{"max_connections_per_address", int64(c.MaxConnectionsPerAddress)},
	} {
		if n.value < 0 {
			l.add(n.path, "%d: must not be negative", n.value)
		}
	}
	notNegative(l, "drain_timeout", c.DrainTimeout)
	notNegative(l, "read_header_timeout", c.ReadHeaderTimeout)
	notNegative(l, "idle_timeout", c.IdleTimeout)
	c.validateUpstreams(l)
	c.validateRoutes(l, policy)
	return l.err()
}

func notNegative(l *errorList, path string, d time.Duration) {
	if d < 0 {
		l.add(path, "%v: must not be negative", d)
	}
}

func (c Config) validateListeners(l *errorList) {
	d := c.withDefaults()
	if err := checkAddress(d.Listen); err != nil {
		l.add("listen", "%q: %v", d.Listen, err)
	}
	if strings.ContainsFunc(c.AdminToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		l.add("admin_token", "must be printable ASCII without spaces")
	}
	if d.Admin == adminOff {
		return
	}
	if err := checkAddress(d.Admin); err != nil {
		l.add("admin", `%q: %v (or "off")`, d.Admin, err)
	}
}

// validateExposure refuses an admin listener that others could reach and that
// asks for nothing.
func (c Config) validateExposure() error {
	l := &errorList{where: c.where}
	if d := c.withDefaults(); d.Admin != adminOff && d.AdminToken == "" && !isLoopback(d.Admin) {
		l.add("admin", "%q: refusing to listen beyond loopback without an admin token", d.Admin)
	}
	return l.err()
}

// cacheError gives errors of the cache's constructor their place.
func (c Config) cacheError(err error) error {
	l := &errorList{where: c.where}
	l.addOptions("", err)
	return l.err()
}

// checkAddress accepts host:port with a numeric port and an empty host, an IP
// address or a name.
func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("not an address of the form host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q: not a number from 0 to 65535", discreet.URL(port))
	}
	return nil
}

// isLoopback reports whether addr is surely not reachable from elsewhere. Of
// names only "localhost" is trusted, and what it led to is checked again after
// listening.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (c Config) validateUpstreams(l *errorList) {
	seen := make(map[string]bool)
	listen := c.withDefaults().Listen
	for i, u := range c.Upstreams {
		path := fmt.Sprintf("upstreams.%s", u.Name)
		if u.Name == "" {
			l.add(fmt.Sprintf("upstreams[%d]", i), "has no name")
			continue
		}
		if seen[u.Name] {
			l.add(path, "defined twice")
		}
		seen[u.Name] = true
		if target, err := CheckURL(u.URL); err != nil {
			l.add(path+".url", "%v", err)
		} else if target.Scheme == "http" && target.Host == listen {
			l.add(path+".url", "%q: is the address this gateway listens on", discreet.URL(u.URL))
		} else if u.H2C && target.Scheme != "http" {
			l.add(path+".h2c", "true: only for http URLs, https negotiates HTTP/2 by itself")
		}
		notNegative(l, path+".request_timeout", u.RequestTimeout)
		notNegative(l, path+".max_conn_age", u.MaxConnAge)
		validatePool(l, path, u)
	}
}

// CheckURL parses the URL of an upstream, or says why it cannot be one: the
// error begins with the URL, without what may be a secret in it.
//
// User information is refused: a secret in a URL is copied to where URLs are
// shown. So is a query, which would stand in front of that of each request.
func CheckURL(raw string) (*url.URL, error) {
	u, err := parseUpstreamURL(raw)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", discreet.URL(raw), err)
	}
	return u, nil
}

func parseUpstreamURL(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is required, such as http://127.0.0.1:8000")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL
		}
		// What is taken for a bad port may be a password.
		return nil, errors.New(discreet.Error(err))
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("scheme must be http or https")
	case u.User != nil:
		return nil, errors.New("user information is not supported")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("a query is not supported")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, errors.New("a fragment is not supported")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("port %q: not a number from 1 to 65535", port)
		}
	}
	return u, nil
}

func (c Config) validateRoutes(l *errorList, policy func(cachemw.Policy) error) {
	if len(c.Routes) == 0 {
		l.add("routes", "at least one is required")
	}
	upstreams := make(map[string]bool)
	for _, u := range c.Upstreams {
		upstreams[u.Name] = true
	}
	first := make(map[string]int)
	limits := make(map[string]int) // by name, the first route
	named := c.withDefaults().Routes
	program := 0
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		program += programSize(r.Pattern)
		if program > maxProgram {
			l.add(path+".pattern", "the regular expressions of the routes up to this one are too large together")
			return
		}
		if err := checkPattern(r.Pattern); err != nil {
			l.add(path+".pattern", "%q: %v", r.Pattern, err)
		} else if j, ok := first[anonymous(r.Pattern)]; ok {
			l.add(path+".pattern", "%q: duplicate of routes[%d]", r.Pattern, j)
		} else {
			first[anonymous(r.Pattern)] = i
		}
		switch {
		case r.Upstream == "":
			l.add(path+".upstream", "is required")
		case !upstreams[r.Upstream]:
			l.add(path+".upstream", "%q: no such upstream", r.Upstream)
		}
		if why := badPrefix(r.StripPrefix, r.Pattern); why != "" {
			l.add(path+".strip_prefix", "%q: %s", r.StripPrefix, why)
		}
		validatePolicy(l, path+".policy", r.Policy, policy)
		if !r.limited() {
			continue
		}
		validateLimit(l, path+".limit", r.Limit)
		name := named[i].Policy.Name
		if j, ok := limits[name]; !ok {
			limits[name] = i
		} else if named[j].Limit != named[i].Limit {
			l.add(path+".limit", "differs from that of routes[%d], which has the same name %q", j, name)
		}
	}
}
