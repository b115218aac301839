//go:build !race

package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// What reading may cost: an amount for any file, and more in proportion to its
// size. The measured maxima are 1.1 KiB and 1.5 µs a byte. The time for any
// file is for a busy machine, the memory is that of regular expressions.
const (
	costBytes, costBytesPatterns, costBytesEach = 4 << 20, 256 << 20, 2 << 10
	costTime, costTimeEach                      = 5 * time.Second, 10 * time.Microsecond
)

// parseAtCost is Parse, whose costs it checks.
func parseAtCost(t *testing.T, name string, src []byte) (Config, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	c, err := Parse("f.yaml", src)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	want := uint64(costBytes + costBytesEach*len(src))
	if bytes.Contains(src, []byte("pattern")) {
		want += costBytesPatterns
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > want {
		t.Errorf("%s: %d bytes allocated for a file of %d, at most %d expected: %.100q", name, got, len(src), want, src)
	}
	if limit := costTime + time.Duration(len(src))*costTimeEach; took > limit {
		t.Errorf("%s: took %v for a file of %d bytes, at most %v expected: %.100q", name, took, len(src), limit, src)
	}
	if err != nil && len(err.Error()) > maxErrors*4<<10 {
		t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
	}
	return c, err
}

// fill repeats unit between prefix and suffix, up to the size of a file.
func fill(prefix, unit, suffix string, size int) []byte {
	n := max(0, size-len(prefix)-len(suffix)) / len(unit)
	return []byte(prefix + strings.Repeat(unit, n) + suffix)
}

// Files that were made to cost much. Some are as good as any other.
func TestFilesThatAreMadeToCostMuch(t *testing.T) {
	const deep, many = "nested deeper than 32 levels", "too many values"
	for _, row := range []struct{ prefix, unit, suffix, want string }{
		{"", "[", "", deep},
		{"", "{a: ", "", deep},
		{"", "{", "", deep},
		{"", "- ", "x\n", deep},
		{"", "? ", "x\n", deep},
		{"", ": ", "x\n", deep},
		{"a: ", "- ", "x\n", ""},
		{"a:\n  ", "- [", "", deep},
		{"- ", "[[[[[[[[", "", deep},
		{"name: [", "'a',", "]\n", many},
		{"name: [", "a,", "]\n", many},
		{"name: [", ",", "]\n", many},
		{"name: {", "? ,", "}\n", many},
		{"name: [", ": ,", "]\n", many},
		{"name: [", "[],", "]\n", many},
		{"name: {", "[]: [],", "}\n", many},
		{"", "-\n", "", many},
		{"", "- a\n", "", many},
		{"", "?\n", "", many},
		{"", "a:\n", "", many},
		{"", "- # x\n", "", many},
		{"a: &a x\nb:\n", "- *a\n", "", many},
		{"", "- &a a\n", "", many},
		{"", "---\n", "", many},
		{"", "...\n", "", "holds no configuration"},
		{"", "%TAG !a! b\n", "", "duplicate %TAG"},
		{"", "&a ", "", ""},
		{"", "!a ", "", ""},
		{"", "#", "", "holds no configuration"},
		{"", "#\n", "", "holds no configuration"},
		{"", "#\n\n", "", "holds no configuration"},
		{"", "\n", "", "holds no configuration"},
		{"", "\r", "", "holds no configuration"},
		{"", "\t", "", ""},
		{"", " ", "", "holds no configuration"},
		{"", "\x00", "", "control characters"},
		{"", "\uFEFF", "", ""},
		{"", "\u2028", "", ""},
		{"", "a", "", "must be a mapping"},
		{"", "a ", "", "must be a mapping"},
		{"", "a\n", "", "must be a mapping"},
		{"", "a", ": b\n", ""},
		{"name: \"", "a", "\"\n", "must be a string"},
		{"name: \"", "\\u0041", "\"\n", "must be a string"},
		{"name: \"", "\n", "\"\n", "must be a string"},
		{"name: '", "''", "'\n", "must be a string"},
		{"name: |\n", " a\n", "", "must be a string"},
		{"name: |\n", " ", "", ""},
		{"name: >\n", "  a\n\n", "", "must be a string"},
		{"name: !", "a", " b\n", ""},
		{"max_bytes: ", "1", "\n", "must be a size"},
		{"refresh_workers: ", "1", "\n", "must be a whole number"},
		{"", "name: x # y\n", "", "comes twice"},
	} {
		name := fmt.Sprintf("%.20q %.20q", row.prefix, row.unit)
		_, err := parseAtCost(t, name, fill(row.prefix, row.unit, row.suffix, maxFile))
		if row.want == deep { // which a smaller file is already
			_, err = parseAtCost(t, name, fill(row.prefix, row.unit, row.suffix, 40_000))
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %.200v, want an error with %q", name, err, row.want)
		}
		// The same, encoded in two bytes a character.
		wide := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(string(fill(row.prefix, row.unit, row.suffix, maxFile/2-1)))) {
			wide = append(wide, byte(u), byte(u>>8))
		}
		if _, err := parseAtCost(t, "UTF-16 "+name, wide); err == nil {
			t.Errorf("UTF-16 %s: no error", name)
		}
	}
}

// stairs is a file each line of which is nested in the one before.
func stairs(line string) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < maxFile/2; i++ {
		b.WriteString(strings.Repeat(" ", i) + line + "\n")
	}
	return b.Bytes()
}

// laughs is a file of levels of lists or mappings, each of which holds the one
// before ten times.
func laughs(level, element string) []byte {
	var b strings.Builder
	b.WriteString("upstreams:\n  a: &a {url: x}\n")
	for c := 'b'; c <= 'j'; c++ {
		var elements []string
		for i := range 10 {
			elements = append(elements, strings.NewReplacer("N", fmt.Sprint(i), "A", string(c-1)).Replace(element))
		}
		fmt.Fprintf(&b, "  %c: &%c "+level+"\n", c, c, strings.Join(elements, ","))
	}
	return []byte(b.String())
}

func TestDeepAndRepeatedFiles(t *testing.T) {
	long := strings.Repeat("x,", 30_000)
	routes := strings.Repeat("- {pattern: /, upstream: u, policy: {headers: *h}}\n", 3_000)
	for _, row := range []struct {
		name string
		src  []byte
		want string
	}{
		{"stairs of mappings", stairs("a:"), "nested deeper than 32 levels"},
		{"stairs of lists", stairs("-"), "nested deeper than 32 levels"},
		{"lists of aliases", laughs("[%s]", "*A"), "must be a mapping"},
		{"mappings of aliases", laughs("{%s}", "kN: *A"), "unknown key"},
		{"merges of aliases", laughs("{<<: [%s]}", "*A"), "<<: not a key"},
		{"alias of itself", []byte("upstreams: &u {a: *u}\n"), "unknown key"},
		{"list of itself", []byte("routes: &r [*r]\n"), "must be a mapping"},
		{"a list used again and again", []byte("routes:\n- {pattern: /, upstream: u, policy: {headers: &h [" + long + "]}}\n" + routes), "too many values"},
		{"an upstream used again and again", []byte("upstreams:\n  a: &a {max_conns: x, url: x, " + strings.Repeat("y: 1,", 1000) + "}\n" +
			func() string {
				var b strings.Builder
				for i := range 20_000 {
					fmt.Fprintf(&b, "  u%d: *a\n", i)
				}
				return b.String()
			}()), "more than 100 errors"},
	} {
		if _, err := parseAtCost(t, row.name, row.src); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %.300v, want an error with %q", row.name, err, row.want)
		}
	}
}

// Short regular expressions may compile to long programs.
func TestRegularExpressionsAreBounded(t *testing.T) {
	routes := func(expression string, size int) []byte {
		var b strings.Builder
		b.WriteString("upstreams: {u: {url: 'http://a'}}\nroutes:\n")
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, "- {upstream: u, pattern: '/%d/{x:%s}'}\n", i, expression)
		}
		return []byte(b.String())
	}
	for _, expression := range []string{
		`a{1000}`, `(?:a{30}){30}`, `\{\{a{1000}\}\}`, strings.Repeat(`a{1000}`, 500), strings.Repeat(`\pL`, 1000),
	} {
		if _, err := parseAtCost(t, expression, routes(expression, maxFile/8)); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%.50s: %.200v", expression, err)
		}
	}
	for _, expression := range []string{`[0-9]{1,19}`, `[0-9a-f]{8}-[0-9a-f]{4}`, `\pL+`, `[a-z]{1,64}`} {
		if _, err := parseAtCost(t, expression, routes(expression, maxFile/16)); err != nil {
			t.Errorf("%s: %.200v", expression, err)
		}
	}
}

// A configuration larger than anyone's is none of them.
func TestLargeConfigurationIsRead(t *testing.T) {
	var b strings.Builder
	b.WriteString("upstreams:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  service-%d:\n    url: http://service-%d.example:8000/base\n    max_conns: 64\n    request_timeout: 30s\n", i, i)
	}
	b.WriteString("routes:\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "  - pattern: /v1/things-%d/{id:[0-9]+}  # the things\n    upstream: service-%d\n    strip_prefix: /v1\n"+
			"    policy:\n      ttl: 1m\n      stale_if_error: 1h\n      headers: [Accept-Language]\n", i, i%500)
	}
	c, err := parseAtCost(t, "large", []byte(b.String()))
	if err != nil || len(c.Routes) != 4000 || len(c.Upstreams) != 500 {
		t.Errorf("%d bytes: %d routes, %d upstreams, %.200v", b.Len(), len(c.Routes), len(c.Upstreams), err)
	}
}

// The largest configurations that are read are also put in place in a moment:
// that is done while the gateway serves.
func TestLargestConfigurationIsServed(t *testing.T) {
	for pattern, routes := range map[string]int{"/%d": 19_000, "/%d/{x}": 16_000, "/{x:a%d}": 14_000, "/{x}/%d": 16_000} {
		var b strings.Builder
		b.WriteString("admin: off\nupstreams: {u: {url: 'http://a'}}\nroutes:\n")
		for i := range routes {
			fmt.Fprintf(&b, "- {upstream: u, pattern: '"+pattern+"'}\n", i)
		}
		c, err := parseAtCost(t, pattern, []byte(b.String()))
		if err != nil {
			t.Fatalf("%s: %.200v", pattern, err)
		}
		start := time.Now()
		s := newServer(t, c, Options{})
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %d routes took %v", pattern, routes, took)
		}
		_ = s.Close()
	}
}

// Whatever is in the file: an error with a place, or a valid configuration, at
// a cost in proportion to its size. A unit that is repeated finds what a short
// input cannot show.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("freshet.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{valid, string(example), "a: &a [*a]\n", "routes: *x\n", "[", "{a: ", "- ", "? ", "- &a [*a]\n"} {
		f.Add(s, "", "")
	}
	f.Add("routes: [", "{pattern: /, upstream: u},", "]")
	f.Add("upstreams:\n", "  a: &a {url: 'http://a'}\n", valid)
	f.Add("name: \"", "\\u0041", "\"")
	f.Add(valid, "# comment\n", "    policy: {ttl: 1m}\n")
	f.Add("routes: [{pattern: '/{x:", "a{1000}", "}', upstream: u}]")
	f.Add("routes:\n- &r {pattern: /, upstream: u}\n", "- *r\n", "")
	f.Fuzz(func(t *testing.T, prefix, unit, suffix string) {
		if len(prefix)+len(unit)+len(suffix) > 16<<10 {
			return
		}
		src := []byte(prefix + unit + suffix)
		if unit != "" {
			src = fill(prefix, unit, suffix, 16<<10)
		}
		c, err := parseAtCost(t, "input", src)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("parsed, but not valid: %v", err)
			}
			return
		}
		var ce *ConfigError
		if !errors.As(err, &ce) || ce.Line < 1 || ce.Column < 1 {
			t.Errorf("no place: %v", err)
		}
	})
}
