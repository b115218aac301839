package main

import (
	"fmt"
	"go/token"
	"go/types"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// uses tells which names a file uses that another file of its package declares:
// from the one to the other to the names.
type uses map[string]map[string]map[string]bool

// usesOf follows each name to its declaration, methods and fields too. A name
// declared in a function is used in the same file only, and drops out.
func usesOf(p *packages.Package) uses {
	u := uses{}
	owners := fieldOwners(p.Types)
	add := func(at token.Pos, used types.Object) {
		if used.Pkg() != p.Types || !used.Pos().IsValid() {
			return
		}
		from, to := baseName(p.Fset.File(at)), baseName(p.Fset.File(used.Pos()))
		if from == to {
			return
		}
		if u[from] == nil {
			u[from] = map[string]map[string]bool{}
		}
		if u[from][to] == nil {
			u[from][to] = map[string]bool{}
		}
		u[from][to][qualified(used, owners)] = true
	}
	for id, used := range p.TypesInfo.Uses {
		add(id.Pos(), used)
	}
	// x.f, where f is a field or a method of something embedded in x, uses
	// what is embedded too, although its name is not there.
	for expr, s := range p.TypesInfo.Selections {
		for _, field := range embedded(s) {
			add(expr.Sel.Pos(), field)
		}
	}
	return u
}

// embedded returns the fields that a selection goes through without a name.
func embedded(s *types.Selection) []*types.Var {
	var through []*types.Var
	t := s.Recv()
	for _, i := range s.Index()[:len(s.Index())-1] {
		if pointer, ok := t.Underlying().(*types.Pointer); ok {
			t = pointer.Elem()
		}
		field := t.Underlying().(*types.Struct).Field(i)
		through = append(through, field)
		t = field.Type()
	}
	return through
}

// fieldOwners finds the type that a field is of. It is known by where it is
// declared, since each instance of a generic type has fields of its own.
func fieldOwners(p *types.Package) map[token.Pos]string {
	owners := map[token.Pos]string{}
	for _, name := range p.Scope().Names() {
		t, ok := p.Scope().Lookup(name).(*types.TypeName)
		if !ok {
			continue
		}
		if s, ok := t.Type().Underlying().(*types.Struct); ok {
			for field := range s.Fields() {
				owners[field.Pos()] = name
			}
		}
	}
	return owners
}

// qualified is the name of an object, after its type for a method or field.
func qualified(o types.Object, owners map[token.Pos]string) string {
	owner := owners[o.Pos()]
	if f, ok := o.(*types.Func); ok && f.Signature().Recv() != nil {
		t := f.Signature().Recv().Type()
		if pointer, ok := t.(*types.Pointer); ok {
			t = pointer.Elem()
		}
		if named, ok := t.(*types.Named); ok {
			owner = named.Obj().Name()
		}
	}
	if owner == "" {
		return o.Name()
	}
	return owner + "." + o.Name()
}

// print lists what the files of a circle use of each other.
func (u uses) print(w io.Writer, circle []string) {
	for _, from := range circle {
		for _, to := range circle {
			if names := u[from][to]; len(names) > 0 {
				fmt.Fprintf(w, "\t%s -> %s: %s\n", from, to, strings.Join(slices.Sorted(maps.Keys(names)), " "))
			}
		}
	}
}

// largestCircle returns the most files of which each reaches each other one,
// in order of their names.
func (u uses) largestCircle(files []file) []string {
	s := search{uses: u, order: map[string]int{}, done: map[string]bool{}}
	for _, f := range files {
		if s.order[f.name] == 0 {
			s.visit(f.name)
		}
	}
	slices.Sort(s.largest)
	return s.largest
}

// search finds strongly connected components as Tarjan does.
type search struct {
	uses    uses
	order   map[string]int // when a file was first seen, from 1
	stack   []string       // files seen whose component is not complete
	done    map[string]bool
	largest []string
}

// visit returns the first seen of the files on the stack that f reaches.
func (s *search) visit(f string) (lowest int) {
	begin := len(s.stack)
	s.stack = append(s.stack, f)
	s.order[f] = len(s.order) + 1
	lowest = s.order[f]
	// In order of names, so that of two circles of one size it is always the same.
	for _, to := range slices.Sorted(maps.Keys(s.uses[f])) {
		switch {
		case s.order[to] == 0:
			lowest = min(lowest, s.visit(to))
		case !s.done[to]:
			lowest = min(lowest, s.order[to])
		}
	}
	if lowest == s.order[f] { // nothing above f on the stack reaches below it
		circle := slices.Clone(s.stack[begin:])
		s.stack = s.stack[:begin]
		for _, member := range circle {
			s.done[member] = true
		}
		if len(circle) > len(s.largest) {
			s.largest = circle
		}
	}
	return lowest
}
