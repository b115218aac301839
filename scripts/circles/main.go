// Command circles measures what makes a package hard to read in parts: files
// that all use each other, so that none is understood before the others are,
// and long files, and long or complex functions. It prints what it measured of
// the packages it is given, and fails where one is over a limit.
//
// A function may be over a limit for a reason. A comment directly above it or
// inside of it gives that reason in a line that begins "// circles:".
//
// Tests do not count. "circles -list work" measures every package of a workspace.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	list := flag.Bool("list", false, "list what the files of each circle use of each other, and fail for nothing")
	flag.Parse()
	packages, err := load(flag.Args()...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "circles: %v\n", err)
		os.Exit(1)
	}
	var broken []string
	for _, p := range packages {
		p.print(os.Stdout)
		if *list {
			p.uses.print(os.Stdout, p.circle)
		}
		broken = append(broken, p.check(limits)...)
	}
	for _, b := range broken {
		fmt.Println(b)
	}
	if len(broken) > 0 && !*list {
		os.Exit(1)
	}
}

// limit is the most that is allowed.
type limit struct {
	circle     int // files that use each other
	file       int // lines
	function   int // lines, from func to the closing brace
	complexity int // of a function
}

var limits = limit{circle: 7, file: 500, function: 60, complexity: 15}

// pkg is what was measured of a package.
type pkg struct {
	path      string
	files     []file
	functions []function
	idle      []string // where a comment excuses nothing, as file:line
	uses      uses
	circle    []string // the files of the largest one
}

type file struct {
	name  string
	lines int
}

func (p *pkg) print(w io.Writer) {
	lines := 0
	for _, f := range p.files {
		lines += f.lines
	}
	fmt.Fprintf(w, "%s: %d files, %d lines\n", p.path, len(p.files), lines)
	fmt.Fprintf(w, "\tcircle      %d of %d", len(p.circle), len(p.files))
	if len(p.circle) > 1 {
		fmt.Fprintf(w, ": %s", strings.Join(p.circle, " "))
	}
	fmt.Fprintln(w)
	printMost(w, "files", p.files, func(f file) (string, int) { return f.name, f.lines })
	printMost(w, "functions", p.functions, func(f function) (string, int) { return f.name, f.lines })
	printMost(w, "complexity", p.functions, func(f function) (string, int) { return f.name, f.complexity })
}

// printMost prints the three of a list that measure most.
func printMost[T any](w io.Writer, what string, list []T, measure func(T) (string, int)) {
	list = slices.SortedStableFunc(slices.Values(list), func(a, b T) int {
		_, m := measure(a)
		_, n := measure(b)
		return cmp.Compare(n, m)
	})
	var most []string
	for _, v := range list[:min(3, len(list))] {
		name, n := measure(v)
		most = append(most, fmt.Sprintf("%s %d", name, n))
	}
	fmt.Fprintf(w, "\t%-11s %s\n", what, strings.Join(most, ", "))
}

// check returns one line for each limit that p is over.
func (p *pkg) check(most limit) []string {
	var broken []string
	say := func(format string, args ...any) {
		broken = append(broken, p.path+fmt.Sprintf(format, args...))
	}
	if len(p.circle) > most.circle {
		say(": %d files use each other, more than %d: %s", len(p.circle), most.circle, strings.Join(p.circle, " "))
	}
	for _, f := range p.files {
		if f.lines > most.file {
			say("/%s: %d lines, more than %d", f.name, f.lines, most.file)
		}
	}
	idle := slices.Clone(p.idle)
	for _, f := range p.functions {
		over := f.lines > most.function || f.complexity > most.complexity
		switch {
		case over && f.excuse.reason != "":
			continue
		case !over && f.excuse.where != "":
			idle = append(idle, f.excuse.where)
		}
		if f.lines > most.function {
			say("/%s: %s has %d lines, more than %d", f.where, f.name, f.lines, most.function)
		}
		if f.complexity > most.complexity {
			say("/%s: %s has complexity %d, more than %d", f.where, f.name, f.complexity, most.complexity)
		}
	}
	for _, where := range idle {
		say("/%s: a circles comment that excuses nothing", where)
	}
	return broken
}
