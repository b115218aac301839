package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// decoder reads values out of a YAML tree and remembers where they stood. It
// reports what is wrong and goes on, so that one run finds everything.
//
// It is written out instead of left to reflection so that errors have the
// position of the value, unknown keys are errors at every level, and scalars
// are never converted by guesswork: 5 is not a duration, yes is not a bool.
type decoder struct {
	*errorList
	values int // read so far
}

// A field is one key that a mapping may have.
type field[T any] struct {
	key string
	set func(d *decoder, path string, n *node, v *T)
}

// A pair is an entry of a mapping.
type pair struct{ key, value *node }

// count reports whether there may be one more value, at n.
func (d *decoder) count(n *node) bool {
	d.values++
	if d.values == maxValues+1 {
		d.addAt(placeOf(n), "", "too many values: more than %d, those behind an alias counted each time", maxValues)
	}
	return d.values <= maxValues
}

// mark remembers that path stands at n.
func (d *decoder) mark(path string, n *node) { d.where.at[path] = placeOf(n) }

// mapping calls visit for each entry of a mapping, with its key and the path
// of its value. Merges (<<) are errors; so are keys that come twice.
func (d *decoder) mapping(path string, n *node, visit func(key, path string, p pair)) {
	all, ok := children(n, "!!map")
	if !ok {
		d.add(path, "must be a mapping, is %s", describe(n))
		return
	}
	first := make(map[string]place, len(all)/2)
	for i := 0; i+1 < len(all) && d.count(all[i]); i += 2 {
		p := pair{all[i], all[i+1]}
		key, ok := keyText(p.key)
		if !ok {
			d.addAt(placeOf(p.key), path, "%s: not a key", describe(p.key))
			continue
		}
		full := key
		if path != "" {
			full = path + "." + key
		}
		if before, twice := first[key]; twice {
			d.addAt(placeOf(p.key), full, "comes twice, first at %d:%d", before.line, before.column)
			continue
		}
		first[key] = placeOf(p.key)
		d.mark(full, p.value)
		visit(key, full, p)
	}
}

// keyText returns a string or an integer as written.
func keyText(n *node) (string, bool) {
	text, tag, ok := scalar(n)
	return text, ok && (isString(tag) || tag == "!!int")
}

// isString reports whether a scalar is a string. A date is none to YAML, and
// to nobody who writes a configuration anything else.
func isString(tag string) bool { return tag == "!!str" || tag == "!!timestamp" }

// decodeFields reads a mapping with the given keys into v.
func decodeFields[T any](d *decoder, path string, n *node, fields []field[T], v *T) {
	d.mapping(path, n, func(key, full string, p pair) {
		for _, f := range fields {
			if f.key == key {
				f.set(d, full, p.value, v)
				return
			}
		}
		known := make([]string, len(fields))
		for i, f := range fields {
			known[i] = f.key
		}
		d.addAt(placeOf(p.key), full, "unknown key, must be one of %s", strings.Join(known, ", "))
	})
}

// items calls visit for each element of a list, with its path.
func (d *decoder) items(path string, n *node, visit func(path string, item *node)) {
	all, ok := children(n, "!!seq")
	if !ok {
		d.add(path, "must be a list, is %s", describe(n))
		return
	}
	for i, item := range all {
		if !d.count(item) {
			return
		}
		full := fmt.Sprintf("%s[%d]", path, i)
		d.mark(full, item)
		visit(full, item)
	}
}

func (d *decoder) str(path string, n *node) string {
	text, tag, ok := scalar(n)
	if !ok || !isString(tag) {
		d.add(path, "must be a string, is %s", describe(n))
		return ""
	}
	return text
}

// secret is str for a value that must not appear in an error.
func (d *decoder) secret(path string, n *node) string {
	text, tag, ok := scalar(n)
	if !ok || !isString(tag) {
		d.add(path, "must be a string")
		return ""
	}
	return text
}

func (d *decoder) boolean(path string, n *node) bool {
	switch text, tag, _ := scalar(n); {
	case tag == "!!bool" && text == "true":
		return true
	case tag == "!!bool" && text == "false":
		return false
	}
	d.add(path, "must be true or false, is %s", describe(n))
	return false
}

// integer reads 5 and -5. To some readers of YAML 010 is 8 and 1_0 is 10, so
// neither is a number here.
func (d *decoder) integer(path string, n *node) int {
	text, tag, _ := scalar(n)
	if v, err := strconv.Atoi(text); err == nil && tag == "!!int" && strconv.Itoa(v) == text {
		return v
	}
	d.add(path, "must be a whole number, is %s", describe(n))
	return 0
}

// number reads 5000 or 0.5.
func (d *decoder) number(path string, n *node) float64 {
	text, tag, _ := scalar(n)
	if v, err := strconv.ParseFloat(text, 64); err == nil && (tag == "!!int" || tag == "!!float") {
		return v
	}
	d.add(path, "must be a number, is %s", describe(n))
	return 0
}

// duration reads 1m30s. A bare 0 needs no unit.
func (d *decoder) duration(path string, n *node) time.Duration {
	if text, ok := keyText(n); ok {
		if v, err := time.ParseDuration(text); err == nil {
			return v
		}
	}
	d.add(path, "must be a duration such as 500ms, 30s or 1h30m, is %s", describe(n))
	return 0
}

// size reads 64KiB, 1.5GB or a bare number of bytes.
func (d *decoder) size(path string, n *node) int64 {
	text, ok := keyText(n)
	if !ok {
		d.add(path, "must be a size such as 256MiB, is %s", describe(n))
		return 0
	}
	v, err := ParseSize(text)
	if err != nil {
		d.add(path, "%s: %v", text, err)
	}
	return v
}

func (d *decoder) strings(path string, n *node) []string {
	var all []string
	d.items(path, n, func(full string, item *node) { all = append(all, d.str(full, item)) })
	return all
}

// statusTTL reads {404: 5s}.
func (d *decoder) statusTTL(path string, n *node) map[int]time.Duration {
	ttls := make(map[int]time.Duration)
	d.mapping(path, n, func(key, full string, p pair) {
		status, err := strconv.Atoi(key)
		if err != nil || strconv.Itoa(status) != key {
			d.addAt(placeOf(p.key), full, "must be a status code such as 404")
			return
		}
		ttls[status] = d.duration(full, p.value)
	})
	return ttls
}
