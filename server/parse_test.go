package server

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// valid is a configuration that the rows below spoil.
const valid = `upstreams:
  app:
    url: http://127.0.0.1:8000
routes:
  - pattern: /*
    upstream: app
`

func TestParse(t *testing.T) {
	src := "\uFEFF" + `# comment
listen: 127.0.0.1:1
admin: off
admin_token: s3cret
max_bytes: 1GiB
name: edge
refresh_workers: 4
drain_timeout: 5s
read_header_timeout: 1s
idle_timeout: 1m30s
max_header_bytes: 8KiB
max_header_fields: 99
h2c: true
upstreams:
  app: &app
    url: https://app.example/base
    preserve_host: true
    via: false
    http2: false
    proxy: true
    max_conns: 7
    max_idle_conns: 6
    max_in_flight: 8
    max_queue: -1
    conn_timeout: 1s
    dial_timeout: 2s
    tls_timeout: 3s
    response_header_timeout: 4s
    body_timeout: 6s
    request_timeout: 7s
    idle_timeout: 5s
    max_conn_age: 8s
  twin: *app
  clear:
    url: http://127.0.0.1:8000
    h2c: true
    requests_per_second: 12.5
    latency: 300ms
    queue_timeout: 500ms
routes:
  - pattern: /v1/{id:[0-9]{2}}
    upstream: app
    strip_prefix: /v1
    policy: &long
      name: items
      ttl: 1m
      status_ttl: {404: 5s, 200: 0}
      stale_while_revalidate: 2m
      heuristic_limit: 24h
      targeted_fields: [Own-Cache-Control]
      set_cookie: strip
      stale_if_error: 3m
      soft_timeout: 200ms
      request_directives: honour
      fill_timeout: 4s
      wait_timeout: 5s
      max_body_bytes: 1MiB
      max_waiting: 7
      max_orphans: 5
      max_variants: 6
      query:
        ignore: ["utm_*"]
        sort: true
      credentials: [X-Api-Key]
      headers: [X-Tenant]
      hide_status: true
  - pattern: /v2/*
    upstream: clear
    policy: *long
    limit:
      max_in_flight: 20
      max_queue: 10
      queue_timeout: 250ms
`
	app := Upstream{
		Name: "app", URL: "https://app.example/base", PreserveHost: true, NoVia: true, NoHTTP2: true, Proxy: true,
		MaxConns: 7, MaxIdleConns: 6, MaxInFlight: 8, MaxQueue: -1,
		ConnTimeout: time.Second, DialTimeout: 2 * time.Second, TLSTimeout: 3 * time.Second,
		ResponseHeaderTimeout: 4 * time.Second, BodyTimeout: 6 * time.Second, RequestTimeout: 7 * time.Second, IdleTimeout: 5 * time.Second, MaxConnAge: 8 * time.Second,
	}
	twin := app
	twin.Name = "twin"
	policy := cachemw.Policy{
		Name: "items", TTL: time.Minute,
		StatusTTL:      map[int]time.Duration{404: 5 * time.Second, 200: 0},
		HeuristicLimit: 24 * time.Hour, TargetedFields: []string{"Own-Cache-Control"}, SetCookie: cachemw.StripSetCookie,
		StaleWhileRevalidate: 2 * time.Minute, StaleIfError: 3 * time.Minute, SoftTimeout: 200 * time.Millisecond,
		FillTimeout: 4 * time.Second, WaitTimeout: 5 * time.Second,
		MaxBodyBytes: 1 << 20, MaxWaiting: 7, MaxOrphans: 5, MaxVariants: 6,
		Query:       cachemw.Query{Ignore: []string{"utm_*"}, Sort: true},
		Credentials: []string{"X-Api-Key"}, Headers: []string{"X-Tenant"}, RequestDirectives: cachemw.HonourDirectives, HideStatus: true,
	}
	want := Config{
		Listen: "127.0.0.1:1", Admin: "off", AdminToken: "s3cret", MaxBytes: 1 << 30, Name: "edge",
		RefreshWorkers: 4, DrainTimeout: 5 * time.Second, ReadHeaderTimeout: time.Second,
		IdleTimeout: 90 * time.Second, MaxHeaderBytes: 8 << 10, MaxHeaderFields: 99, H2C: true,
		Upstreams: []Upstream{app, twin, {
			Name: "clear", URL: "http://127.0.0.1:8000", H2C: true,
			RequestsPerSecond: 12.5, Latency: 300 * time.Millisecond, QueueTimeout: 500 * time.Millisecond,
		}},
		Routes: []Route{
			{Pattern: "/v1/{id:[0-9]{2}}", Upstream: "app", StripPrefix: "/v1", Policy: policy},
			{
				Pattern: "/v2/*", Upstream: "clear", Policy: policy,
				Limit: cachemw.LimitOptions{MaxInFlight: 20, MaxQueue: 10, QueueTimeout: 250 * time.Millisecond},
			},
		},
	}
	got, err := Parse("f.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	got.where = places{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	f := func(name, src string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			_, err := Parse("f.yaml", []byte(src))
			if err == nil {
				t.Fatalf("no error, want %q", want)
			}
			if got := err.Error(); got != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.File != "f.yaml" || ce.Line == 0 || ce.Column == 0 {
				t.Errorf("not a ConfigError with a position: %#v", err)
			}
		})
	}
	upstream := func(line string) string { return strings.Replace(valid, "routes:", "    "+line+"\nroutes:", 1) }
	route := func(line string) string { return valid + "    " + line + "\n" }
	policy := func(line string) string { return valid + "    policy:\n      " + line + "\n" }

	// What is not a configuration at all.
	f("empty", "", "f.yaml:1:1: holds no configuration")
	f("comment", "# nothing\n", "f.yaml:1:1: holds no configuration")
	f("scalar", "hello\n", "f.yaml:1:1: must be a mapping, is hello")
	f("list", "- a\n", "f.yaml:1:1: must be a mapping, is a list")
	f("two documents", valid+"---\nname: x\n", "f.yaml:8:1: second document: a configuration is a single one")
	f("null", "~\n", "f.yaml:1:1: holds no configuration")
	f("marked", "\uFEFFname: x\n", "f.yaml:1:1: routes: at least one is required")
	f("not UTF-8", "name: x\nadmin: é\xff\n", "f.yaml:2:9: invalid leading UTF-8 octet (value: 255)")
	f("control character", "name: x\nadmin: \x01\n", "f.yaml:2:8: control characters are not allowed (value: 1)")
	f("unread document", valid+"---\n[\n", "f.yaml:9:1: did not find expected node content")
	f("tab", "name: x\nupstreams:\n\tapp: 1\n", "f.yaml:3:1: found character that cannot start any token")
	f("unclosed", "name: [a\n", "f.yaml:2:1: did not find expected ',' or ']' (while parsing a flow sequence from line 1)")
	f("no routes", "name: x\n", "f.yaml:1:1: routes: at least one is required")

	// Keys.
	f("unknown key", "naem: x\n"+valid, "f.yaml:1:1: naem: unknown key, must be one of listen, admin, admin_token, max_bytes, name, "+
		"refresh_workers, drain_timeout, read_header_timeout, idle_timeout, max_header_bytes, max_connections, max_connections_per_address, max_header_fields, h2c, upstreams, routes")
	f("unknown key of upstream", upstream("uri: x"), "f.yaml:4:5: upstreams.app.uri: unknown key, must be one of url, preserve_host, via, h2c, "+
		"http2, proxy, requests_per_second, latency, max_conns, max_idle_conns, max_in_flight, max_queue, queue_timeout, conn_timeout, "+
		"dial_timeout, tls_timeout, response_header_timeout, body_timeout, request_timeout, idle_timeout, max_conn_age")
	f("unknown key of limit", route("limit: {places: 5}"), "f.yaml:7:13: routes[0].limit.places: unknown key, must be one of max_in_flight, min_in_flight, max_queue, queue_timeout")
	f("unknown key of route", route("path: /x"), "f.yaml:7:5: routes[0].path: unknown key, must be one of pattern, upstream, strip_prefix, policy, limit")
	f("unknown key of policy", policy("tll: 1m"), "f.yaml:8:7: routes[0].policy.tll: unknown key, must be one of name, ttl, status_ttl, "+
		"heuristic_limit, targeted_fields, set_cookie, stale_while_revalidate, stale_if_error, soft_timeout, fill_timeout, wait_timeout, "+
		"max_body_bytes, max_bytes, max_waiting, max_orphans, max_variants, query, credentials, headers, request_directives, hide_status")
	f("unknown key of query", policy("query: {deny: [a]}"), "f.yaml:8:15: routes[0].policy.query.deny: unknown key, must be one of allow, ignore, sort")
	f("key twice", "name: x\nname: y\n"+valid, "f.yaml:2:1: name: comes twice, first at 1:1")
	f("status twice", policy(`status_ttl: {404: 1s, "404": 2s}`), "f.yaml:8:29: routes[0].policy.status_ttl.404: comes twice, first at 8:20")
	f("merge key", valid+"  - <<: {pattern: /x}\n    upstream: app\n", "f.yaml:7:5: routes[1]: <<: not a key")

	// Values of the wrong kind.
	f("duration without unit", policy("ttl: 60"), "f.yaml:8:12: routes[0].policy.ttl: must be a duration such as 500ms, 30s or 1h30m, is 60")
	f("bad duration", policy("ttl: 1 minute"), "f.yaml:8:12: routes[0].policy.ttl: must be a duration such as 500ms, 30s or 1h30m, is 1 minute")
	f("quoted duration", policy(`ttl: "soon"`), "f.yaml:8:12: routes[0].policy.ttl: must be a duration such as 500ms, 30s or 1h30m, is soon")
	f("empty duration", policy("ttl:"), "f.yaml:8:11: routes[0].policy.ttl: must be a duration such as 500ms, 30s or 1h30m, is empty")
	f("bool as word", policy("hide_status: yes"), "f.yaml:8:20: routes[0].policy.hide_status: must be true or false, is yes")
	f("number as word", policy("max_variants: many"), "f.yaml:8:21: routes[0].policy.max_variants: must be a whole number, is many")
	f("number with fraction", policy("max_variants: 1.5"), "f.yaml:8:21: routes[0].policy.max_variants: must be a whole number, is 1.5")
	f("bad size", "max_bytes: 12XB\n"+valid, "f.yaml:1:12: max_bytes: 12XB: not a size such as 256MiB, 1.5GB or 1048576")
	f("size as list", "max_bytes: [1]\n"+valid, "f.yaml:1:12: max_bytes: must be a size such as 256MiB, is a list")
	f("huge header", "max_header_bytes: 4GiB\n"+valid, "f.yaml:1:19: max_header_bytes: 4294967296: must be at most 2147483647")
	f("string as number", route("strip_prefix: 5"), "f.yaml:7:19: routes[0].strip_prefix: must be a string, is 5")
	f("list as string", policy("headers: X-A"), "f.yaml:8:16: routes[0].policy.headers: must be a list, is X-A")
	f("list of numbers", policy("headers: [X-A, 5]"), "f.yaml:8:22: routes[0].policy.headers[1]: must be a string, is 5")
	f("policy as list", valid+"    policy: []\n", "f.yaml:7:13: routes[0].policy: must be a mapping, is a list")
	f("upstreams as list", "upstreams: []\n", "f.yaml:1:12: upstreams: must be a mapping, is a list")
	f("routes as mapping", "routes: {}\n", "f.yaml:1:9: routes: must be a list, is a mapping")
	f("unknown alias", route("policy: *none"), "f.yaml:7:13: alias of nothing: no anchor of this name stands before it")
	f("octal number", policy("max_variants: 010"), "f.yaml:8:21: routes[0].policy.max_variants: must be a whole number, is 010")
	f("number with underscore", policy("max_variants: 1_0"), "f.yaml:8:21: routes[0].policy.max_variants: must be a whole number, is 1_0")
	f("endless rate", upstream("requests_per_second: .inf"), "f.yaml:4:26: upstreams.app.requests_per_second: must be a number, is .inf")
	f("tag", route("strip_prefix: !path /x"), "f.yaml:7:19: routes[0].strip_prefix: must be a string, is !path")
	f("tagged list", policy("headers: !!set [a]"), "f.yaml:8:16: routes[0].policy.headers: must be a list, is !!set")
	f("list as key", "[a]: 1\n"+valid, "f.yaml:1:1: a list: not a key")
	f("status as word", policy("status_ttl: {ok: 1s}"), "f.yaml:8:20: routes[0].policy.status_ttl.ok: must be a status code such as 404")
	f("token as list", "admin_token: [abc]\n"+valid, "f.yaml:1:14: admin_token: must be a string")

	// Values that cannot be.
	f("listen", "listen: localhost\n"+valid, `f.yaml:1:9: listen: "localhost": not an address of the form host:port`)
	f("listen port", "listen: :http\n"+valid, `f.yaml:1:9: listen: ":http": port "http": not a number from 0 to 65535`)
	f("admin", "admin: on\n"+valid, `f.yaml:1:8: admin: "on": not an address of the form host:port (or "off")`)
	f("token with space", "admin_token: a b\n"+valid, "f.yaml:1:14: admin_token: must be printable ASCII without spaces")
	f("negative size", "max_bytes: -1\n"+valid, "f.yaml:1:12: max_bytes: -1: not a size such as 256MiB, 1.5GB or 1048576")
	f("negative workers", "refresh_workers: -1\n"+valid, "f.yaml:1:18: refresh_workers: -1: must not be negative")
	f("negative fields", "max_header_fields: -1\n"+valid, "f.yaml:1:20: max_header_fields: -1: must not be negative")
	f("negative drain", "drain_timeout: -1s\n"+valid, "f.yaml:1:16: drain_timeout: -1s: must not be negative")
	f("negative header timeout", "read_header_timeout: -1s\n"+valid, "f.yaml:1:22: read_header_timeout: -1s: must not be negative")
	f("negative idle", "idle_timeout: -1s\n"+valid, "f.yaml:1:15: idle_timeout: -1s: must not be negative")
	f("no url", "upstreams:\n  app: {}\nroutes: [{pattern: /, upstream: app}]\n",
		`f.yaml:2:8: upstreams.app.url: "": is required, such as http://127.0.0.1:8000`)
	for _, row := range []struct{ url, shown, why string }{
		{"127.0.0.1:8000", "127.0.0.1:8000", "first path segment in URL cannot contain colon"},
		{"ftp://a/", "ftp://a/", "scheme must be http or https"},
		{"http://", "http://", "has no host"},
		{"http://u:p@a/", "http://xxxxx@a/", "user information is not supported"},
		{"http://u:p@", "http://xxxxx@", "user information is not supported"},
		{"http://u:p/w@a/", "http://xxxxx@a/", `invalid port "..." after host`},
		{"http:/u:p@a/", "xxxxx@a/", "has no host"},
		{"u:p@a", "xxxxx@a", "scheme must be http or https"},
		{"http://a/?q=1", "http://a/?xxxxx", "a query is not supported"},
		{"http://a/#f", "http://a/#xxxxx", "a fragment is not supported"},
		{"http://a:99999/", "http://a:99999/", `port "99999": not a number from 1 to 65535`},
		{"http://127.0.0.1:8080/", "http://127.0.0.1:8080/", "is the address this gateway listens on"},
	} {
		f("url "+row.url, strings.Replace(valid, "http://127.0.0.1:8000", `"`+row.url+`"`, 1),
			`f.yaml:3:10: upstreams.app.url: "`+row.shown+`": `+row.why)
	}
	f("h2c over https", strings.Replace(valid, "http://127.0.0.1:8000", "https://a\n    h2c: true", 1),
		"f.yaml:4:10: upstreams.app.h2c: true: only for http URLs, https negotiates HTTP/2 by itself")
	for _, key := range []string{
		"queue_timeout", "conn_timeout", "dial_timeout", "tls_timeout", "response_header_timeout",
		"body_timeout", "request_timeout", "idle_timeout", "max_conn_age",
	} {
		at := 5 + len(key) + 2
		f("negative "+key, upstream(key+": -1s"), "f.yaml:4:"+itoa(at)+": upstreams.app."+key+": -1s: must not be negative")
	}
	f("negative max_conns", upstream("max_conns: -1"), "f.yaml:4:16: upstreams.app.max_conns: -1: must not be negative")
	f("rate as word", upstream("requests_per_second: many"), "f.yaml:4:26: upstreams.app.requests_per_second: must be a number, is many")
	f("rate without latency", upstream("requests_per_second: 50"), "f.yaml:3:5: upstreams.app.latency: 0s: is needed with requests_per_second")
	f("rate and connections", upstream("requests_per_second: 50\n    latency: 1s\n    max_conns: 5"),
		"f.yaml:6:16: upstreams.app.max_conns: 5: does not agree with requests_per_second and latency, which need 72")
	f("places below connections", upstream("max_conns: 8\n    max_in_flight: 7"),
		"f.yaml:5:20: upstreams.app.max_in_flight: 7: must be at least the number of connections, 8: the others could not be used")
	f("queue for ever", upstream("queue_timeout: 5s\n    request_timeout: 5s"),
		"f.yaml:4:20: upstreams.app.queue_timeout: 5s: must be less than request_timeout, 5s, or no time is left for the request")
	f("no protocol", upstream("h2c: true\n    http2: false"), "f.yaml:4:10: upstreams.app.h2c: true: cannot be combined with http2: false")
	f("limit without places", route("limit: {max_queue: 5}"), "f.yaml:7:12: routes[0].limit.max_in_flight: 0: must be at least 1")
	f("empty limit", route("limit: {}"), "f.yaml:7:12: routes[0].limit: has no max_in_flight")
	f("limit's queue", route("limit: {max_in_flight: 1, max_queue: -1, queue_timeout: 1s}"),
		"f.yaml:7:61: routes[0].limit.queue_timeout: 1s: has no effect without a queue")
	f("limits of one name", route("limit: {max_in_flight: 1}\n    policy: {name: a}\n  - {pattern: /x, upstream: app, policy: {name: a}, limit: {max_in_flight: 2}}"),
		`f.yaml:9:60: routes[1].limit: differs from that of routes[0], which has the same name "a"`)
	f("no pattern", valid+"  - upstream: app\n", `f.yaml:7:5: routes[1].pattern: "": is required, such as /products/{id} or /*`)
	f("relative pattern", valid+"  - {pattern: x, upstream: app}\n", `f.yaml:7:15: routes[1].pattern: "x": must begin with a slash and hold no spaces`)
	f("pattern with method", valid+"  - {pattern: GET /x, upstream: app}\n", `f.yaml:7:15: routes[1].pattern: "GET /x": must begin with a slash and hold no spaces`)
	f("star inside", valid+"  - {pattern: /a/*/b, upstream: app}\n",
		`f.yaml:7:15: routes[1].pattern: "/a/*/b": wildcard '*' must be the last value in a route. trim trailing text or use a '{param}' instead`)
	f("open brace", valid+"  - {pattern: \"/{id\", upstream: app}\n", `f.yaml:7:15: routes[1].pattern: "/{id": route param closing delimiter '}' is missing`)
	f("duplicate route", valid+"  - {pattern: /*, upstream: app}\n", `f.yaml:7:15: routes[1].pattern: "/*": duplicate of routes[0]`)
	f("duplicate but for names", valid+"  - {pattern: \"/a/{x}\", upstream: app}\n  - {pattern: \"/a/{y}\", upstream: app}\n",
		`f.yaml:8:15: routes[2].pattern: "/a/{y}": duplicate of routes[1]`)
	f("no upstream", valid+"  - pattern: /x\n", "f.yaml:7:5: routes[1].upstream: is required")
	f("unknown upstream", valid+"  - {pattern: /x, upstream: ap}\n", `f.yaml:7:29: routes[1].upstream: "ap": no such upstream`)
	f("prefix", route("strip_prefix: api"), `f.yaml:7:19: routes[0].strip_prefix: "api": must begin with a slash and not end with one`)
	f("prefix with space", route("strip_prefix: /a b"), `f.yaml:7:19: routes[0].strip_prefix: "/a b": may hold only letters, digits, slashes and -._~`)
	f("foreign prefix", route("strip_prefix: /api"), `f.yaml:7:19: routes[0].strip_prefix: "/api": the pattern "/*" does not begin with it`)

	// Policies, by the rules of the middleware.
	for _, key := range []string{"ttl", "heuristic_limit", "soft_timeout", "stale_while_revalidate", "stale_if_error", "fill_timeout", "wait_timeout"} {
		f("negative "+key, policy(key+": -1s"), "f.yaml:8:"+itoa(7+len(key)+2)+": routes[0].policy."+key+": -1s: must not be negative")
	}
	f("negative status ttl", policy("status_ttl: {404: -1s}"), "f.yaml:8:25: routes[0].policy.status_ttl.404: -1s: must not be negative")
	f("status 206", policy("status_ttl: {206: 1s}"), "f.yaml:8:25: routes[0].policy.status_ttl.206: 1s: not a status code whose response can be stored")
	f("negative waiting", policy("max_waiting: -1"), "f.yaml:8:20: routes[0].policy.max_waiting: -1: must not be negative")
	f("negative variants", policy("max_variants: -1"), "f.yaml:8:21: routes[0].policy.max_variants: -1: must not be negative")
	f("allow and ignore", policy("query: {allow: [a], ignore: [b]}"), "f.yaml:8:35: routes[0].policy.query.ignore: [b]: cannot be combined with query.allow")
	f("set_cookie", policy("set_cookie: maybe"), `f.yaml:8:19: routes[0].policy.set_cookie: "maybe": must be "refuse", "strip" or "store"`)
	f("request_directives", policy("request_directives: obey"), `f.yaml:8:27: routes[0].policy.request_directives: "obey": must be "ignore" or "honour"`)
	f("targeted field", policy("targeted_fields: [\"a b\"]"), `f.yaml:8:24: routes[0].policy.targeted_fields: "a b": not a header field name`)
	f("bad field name", policy("headers: [\"a b\"]"), `f.yaml:8:16: routes[0].policy.headers: "a b": not a header field name`)

	// All of them, in the order of the file.
	f("several", "admin: on\nmax_bytes: 1MiB\nrefresh_workers: -2\nroutes:\n  - {pattern: /a, upstream: x}\n  - {pattern: a}\n",
		`f.yaml:1:8: admin: "on": not an address of the form host:port (or "off")`,
		"f.yaml:3:18: refresh_workers: -2: must not be negative",
		`f.yaml:5:29: routes[0].upstream: "x": no such upstream`,
		"f.yaml:6:5: routes[1].upstream: is required",
		`f.yaml:6:15: routes[1].pattern: "a": must begin with a slash and hold no spaces`)
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + itoa(n%10)
	}
	return string(rune('0' + n))
}

// A secret in the wrong place, or in the right place and spelt wrongly, must
// not reach the log.
func TestParseHidesSecrets(t *testing.T) {
	for _, src := range []string{
		"admin_token: [hush]\n" + valid,
		"admin_token: \"hush hush\"\n" + valid,
		"admin_token: *hush\n" + valid,
		"admin_token: %hush\n" + valid,
		"admin_token: @hush\n" + valid,
		"admin_token: \"hush\n" + valid,
		"admin_token: {hush\n" + valid,
		"admin-token: hush\n" + valid,
		"admin_token: " + strings.Repeat("hush", maxScalar) + "\n" + valid,
		"listen: http://me:hush@host/\n" + valid,
		"admin: http://me@host/?token=hush\n" + valid,
		"upstreams: http://me:hush@host/\n",
		"upstreams: {app: http://me:hush@host/}\n",
		"upstreams: {app: [http://me:hush@host/]}\n",
		"upstreams: {'http://me:hush@host/': {}}\n",
		"http://me:hush@host/: {}\n",
		strings.Replace(valid, "http://", "http://me:hush@", 1),
		strings.Replace(valid, "http://", "http:/me:hush@", 1),
		strings.Replace(valid, "http://", "me:hush@", 1),
		strings.Replace(valid, "http://", "http://me:?hush@", 1),
		strings.Replace(valid, "http://", "http://me:%hush@", 1),
		strings.Replace(valid, "8000", "8000?token=hush", 1),
		strings.Replace(valid, "8000", "8000?token=h@hush", 1),
		strings.Replace(valid, "8000", "8000#hush", 1),
		strings.Replace(valid, "pattern: /*", "pattern: http://me:hush@host/", 1),
		strings.Replace(valid, "upstream: app", "upstream: http://me:hush@host/", 1),
	} {
		if _, err := Parse("f.yaml", []byte(src)); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.100q: error %v", src, err)
		}
	}
}

// A setting that is added to a struct and forgotten in the file is caught here.
func TestEveryFieldHasAKey(t *testing.T) {
	f := func(v any, keys int, unexported int) {
		t.Helper()
		typ := reflect.TypeOf(v)
		if typ.NumField()-unexported != keys {
			t.Errorf("%v has %d fields, the file %d keys", typ, typ.NumField()-unexported, keys)
		}
	}
	f(Config{}, len(configFields), 1)
	f(Upstream{}, len(upstreamFields)+1, 0) // the name is the key itself
	f(Route{}, len(routeFields), 0)
	f(cachemw.Policy{}, len(policyFields), 1) // Tags is a function
	f(cachemw.Query{}, len(queryFields), 0)
}

// What is wrong with a field is told where it stands in the file.
func TestEveryOptionHasItsKeysName(t *testing.T) {
	f := func(prefix string, v any, keys map[string]bool) {
		t.Helper()
		for typ, i := reflect.TypeOf(v), 0; i < typ.NumField(); i++ {
			field := prefix + typ.Field(i).Name
			if key := strings.TrimPrefix(fileName(field), fileName(prefix)); !keys[key] && field != "Tags" && field != "Name" {
				t.Errorf("%s would be looked for under %q, which is no key", field, key)
			}
		}
	}
	f("", cachemw.Policy{}, keysOf(policyFields))
	f("Query.", cachemw.Query{}, keysOf(queryFields))
	f("", cachemw.LimitOptions{}, keysOf(limitFields))
	for field, want := range map[string]string{"StatusTTL[404]": "status_ttl.404", "Options.MaxBytes": "max_bytes", "Headers": "headers"} {
		if got := fileName(field); got != want {
			t.Errorf("fileName(%q) = %q, want %q", field, got, want)
		}
	}
}

func keysOf[T any](fields []field[T]) map[string]bool {
	keys := make(map[string]bool)
	for _, f := range fields {
		keys[f.key] = true
	}
	return keys
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	// Such a file has no end.
	for _, file := range []string{big, "/dev/zero"} {
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	f := func(s string, want int64) {
		t.Helper()
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	f("0", 0)
	f("1048576", 1<<20)
	f("64KiB", 64<<10)
	f("256MiB", 256<<20)
	f("1GiB", 1<<30)
	f("2TiB", 2<<40)
	f("3KB", 3000)
	f("3MB", 3e6)
	f("1.5GB", 15e8)
	f("7B", 7)
	f("8 MiB", 8<<20)
	bad := func(s string) {
		t.Helper()
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
	for _, s := range []string{"", "B", "MiB", "-1", "+1", "1.5", "1e6", "0x10", "12XB", "1kb", "1 2MB", "inf", "NaNMB", "..MB", "9999999999999GiB", "99999999999999999999"} {
		bad(s)
	}
}

// panicking stands for a bug of the library.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("boom") }

func TestPanicOfTheLibraryIsAnError(t *testing.T) {
	if _, err := load(panicking{}); err == nil {
		t.Error("no error")
	}
	if _, err := load(io.MultiReader(strings.NewReader("a: "), panicking{})); err == nil {
		t.Error("no error in the middle")
	}
}
