package main

import (
	"strings"
	"testing"
)

// good is a workspace that breaks no rule.
func good() ([]pkg, []module) {
	var m module
	m.Module.Path = root
	for _, path := range rootRequires {
		m.Require = append(m.Require, struct {
			Path     string
			Indirect bool
		}{Path: path})
	}
	engine := root + "/internal/engine"
	return []pkg{
		{ImportPath: engine, Deps: []string{"sync", "github.com/dgraph-io/ristretto/v2"}, files: map[string][]string{
			"store.go":  {"github.com/dgraph-io/ristretto/v2"},
			"flight.go": {"golang.org/x/sync/singleflight"},
		}},
		{ImportPath: root + "/internal/rfc9111", Deps: []string{"net/http"}},
		{ImportPath: root + "/cachefetch/backend", Deps: []string{"context"}},
		{ImportPath: root + "/internal/level2", Deps: []string{root + "/cachefetch/backend"}},
		{ImportPath: root + "/cachefetch", Deps: []string{engine, root + "/internal/level2", root + "/cachefetch/backend"}},
		{ImportPath: root + "/cachefetch/backend/backendtest", Deps: []string{"testing", root + "/cachefetch/backend"}, files: map[string][]string{
			"run.go": {"testing"},
		}},
		{ImportPath: root + "/server", files: map[string][]string{
			"yaml.go": {"go.yaml.in/yaml/v4"},
		}},
		{ImportPath: root + "/middleware", Deps: []string{engine}, files: map[string][]string{
			"metrics.go": {"github.com/VictoriaMetrics/metrics"},
		}},
	}, []module{m}
}

func TestGood(t *testing.T) {
	if broken := check(good()); len(broken) > 0 {
		t.Errorf("a good workspace breaks rules:\n%s", strings.Join(broken, "\n"))
	}
}

// Each module has a file of its own for a library.
func TestOneFileOfEachModule(t *testing.T) {
	packages, modules := good()
	packages[len(packages)-2].files["metrics.go"] = []string{"github.com/VictoriaMetrics/metrics"} // of the server
	var server module
	server.Module.Path = root + "/server"
	if broken := check(packages, append(modules, server)); len(broken) > 0 {
		t.Errorf("rules are broken:\n%s", strings.Join(broken, "\n"))
	}
}

func TestBroken(t *testing.T) {
	add := func(importPath string, deps ...string) func([]pkg, []module) ([]pkg, []module) {
		return func(p []pkg, m []module) ([]pkg, []module) {
			return append(p, pkg{ImportPath: importPath, Deps: deps}), m
		}
	}
	addFile := func(importPath, file string, imports ...string) func([]pkg, []module) ([]pkg, []module) {
		return func(p []pkg, m []module) ([]pkg, []module) {
			return append(p, pkg{ImportPath: importPath, files: map[string][]string{file: imports}}), m
		}
	}
	addModule := func(goMod string, edit func(*module)) func([]pkg, []module) ([]pkg, []module) {
		return func(p []pkg, m []module) ([]pkg, []module) {
			if goMod == root {
				edit(&m[0])
				return p, m
			}
			var n module
			n.Module.Path = goMod
			edit(&n)
			return p, append(m, n)
		}
	}
	tests := []struct {
		name  string
		edit  func([]pkg, []module) ([]pkg, []module)
		wants string
	}{
		{"testing in a service", add(root+"/middleware/x", "testing"), "/middleware/x reaches testing"},
		{"testing two steps away", add(root+"/internal/x", "testing/fstest"), "reaches testing/fstest"},
		{"an assertion library", add(root+"/cachefetch", "github.com/stretchr/testify/assert"), "reaches github.com/stretchr/testify/assert"},
		{"Redis in the root", add(root+"/cachefetch", "github.com/redis/rueidis"), "reaches github.com/redis/rueidis"},
		{"YAML in the root", add(root+"/middleware", "go.yaml.in/yaml/v4"), "reaches go.yaml.in/yaml/v4"},
		{"the server in the root", add(root+"/middleware", root+"/server"), "reaches " + root + "/server"},
		{"engine to middleware", add(root+"/internal/engine", root+"/middleware"), "engine reaches " + root + "/middleware"},
		{"engine to cachefetch", add(root+"/internal/engine", root+"/cachefetch"), "engine reaches " + root + "/cachefetch"},
		{"cachefetch to middleware", add(root+"/cachefetch", root+"/middleware"), "cachefetch reaches " + root + "/middleware"},
		{"middleware to cachefetch", add(root+"/middleware", root+"/cachefetch/fanout"), "middleware reaches " + root + "/cachefetch/fanout"},
		{"the typed cache to a room beside it", add(root+"/cachefetch", root+"/cachefetch/upstream"), "cachefetch reaches " + root + "/cachefetch/upstream"},
		{"a room to the typed cache", add(root+"/cachefetch/upstream", root+"/cachefetch"), "upstream reaches " + root + "/cachefetch"},
		{"a room to the engine", add(root+"/cachefetch/fanout", root+"/internal/engine"), "fanout reaches " + root + "/internal/engine"},
		{"the second level to the typed cache", add(root+"/internal/level2", root+"/cachefetch"), "level2 reaches " + root + "/cachefetch"},
		{"a backend to the typed cache", add(root+"/cachefetch/backend/backendtest", root+"/cachefetch"), "backendtest reaches " + root + "/cachefetch"},
		{"the interfaces beyond the standard library", add(root+"/cachefetch/backend", "golang.org/x/sync/errgroup"), "standard library only"},
		{"httptest in a service", add(root+"/cachefetch", "net/http/httptest"), "cachefetch reaches net/http/httptest"},
		{"rfc9111 beyond the standard library", add(root+"/internal/rfc9111", "golang.org/x/sync/errgroup"), "standard library only"},
		{"a file imports testing", addFile(root+"/benchmarks", "load.go", "testing"), "load.go imports testing"},
		{"a second file imports ristretto", addFile(root+"/middleware", "s.go", oneFile[0]), "one file of a module, but is by 2"},
		{"nobody imports metrics", func(p []pkg, m []module) ([]pkg, []module) { return p[:len(p)-1], m }, "one file, but is by none"},
		{"a fifth requirement", addModule(root, func(m *module) { m.Require[0].Path = "example.com/more" }), "not on the list"},
		{"a lost requirement", addModule(root, func(m *module) { m.Require = m.Require[1:] }), "does not require"},
		{"a requirement that turned indirect", addModule(root, func(m *module) { m.Require[0].Indirect = true }), "does not require"},
		{"a replace directive", addModule(root+"/server", func(m *module) {
			m.Replace = append(m.Replace, struct{ Old struct{ Path string } }{})
		}), "could not be installed"},
		{"no root module", func(p []pkg, _ []module) ([]pkg, []module) { return p, nil }, "does not hold"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := strings.Join(check(tt.edit(good())), "\n")
			if !strings.Contains(broken, tt.wants) {
				t.Errorf("check says\n%s\nwant a line with %q", broken, tt.wants)
			}
		})
	}
}
