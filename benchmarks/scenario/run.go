//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// results are all that was measured, as written to scenario.json.
type results struct {
	Machine  machine
	Scale    float64
	Turns    int
	Capacity float64 // requests a second that the naive service serves in good order
	Places   int     // of the limiter
	Rows     []row
	Hey      []heyRow
	Took     time.Duration
}

const numbersFile = "scenario.json"

// runAll measures everything and writes it to a folder.
func runAll(folder string, scale float64, count int) error {
	began := time.Now()
	res := results{Machine: thisMachine(), Scale: scale, Turns: count}
	if err := res.findCapacity(scale); err != nil {
		return err
	}
	for turn := range count {
		fmt.Fprintf(os.Stderr, "turn %d of %d\n", turn+1, count)
		if err := res.measure(turns(scale)); err != nil {
			return err
		}
	}
	if err := res.measure(once(scale)); err != nil {
		return err
	}
	if err := res.measure(overload(res.Capacity, scale)); err != nil {
		return err
	}
	if err := res.runHey(scale); err != nil {
		return err
	}
	res.Machine.LoadAfter = loadAverage()
	res.Took = time.Since(began)
	return res.write(folder)
}

// runOnly measures one stage under each of its loads, for a look at it. The
// limiter gets the places that it has where the upstreams are the bottleneck.
func runOnly(name string, scale float64) error {
	res := results{Places: placesFor(upstreamCapacity)}
	var found []stage
	for _, st := range slices.Concat(turns(scale), once(scale), overload(upstreamCapacity, scale), cold(scale)) {
		if st.Name == name || strings.HasPrefix(st.Name, name+",") {
			found = append(found, st)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("-only %q: no such stage", name)
	}
	return res.measure(found)
}

func (res *results) measure(stages []stage) error {
	for _, st := range stages {
		rows, err := measure(st, res.Places)
		if err != nil {
			return err
		}
		for i := range rows {
			r := &rows[i]
			fmt.Fprintf(os.Stderr, "%-25v %-14s good %6.0f/s, mean %s, p95 %s, %.2f cores (others %.2f), %d MiB\n", r.which(), r.Phase,
				r.Load.GoodPerSecond(), short(r.Load.Latency.Mean), short(r.Load.Latency.P95), r.CPU, r.OthersCPU, r.PeakRSS>>20)
		}
		if res.Capacity == 0 { // one stage alone, for a look at it
			for i := range rows {
				l := &rows[i].Load
				fmt.Fprintf(os.Stderr, "  of %d: good %d, refused %d, failed %d, unanswered %d; hits %+v by second %v; misses %+v; refusals %+v; errors %v\n",
					l.Due, l.Good, l.Refused, l.Failed, l.Unanswered, l.Hit, l.HitsBySecond, l.Miss, l.Refusal, rows[i].Errors)
				fmt.Fprintf(os.Stderr, "  good by second %v\n", l.BySecond)
			}
		}
		res.Rows = append(res.Rows, rows...)
	}
	return nil
}

// findCapacity raises the load on the naive service in steps until it is not
// served in good order any more: 99 % answered 200, and 95 % of them within
// one and a half times what a page takes without load. The limiter gets places
// for that rate by Little's law, and a tenth more.
func (res *results) findCapacity(scale float64) error {
	const step = 500.0
	failed := 0 // in a row: once may be the machine's fault
	for rate := step; rate <= offered && failed < 2; {
		rows, err := measure(stage{Name: "naive", Phases: []phase{{Name: "capacity", Rate: rate, Duration: scaled(3, max(scale, 0.5))}}}, 0)
		if err != nil {
			return err
		}
		l := &rows[0].Load
		fmt.Fprintf(os.Stderr, "capacity: %v/s offered, %d of %d good, p95 %s\n", rate, l.Good, l.Due, short(l.Latency.P95))
		if float64(l.Good) < 0.99*float64(l.Due) || l.Latency.P95 > inTurnTime()*3/2 {
			failed++
			continue
		}
		res.Capacity, failed = rate, 0
		rate += step
	}
	if res.Capacity == 0 {
		return fmt.Errorf("this machine cannot serve %v naive requests a second", step)
	}
	res.Places = placesFor(res.Capacity)
	return nil
}

// write writes numbers, table and chart.
func (res *results) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(res, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, numbersFile), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "scenario.md"), []byte(res.markdown()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "scenario.svg"), []byte(res.chart()), 0o644)
}

// rewrite writes table and chart from numbers.
func rewrite(folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, numbersFile))
	if err != nil {
		return err
	}
	var res results
	if err := json.Unmarshal(text, &res); err != nil {
		return fmt.Errorf("%s: %w", numbersFile, err)
	}
	return res.write(folder)
}
