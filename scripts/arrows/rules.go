package main

import (
	"fmt"
	"slices"
	"strings"
)

const root = "github.com/freshet-go/freshet"

// A path in the rules stands for itself and everything below it.
var (
	// Packages of the root module, and with them the services that import
	// them, must not reach these.
	rootNever = []string{
		"testing", "net/http/httptest",
		// assertion libraries and other test tools
		"github.com/stretchr/testify", "github.com/google/go-cmp", "github.com/onsi", "github.com/matryer/is",
		"gotest.tools", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/anishathalye/porcupine",
		// what nested modules are there for
		"github.com/redis", "github.com/valkey-io", "github.com/gomodule/redigo", "go.opentelemetry.io",
		"github.com/goccy/go-yaml", "gopkg.in/yaml.v2", "gopkg.in/yaml.v3", "go.yaml.in/yaml", "sigs.k8s.io/yaml",
		root + "/server", root + "/benchmarks", root + "/compat", root + "/cachefetch/redisl2",
		// other caches
		"github.com/go-chi/stampede", "github.com/darkweak", "github.com/victorspringer", "github.com/bartventer",
		"github.com/gregjones/httpcache", "github.com/moonrhythm", "github.com/maypok86", "github.com/viccon/sturdyc",
	}

	// never lists what one package, and everything below it, must not reach.
	never = map[string][]string{
		root + "/internal":   {root + "/middleware", root + "/cachefetch"},
		root + "/middleware": {root + "/cachefetch"},
		root + "/cachefetch": {root + "/middleware", root + "/cachefetch/upstream", root + "/cachefetch/fanout"},
		// Rooms beside the typed cache, which know nothing of it.
		root + "/cachefetch/upstream": {root + "/cachefetch", root + "/internal/engine"},
		root + "/cachefetch/fanout":   {root + "/cachefetch", root + "/internal/engine"},
		root + "/cachefetch/backend":  {root + "/cachefetch", root + "/internal"},
		root + "/server":              {root + "/benchmarks", root + "/compat", "testing", "github.com/stretchr/testify"},
	}

	// open are packages that all others may import, whatever they stand below:
	// they hold interfaces, and stdlibOnly keeps them from knowing anybody.
	open = []string{root + "/cachefetch/backend"}

	// stdlibOnly are packages that import nothing but the standard library,
	// and what stands beside them.
	stdlibOnly = map[string][]string{
		root + "/internal/rfc9111":   {"github.com/dunglas/httpsfv"}, // the grammar of structured fields
		root + "/cachefetch/backend": nil,
	}

	// oneFile are libraries that one file of a module imports, and no other.
	oneFile = []string{
		"github.com/dgraph-io/ristretto/v2",
		"golang.org/x/sync/singleflight",
		"go.yaml.in/yaml/v4",
		"github.com/VictoriaMetrics/metrics",
	}

	// The root module requires all of rootRequires directly, and nothing
	// else but rootMayRequire.
	rootRequires = []string{
		"github.com/VictoriaMetrics/metrics", "github.com/dgraph-io/ristretto/v2",
		"github.com/dunglas/httpsfv", // structured fields
		"github.com/go-chi/chi/v5", "golang.org/x/sync",
	}
	rootMayRequire = []string{
		"pgregory.net/rapid", // tests only; rootNever keeps it there
		"github.com/anishathalye/porcupine",
		"go.uber.org/goleak", // likewise
	}
)

// check returns one line for each rule that is broken.
func check(packages []pkg, modules []module) []string {
	var broken []string
	say := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }

	var rootModule *module
	var nested []string // paths of the other modules
	for i, m := range modules {
		if m.Module.Path == root {
			rootModule = &modules[i]
			checkRootModule(m, say)
		} else {
			nested = append(nested, m.Module.Path)
		}
		for _, r := range m.Replace {
			say("%s: go.mod replaces %s, so a release of it could not be installed", m.Module.Path, r.Old.Path)
		}
	}
	if rootModule == nil {
		say("the workspace does not hold %s", root)
	}

	users := map[string]map[string][]string{} // library to the files that import it, by module
	for _, lib := range oneFile {
		users[lib] = map[string][]string{}
	}
	for _, p := range packages {
		if !within(p.ImportPath, nested) {
			checkReach(p, rootNever, say)
		}
		for where, what := range never {
			if within(p.ImportPath, []string{where}) {
				checkReach(p, what, say)
			}
		}
		if beside, ok := stdlibOnly[p.ImportPath]; ok {
			for _, dep := range p.Deps {
				if first, _, _ := strings.Cut(dep, "/"); strings.Contains(first, ".") && !slices.Contains(beside, dep) {
					say("%s reaches %s, but may use the standard library only", p.ImportPath, dep)
				}
			}
		}
		for file, imports := range p.files {
			name := p.ImportPath + "/" + file
			for _, imp := range imports {
				if within(imp, []string{"testing"}) && !isTestHelper(p.ImportPath) {
					say("%s imports %s, but is no test", name, imp)
				}
				if slices.Contains(oneFile, imp) {
					m := moduleOf(p.ImportPath, nested)
					users[imp][m] = append(users[imp][m], name)
				}
			}
		}
	}
	for _, lib := range oneFile {
		if len(users[lib]) == 0 {
			say("%s must be imported by one file, but is by none", lib)
		}
		for _, files := range users[lib] {
			if len(files) > 1 {
				slices.Sort(files)
				say("%s must be imported by one file of a module, but is by %d: %s", lib, len(files), strings.Join(files, " "))
			}
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

func checkRootModule(m module, say func(string, ...any)) {
	missing := slices.Clone(rootRequires)
	for _, r := range m.Require {
		if r.Indirect {
			continue
		}
		i := slices.Index(missing, r.Path)
		switch {
		case i >= 0:
			missing = slices.Delete(missing, i, i+1)
		case !slices.Contains(rootMayRequire, r.Path):
			say("%s: go.mod requires %s, which is not on the list", m.Module.Path, r.Path)
		}
	}
	for _, path := range missing {
		say("%s: go.mod does not require %s directly", m.Module.Path, path)
	}
}

// checkReach says what p must not reach but does, save what is open. A test helper may reach the
// testing package, and so nothing but tests and other helpers may import it.
func checkReach(p pkg, what []string, say func(string, ...any)) {
	for _, dep := range p.Deps {
		if within(dep, what) && !slices.Contains(open, dep) && !(isTestHelper(p.ImportPath) && within(dep, []string{"testing", "net/http/httptest"})) {
			say("%s reaches %s", p.ImportPath, dep)
		}
	}
}

// isTestHelper reports whether a package is made for tests, as net/http/httptest is.
func isTestHelper(importPath string) bool { return strings.HasSuffix(importPath, "test") }

// moduleOf returns the module of a package: one of those nested in the root
// module, or that.
func moduleOf(importPath string, nested []string) string {
	i := slices.IndexFunc(nested, func(m string) bool { return within(importPath, []string{m}) })
	if i < 0 {
		return root
	}
	return nested[i]
}

func within(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool {
		return path == r || strings.HasPrefix(path, r+"/")
	})
}
