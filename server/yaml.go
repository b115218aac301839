package server

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder reads values out of a YAML tree and remembers where they stood. It
// reports what is wrong and goes on, so that one run finds everything. This is
// the only file that knows the YAML library.
//
// It is written out instead of left to reflection so that errors have the
// position of the value, unknown keys are errors at every level, and scalars
// are never converted by guesswork: 5 is not a duration, yes is not a bool.
type decoder struct {
	*errorList
	anchors map[string]ast.Node
}

// A field is one key that a mapping may have.
type field[T any] struct {
	key string
	set func(d *decoder, path string, n ast.Node, v *T)
}

// parseYAML returns the top mapping of src, nil after reporting why there is
// none.
func (d *decoder) parseYAML(src []byte) (top ast.Node) {
	// Line and column of the first character are not those of the mark.
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		d.syntaxError(err)
		return nil
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case top == nil:
			top = doc.Body
		default:
			d.mark("", doc.Body)
			d.add("", "second document: a configuration is a single one")
			return nil
		}
	}
	if top == nil {
		d.add("", "holds no configuration")
		return nil
	}
	ast.Walk(anchorFinder{d}, top)
	return top
}

func (d *decoder) syntaxError(err error) {
	e := &ConfigError{File: d.where.file, Line: 1, Column: 1, Reason: err.Error()}
	var ye yaml.Error
	if errors.As(err, &ye) {
		e.Reason = ye.GetMessage()
		if tk := ye.GetToken(); tk != nil && tk.Position != nil {
			e.Line, e.Column = tk.Position.Line, tk.Position.Column
		}
	}
	d.errs = append(d.errs, e)
}

// anchorFinder collects the values of anchors (&name).
type anchorFinder struct{ d *decoder }

func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		f.d.anchors[a.Name.GetToken().Value] = a.Value
	}
	return f
}

// resolve follows anchors and aliases to a value. Nil means that there is none.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 16 { // an alias may lead to itself
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			if x.Value == nil {
				return nil
			}
			n = d.anchors[x.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// mark remembers that path stands at n.
func (d *decoder) mark(path string, n ast.Node) { d.where.at[path] = placeOf(n) }

// placeOf is where n begins. The token of a block mapping is its first colon,
// so that of its first key is taken.
func placeOf(n ast.Node) place {
	switch x := n.(type) {
	case *ast.MappingNode:
		if !x.IsFlowStyle && len(x.Values) > 0 {
			return placeOf(x.Values[0])
		}
	case *ast.MappingValueNode:
		return placeOf(x.Key)
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return place{tk.Position.Line, tk.Position.Column}
	}
	return place{}
}

// pairs returns the entries of a mapping.
func (d *decoder) pairs(path string, n ast.Node) []*ast.MappingValueNode {
	switch x := d.resolve(n).(type) {
	case *ast.MappingNode:
		return x.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{x}
	}
	d.add(path, "must be a mapping, is %s", d.describe(n))
	return nil
}

// mapping calls visit for each entry of a mapping, with its key and the path
// of its value. Merges (<<) are errors; so are keys that come twice, for the
// parser.
func (d *decoder) mapping(path string, n ast.Node, visit func(key, path string, pair *ast.MappingValueNode)) {
	for _, pair := range d.pairs(path, n) {
		key, ok := scalarText(pair.Key)
		if !ok {
			d.addAt(pair.Key, path, "%s: not a key", pair.Key.GetToken().Value)
			continue
		}
		full := key
		if path != "" {
			full = path + "." + key
		}
		d.mark(full, pair.Value)
		visit(key, full, pair)
	}
}

// addAt is add for a node that has no path of its own.
func (d *decoder) addAt(n ast.Node, path, format string, args ...any) {
	p := placeOf(n)
	d.errs = append(d.errs, &ConfigError{
		File: d.where.file, Line: p.line, Column: p.column, Path: path, Reason: fmt.Sprintf(format, args...),
	})
}

// decodeFields reads a mapping with the given keys into v.
func decodeFields[T any](d *decoder, path string, n ast.Node, fields []field[T], v *T) {
	d.mapping(path, n, func(key, full string, pair *ast.MappingValueNode) {
		for _, f := range fields {
			if f.key == key {
				f.set(d, full, pair.Value, v)
				return
			}
		}
		known := make([]string, len(fields))
		for i, f := range fields {
			known[i] = f.key
		}
		d.addAt(pair.Key, full, "unknown key, must be one of %s", strings.Join(known, ", "))
	})
}

// items returns the elements of a sequence.
func (d *decoder) items(path string, n ast.Node) []ast.Node {
	seq, ok := d.resolve(n).(*ast.SequenceNode)
	if !ok {
		d.add(path, "must be a list, is %s", d.describe(n))
		return nil
	}
	for i, item := range seq.Values {
		d.mark(fmt.Sprintf("%s[%d]", path, i), item)
	}
	return seq.Values
}

// scalarText returns a string or an integer as written.
func scalarText(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		return x.Value, true
	case *ast.LiteralNode:
		return x.Value.Value, true
	case *ast.IntegerNode:
		return x.GetToken().Value, true
	}
	return "", false
}

// describe names a value in an error.
func (d *decoder) describe(n ast.Node) string {
	switch x := d.resolve(n).(type) {
	case nil:
		return "an unknown alias"
	case *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case ast.ScalarNode:
		return x.GetToken().Value
	default:
		return x.Type().String()
	}
}

func (d *decoder) str(path string, n ast.Node) string {
	switch x := d.resolve(n).(type) {
	case *ast.StringNode:
		return x.Value
	case *ast.LiteralNode:
		return x.Value.Value
	}
	d.add(path, "must be a string, is %s", d.describe(n))
	return ""
}

func (d *decoder) boolean(path string, n ast.Node) bool {
	if b, ok := d.resolve(n).(*ast.BoolNode); ok {
		return b.Value
	}
	d.add(path, "must be true or false, is %s", d.describe(n))
	return false
}

func (d *decoder) integer(path string, n ast.Node) int {
	if x, ok := d.resolve(n).(*ast.IntegerNode); ok {
		if v, err := strconv.Atoi(x.GetToken().Value); err == nil {
			return v
		}
	}
	d.add(path, "must be a whole number, is %s", d.describe(n))
	return 0
}

// number reads 5000 or 0.5.
func (d *decoder) number(path string, n ast.Node) float64 {
	switch x := d.resolve(n).(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if v, err := strconv.ParseFloat(x.GetToken().Value, 64); err == nil {
			return v
		}
	}
	d.add(path, "must be a number, is %s", d.describe(n))
	return 0
}

// duration reads 1m30s. A bare 0 needs no unit.
func (d *decoder) duration(path string, n ast.Node) time.Duration {
	if text, ok := scalarText(d.resolve(n)); ok {
		v, err := time.ParseDuration(text)
		if err == nil {
			return v
		}
	}
	d.add(path, "must be a duration such as 500ms, 30s or 1h30m, is %s", d.describe(n))
	return 0
}

// size reads 64KiB, 1.5GB or a bare number of bytes.
func (d *decoder) size(path string, n ast.Node) int64 {
	text, ok := scalarText(d.resolve(n))
	if !ok {
		d.add(path, "must be a size such as 256MiB, is %s", d.describe(n))
		return 0
	}
	v, err := ParseSize(text)
	if err != nil {
		d.add(path, "%s: %v", text, err)
	}
	return v
}

func (d *decoder) strings(path string, n ast.Node) []string {
	var all []string
	for i, item := range d.items(path, n) {
		all = append(all, d.str(fmt.Sprintf("%s[%d]", path, i), item))
	}
	return all
}
