//go:build linux

// Command budgets measures what docs/design.md promises beyond the cost of a
// hit: memory of the whole process at a full cache, ten thousand requests for
// one cold key, a hot key that expires under load, and the share of the
// garbage collector. Each is measured in a process of its own.
//
//	go run ./benchmarks/budgets
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// budgets are the measurements by their names. Each prints rows of a table.
var budgets = []struct {
	name    string
	measure func() error
}{
	{"memory-library", func() error { return memory("GOGC=100, no memory limit", false) }},
	{"memory-limited", func() error {
		return memory("Options.LimitMemory", true)
	}},
	{"cold", cold},
	{"hot", hot},
	{"collector", collector},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "budgets:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 {
		for _, b := range budgets {
			if b.name == args[0] {
				return b.measure()
			}
		}
	}
	if len(args) > 0 {
		return fmt.Errorf("arguments %q: none are needed", args)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("%s %s/%s, %d cores\n\n| what | budget | measured | holds |\n|---|---|---|---|\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, b := range budgets {
		cmd := exec.Command(self, b.name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// report prints one row.
func report(what, budget, measured string, holds bool) {
	word := "yes"
	if !holds {
		word = "**no**"
	}
	fmt.Printf("| %s | %s | %s | %s |\n", what, budget, measured, word)
}
