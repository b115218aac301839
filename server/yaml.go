package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// What a configuration may hold. The limits are far from what anyone writes,
// and keep what reading costs in proportion to the size of the file: at most
// about 1 KiB of garbage and 1 µs for each byte.
const (
	// maxFile bounds a file, in bytes. It is room for some thousand routes.
	maxFile = 1 << 20

	// maxDepth bounds how deep lists and mappings are nested. A configuration
	// needs six levels.
	maxDepth = 32

	// maxIndicators bounds the values of a file before there is a tree of
	// them, which takes a hundred times the memory of the text.
	maxIndicators = 100_000

	// maxValues bounds the values that are read, those behind an alias each
	// time that it is used.
	maxValues = 100_000

	// maxScalar bounds a string and a key, in bytes.
	maxScalar = 4 << 10
)

// node is a value or a key in the tree of a file. This is the only file that
// knows the YAML library.
type node = yaml.Node

// parseYAML returns the top value of src, nil after reporting why there is
// none.
func (d *decoder) parseYAML(src []byte) *node {
	if len(src) > maxFile {
		d.addAt(place{}, "", "larger than %d bytes", maxFile)
		return nil
	}
	if indicators(src) > maxIndicators {
		d.addAt(place{}, "", "too many values: more than %d of the characters , : ? - [ { between them", maxIndicators)
		return nil
	}
	docs, err := load(bytes.NewReader(src))
	switch {
	case err != nil:
		d.addAt(placeOfError(err, src), "", "%s", reasonOf(err))
	case len(docs) == 0 || isEmpty(docs[0]):
		d.addAt(place{}, "", "holds no configuration")
	case len(docs) > 1:
		d.addAt(placeOf(docs[1]), "", "second document: a configuration is a single one")
	default:
		return docs[0]
	}
	return nil
}

// indicators counts the characters that tell values apart. Each is good for
// three values at most, and without one more there is but one value.
func indicators(src []byte) (n int) {
	for _, c := range src {
		switch c {
		case ',', ':', '?', '-', '[', '{':
			n++
		}
	}
	return n
}

// load reads the first two documents of a stream. A bug of the library that
// panics must not end a gateway which is asked to read its file again.
func load(r io.Reader) (docs []*node, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the YAML library failed at this file")
		}
	}()
	limits := loaderlimits.New(loaderlimits.DepthFunc(func(depth int, _ *loaderlimits.DepthContext) error {
		if depth > maxDepth {
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
		return nil
	}))
	loader, err := yaml.NewLoader(r, yaml.WithPlugin(limits))
	for err == nil && len(docs) < 2 {
		// Aliases stay what they are in a tree of nodes: nothing is expanded.
		var doc node
		if err = loader.Load(&doc); err == nil {
			docs = append(docs, doc.Content[0])
		}
	}
	if err == io.EOF {
		err = nil
	}
	return docs, err
}

// reasonOf returns what is wrong with a file that is not YAML. The name of an
// anchor is left out: it may be a secret that begins with a star.
func reasonOf(err error) string {
	var e *yaml.LoadError
	switch {
	case !errors.As(err, &e):
		return err.Error()
	case e.Stage == yaml.ComposerStage:
		return "alias of nothing: no anchor of this name stands before it"
	case e.ContextMsg != "" && e.ContextMark.Line > 0 && e.ContextMark.Line != e.Mark.Line:
		return fmt.Sprintf("%s (%s from line %d)", e.Message, e.ContextMsg, e.ContextMark.Line)
	default:
		return e.Message
	}
}

// placeOfError is where reading ended. What is wrong with the encoding has an
// offset only.
func placeOfError(err error, src []byte) place {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return place{}
	}
	if e.Mark.Line > 0 {
		return place{e.Mark.Line, e.Mark.Column}
	}
	before := src[:min(e.Mark.Index, len(src))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return place{1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])}
}

func placeOf(n *node) place { return place{n.Line, n.Column} }

// isEmpty reports whether nothing was written where a value could be, or null.
func isEmpty(n *node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve follows an alias to its value.
func resolve(n *node) *node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// children returns the elements of a list, or the keys and values of a
// mapping, one after the other.
func children(n *node, tag string) (all []*node, ok bool) {
	n = resolve(n)
	switch {
	case n.ShortTag() != tag:
		return nil, false
	case tag == "!!map":
		return n.Content, n.Kind == yaml.MappingNode
	default:
		return n.Content, n.Kind == yaml.SequenceNode
	}
}

// scalar returns the text of a scalar and its tag. No setting and no key is
// longer than maxScalar.
func scalar(n *node) (text, tag string, ok bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || len(n.Value) > maxScalar {
		return "", "", false
	}
	return n.Value, n.ShortTag(), true
}

// describe names a value in an error.
func describe(n *node) string {
	n = resolve(n)
	switch {
	case isEmpty(n):
		return "empty"
	case n.Style&yaml.TaggedStyle != 0:
		return n.Tag
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case len(n.Value) > maxScalar:
		return fmt.Sprintf("%d bytes long, more than %d", len(n.Value), maxScalar)
	default:
		return n.Value
	}
}
