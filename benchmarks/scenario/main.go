//go:build linux

// Command scenario measures what each of Freshet's levers is worth for the
// service it was made for: a page that needs three upstreams of 300, 400 and
// 200 ms, asked for 5,000 times a second. It runs the upstreams, the service
// and the load as processes of their own, stage by stage, and writes a table
// and a chart.
//
//	go run ./benchmarks/scenario -out benchmarks/results
//	go run ./benchmarks/scenario -scale 0.1 -turns 1 -out /tmp    # a quick look
//	go run ./benchmarks/scenario -out benchmarks/results -report  # write both anew from the numbers
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scenario:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 { // a role, which only this program itself starts
		switch args[0] {
		case "upstream":
			return role(args[1], runUpstream)
		case "service":
			return role(args[1], runService)
		case "load":
			return role(args[1], runLoad)
		}
	}
	fs := flag.NewFlagSet("scenario", flag.ContinueOnError)
	out := fs.String("out", "benchmarks/results", "`folder` for the table, the chart and the numbers")
	scale := fs.Float64("scale", 1, "`factor` on all durations; results of less than 1 are no results")
	count := fs.Int("turns", 3, "how `often` stages are measured; the median counts")
	only := fs.String("only", "", "measure this `stage` only, such as pool, and print to standard error; nothing is written")
	report := fs.Bool("report", false, "write the table and the chart from the numbers of an earlier run")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 || *scale <= 0 || *scale > 10 || *count < 1 || *count > 99 {
		return fmt.Errorf("arguments %q: see -help", args)
	}
	switch {
	case *report:
		return rewrite(*out)
	case *only != "":
		return runOnly(*only, *scale)
	}
	return runAll(*out, *scale, *count)
}

func role[C any](text string, run func(C) error) error {
	var c C
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	return run(c)
}
