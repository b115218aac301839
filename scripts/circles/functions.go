package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"iter"
	"strings"
)

// function is one that is declared, or a literal outside of any. Literals in a
// function are part of it.
type function struct {
	name       string
	where      string // file:line
	lines      int
	complexity int
	excuse     excuse
}

// excuse is a comment that begins "// circles:".
type excuse struct {
	where  string // file:line, empty if there is none
	reason string
}

// functionsOf returns the functions of a file, and where a comment excuses
// none of them.
func functionsOf(of *token.File, f *ast.File) (functions []function, idle []string) {
	taken := map[*ast.Comment]bool{}
	add := func(name string, n ast.Node) {
		fn := function{name: name, where: place(of, n), lines: of.Line(n.End()) - of.Line(n.Pos()) + 1, complexity: complexity(n)}
		for c, group := range comments(f) {
			reason, ok := strings.CutPrefix(c.Text, excusing)
			inside := n.Pos() <= c.Pos() && c.Pos() < n.End()
			above := of.Line(group.End())+1 == of.Line(n.Pos())
			if ok && (inside || above) {
				taken[c] = true
				fn.excuse = excuse{where: place(of, c), reason: strings.TrimSpace(reason)}
			}
		}
		functions = append(functions, fn)
	}
	for _, decl := range f.Decls {
		if d, ok := decl.(*ast.FuncDecl); ok {
			add(nameOf(d), d)
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			literal, ok := n.(*ast.FuncLit)
			if ok {
				add(fmt.Sprintf("func literal at line %d", of.Line(n.Pos())), literal)
			}
			return !ok
		})
	}
	for c := range comments(f) {
		if strings.HasPrefix(c.Text, excusing) && !taken[c] {
			idle = append(idle, place(of, c))
		}
	}
	return functions, idle
}

const excusing = "// circles:"

// comments yields each comment of f with the group it is in.
func comments(f *ast.File) iter.Seq2[*ast.Comment, *ast.CommentGroup] {
	return func(yield func(*ast.Comment, *ast.CommentGroup) bool) {
		for _, group := range f.Comments {
			for _, c := range group.List {
				if !yield(c, group) {
					return
				}
			}
		}
	}
}

func place(of *token.File, n ast.Node) string {
	return fmt.Sprintf("%s:%d", baseName(of), of.Line(n.Pos()))
}

// nameOf is the name of a function, after its receiver's type.
func nameOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	t := ast.Unparen(d.Recv.List[0].Type)
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	return types.ExprString(t) + "." + d.Name.Name
}

// complexity is the number of ways through a function that no other way is
// made of (McCabe).
func complexity(fn ast.Node) int {
	n := 1
	ast.Inspect(fn, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil { // not the default
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}
