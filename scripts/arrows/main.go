// Command arrows checks who imports whom in the workspace it is run in: that
// dependencies point one way, that what a service gets by importing this
// project stays small, and that each outside library is used in one file of a
// module, so that replacing it is a change to one file. The rules are at the top of
// rules.go.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

func main() {
	packages, modules, err := load()
	if err != nil {
		fmt.Fprintf(os.Stderr, "arrows: %v\n", err)
		os.Exit(1)
	}
	broken := check(packages, modules)
	for _, b := range broken {
		fmt.Println(b)
	}
	if len(broken) > 0 {
		os.Exit(1)
	}
}

// pkg is a package of the workspace. Only files that are not tests count.
type pkg struct {
	ImportPath string
	Deps       []string            // everything it reaches on this platform, the standard library included
	files      map[string][]string // file name to what the file imports, on any platform
}

// module is what a go.mod of the workspace says.
type module struct {
	Module  struct{ Path string }
	Require []struct {
		Path     string
		Indirect bool
	}
	Replace []struct{ Old struct{ Path string } }
}

func load() ([]pkg, []module, error) {
	var packages []pkg
	err := goJSON(func(d *json.Decoder) error {
		var p struct {
			pkg
			Dir                               string
			GoFiles, CgoFiles, IgnoredGoFiles []string
		}
		if err := d.Decode(&p); err != nil {
			return err
		}
		p.files = map[string][]string{}
		for _, list := range [][]string{p.GoFiles, p.CgoFiles, p.IgnoredGoFiles} {
			for _, name := range list {
				if isTest, _ := filepath.Match("*_test.go", name); isTest {
					continue
				}
				imports, err := importsOf(filepath.Join(p.Dir, name))
				if err != nil {
					return err
				}
				p.files[name] = imports
			}
		}
		packages = append(packages, p.pkg)
		return nil
	}, "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles,Deps", "work")
	if err != nil {
		return nil, nil, err
	}

	var modules []module
	err = goJSON(func(d *json.Decoder) error {
		var where struct{ GoMod string }
		if err := d.Decode(&where); err != nil {
			return err
		}
		return goJSON(func(d *json.Decoder) error {
			var m module
			err := d.Decode(&m)
			modules = append(modules, m)
			return err
		}, "mod", "edit", "-json", where.GoMod)
	}, "list", "-m", "-json=GoMod")
	return packages, modules, err
}

// goJSON runs the go command and calls each until its output is used up.
func goJSON(each func(*json.Decoder) error, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		if err := each(d); err != nil {
			return fmt.Errorf("go %s: %w", args[0], err)
		}
	}
	return nil
}

func importsOf(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, path)
	}
	return imports, nil
}
