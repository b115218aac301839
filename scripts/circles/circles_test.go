package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const ring = "github.com/freshet-go/freshet/scripts/circles/testdata/ring"

func loadRing(t *testing.T) *pkg {
	t.Helper()
	packages, err := load("./testdata/ring")
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 1 || packages[0].path != ring {
		t.Fatalf("load found %d packages, want %s alone", len(packages), ring)
	}
	return packages[0]
}

// Names lead to where they are declared: those of methods and fields too, of
// what is embedded on the way, and not those of a function's own variables.
func TestUses(t *testing.T) {
	p := loadRing(t)
	var files []string
	for _, f := range p.files {
		files = append(files, f.name)
	}
	var out strings.Builder
	slices.Sort(files)
	p.uses.print(&out, files)
	const want = `	box.go -> lid.go: lid
	caller.go -> get.go: get
	caller.go -> weigh.go: box.weigh
	fields.go -> box.go: box.lid box.size
	fields.go -> get.go: get
	fields.go -> lid.go: lid.color
	get.go -> box.go: box
	weigh.go -> box.go: box
	weigh.go -> caller.go: caller
`
	if got := out.String(); got != want {
		t.Errorf("uses are\n%swant\n%s", got, want)
	}
	if want := []string{"caller.go", "weigh.go"}; !slices.Equal(p.circle, want) {
		t.Errorf("the circle is %v, want %v", p.circle, want)
	}
}

func TestFunctions(t *testing.T) {
	p := loadRing(t)
	for _, want := range []function{
		{name: "caller", lines: 1, complexity: 1},
		{name: "box.weigh", lines: 6, complexity: 2},
		// for, &&, range, two cases that are no default, if and || of the literal
		{name: "busy", lines: 23, complexity: 8},
		{name: "otherPlatform", lines: 6, complexity: 1},
	} {
		i := slices.IndexFunc(p.functions, func(f function) bool { return f.name == want.name })
		if i < 0 {
			t.Errorf("%s was not found", want.name)
			continue
		}
		if got := p.functions[i]; got.lines != want.lines || got.complexity != want.complexity {
			t.Errorf("%s has %d lines and complexity %d, want %d and %d", want.name, got.lines, got.complexity, want.lines, want.complexity)
		}
	}
}

func TestCheck(t *testing.T) {
	p := loadRing(t)
	lenient := limit{circle: 2, file: 1000, function: 23, complexity: 8}
	for _, tt := range []struct {
		name string
		edit func(*limit)
		want []string
	}{
		{"at the limits", func(*limit) {}, nil},
		{"circle", func(l *limit) { l.circle = 1 }, []string{": 2 files use each other, more than 1: caller.go weigh.go"}},
		{"file", func(l *limit) { l.file = 60 }, []string{"/busy.go: 61 lines, more than 60"}},
		{"complexity", func(l *limit) { l.complexity = 7 }, []string{"/busy.go:3: busy has complexity 8, more than 7"}},
		// What has a reason is missing here.
		{"lines", func(l *limit) { l.function = 4 }, []string{
			"/busy.go:3: busy has 23 lines, more than 4",
			"/busy.go:43: noReason has 5 lines, more than 4",
			"/other_plan9.go:3: otherPlatform has 6 lines, more than 4",
			"/weigh.go:4: box.weigh has 6 lines, more than 4",
		}},
	} {
		most := lenient
		tt.edit(&most)
		var got []string
		for _, line := range p.check(most) {
			if line = strings.TrimPrefix(line, ring); !strings.HasSuffix(line, "excuses nothing") {
				got = append(got, line)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: check says\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// A reason that outlives what it was given for would excuse what comes next.
func TestExcuseOfNothing(t *testing.T) {
	p := loadRing(t)
	var got []string
	for _, line := range p.check(limit{circle: 7, file: 500, function: 4, complexity: 15}) {
		if where, ok := strings.CutSuffix(line, ": a circles comment that excuses nothing"); ok {
			got = append(got, strings.TrimPrefix(where, ring))
		}
	}
	if want := []string{"/busy.go:60", "/busy.go:49"}; !slices.Equal(got, want) {
		t.Errorf("excuse nothing: %v, want %v", got, want)
	}
}

// What cannot be measured whole would seem better than it is.
func TestLoadFails(t *testing.T) {
	for pattern, want := range map[string]string{
		"./testdata/wrong":         "undefined: missing",
		"./testdata/nowhere":       "nowhere",
		"./testdata/ring/none/...": "none",
	} {
		if _, err := load(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("load(%q): error %v, want one with %q", pattern, err, want)
		}
	}
}

// The largest circle is that of files that reach each other, as found by
// trying all ways.
func TestLargestCircle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n := 1 + rnd.IntN(9)
		u, files, reaches := uses{}, make([]file, n), make([][]bool, n)
		for i := range files {
			files[i].name = fmt.Sprint(i)
			reaches[i] = make([]bool, n)
			reaches[i][i] = true
			u[files[i].name] = map[string]map[string]bool{}
		}
		for range rnd.IntN(2 * n) {
			from, to := rnd.IntN(n), rnd.IntN(n)
			u[fmt.Sprint(from)][fmt.Sprint(to)] = map[string]bool{"name": true}
			reaches[from][to] = true
		}
		got := u.largestCircle(files)
		if want := widest(reaches); len(got) != want {
			t.Fatalf("%v: the largest circle is %v, want %d files", u, got, want)
		}
	}
}

// widest is the number of those that reach each other, by Warshall's closure.
func widest(reaches [][]bool) int {
	for k := range reaches {
		for i := range reaches {
			for j := range reaches {
				reaches[i][j] = reaches[i][j] || reaches[i][k] && reaches[k][j]
			}
		}
	}
	most := 0
	for i := range reaches {
		n := 0
		for j := range reaches {
			if reaches[i][j] && reaches[j][i] {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
