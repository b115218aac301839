package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A cache is a server that the suite is run against.
type cache struct {
	name string
	ours bool // held to the baseline

	// command returns how to start it, in the folder dir, listening on listen
	// in front of the server at origin.
	command func(dir, listen, origin string) ([]string, error)

	version func() string
}

// binaries are the programs of this repository that are run, and the packages
// they are built from.
var binaries = map[string]string{
	"freshet":        "./server/freshet",
	"transportproxy": "./benchmarks/transportproxy",
}

// caches returns what there is to run, with our own programs in bin.
func caches(bin string) []cache {
	return []cache{
		{name: "gateway", ours: true, version: revision, command: func(dir, listen, origin string) ([]string, error) {
			config, err := gateway(dir, listen, origin)
			return []string{filepath.Join(bin, "freshet"), "-config", config}, err
		}},
		{name: "transport", ours: true, version: revision, command: func(_, listen, origin string) ([]string, error) {
			return []string{filepath.Join(bin, "transportproxy"), "-upstream", "http://" + origin, "-listen", listen}, nil
		}},
		{name: "nginx", version: versionOf("nginx", "-v"), command: nginx},
		{name: "Varnish", version: versionOf("varnishd", "-V"), command: varnish},
	}
}

// gateway is configured to do what it does not by default, since nobody has
// said so (docs/decisions/0013): it assumes freshness, and stands in for an
// origin that fails.
func gateway(dir, listen, origin string) (config string, err error) {
	config = filepath.Join(dir, "freshet.yaml")
	return config, os.WriteFile(config, fmt.Appendf(nil, `
listen: %s
admin: "off"
upstreams:
  origin: {url: "http://%s"}
routes:
  - pattern: /*
    upstream: origin
    policy: {heuristic_limit: 24h, stale_if_error: 1h}
`, listen, origin), 0o644)
}

// nginx is configured as the suite does it, in a folder of its own.
func nginx(dir, listen, origin string) ([]string, error) {
	conf := fmt.Sprintf(`
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 2048; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; fastcgi_temp_path %[1]s/fcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache levels=1:2 keys_zone=my-cache:8m max_size=1000m inactive=600m;
	proxy_temp_path %[1]s/tmp;
	server {
		listen %[2]s;
		location / {
			proxy_pass http://%[3]s;
			proxy_cache my-cache;
			proxy_cache_revalidate on;
		}
	}
}
`, dir, listen, origin)
	file := filepath.Join(dir, "nginx.conf")
	return []string{"nginx", "-e", filepath.Join(dir, "error.log"), "-c", file}, os.WriteFile(file, []byte(conf), 0o644)
}

// varnish is started with the suite's parameters.
func varnish(dir, listen, origin string) ([]string, error) {
	host, port, _ := strings.Cut(origin, ":")
	vcl := fmt.Sprintf("vcl 4.0;\nbackend default { .host = %q; .port = %q; }\n", host, port)
	file := filepath.Join(dir, "default.vcl")
	return []string{
		"varnishd", "-F", "-j", "none", "-n", filepath.Join(dir, "work"), "-a", listen, "-f", file,
		"-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600", "-s", "malloc,64M",
	}, os.WriteFile(file, []byte(vcl), 0o644)
}

// versionOf returns the first line of what a program says of its version.
func versionOf(name string, args ...string) func() string {
	return func() string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return err.Error()
		}
		line, _, _ := strings.Cut(string(out), "\n")
		line, _, _ = strings.Cut(line, " revision ") // of Varnish, which the version implies
		return strings.TrimPrefix(strings.TrimPrefix(line, "nginx version: "), "varnishd (")
	}
}

func revision() string { return "this tree" }
