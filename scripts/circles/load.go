package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

func load(patterns ...string) ([]*pkg, error) {
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
	}, patterns...)
	if err != nil {
		return nil, err
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("%s: no such packages", strings.Join(patterns, " "))
	}
	var measured []*pkg
	for _, p := range loaded {
		m, err := measure(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.PkgPath, err)
		}
		measured = append(measured, m)
	}
	slices.SortFunc(measured, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return measured, nil
}

func measure(p *packages.Package) (*pkg, error) {
	// What is wrong with a package would be missing from the measure.
	var failed []error
	for _, err := range p.Errors {
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	m := &pkg{path: p.PkgPath, uses: usesOf(p)}
	for _, f := range p.Syntax {
		m.addFile(p.Fset, f)
	}
	// Files for other platforms have no types here, but a length.
	for _, name := range p.IgnoredFiles {
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(p.Fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		m.addFile(p.Fset, f)
	}
	m.circle = m.uses.largestCircle(m.files)
	return m, nil
}

func (p *pkg) addFile(fset *token.FileSet, f *ast.File) {
	of := fset.File(f.FileStart)
	p.files = append(p.files, file{baseName(of), of.LineCount()})
	functions, idle := functionsOf(of, f)
	p.functions = append(p.functions, functions...)
	p.idle = append(p.idle, idle...)
}

func baseName(f *token.File) string { return filepath.Base(f.Name()) }
