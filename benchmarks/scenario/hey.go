//go:build linux

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A heyRow is what hey says. It keeps a number of requests in flight and sends
// the next one when one is answered: a closed loop, which a slow service slows
// down.
type heyRow struct {
	Stage         string
	Clients       int
	Good, All     int
	PerSecond     float64
	P50, P95, P99 time.Duration
}

const heyClients = 200

// runHey has hey ask each stage for one page again and again.
func (res *results) runHey(scale float64) error {
	if _, err := exec.LookPath("hey"); err != nil {
		fmt.Fprintln(os.Stderr, "hey is not here, so there are no numbers of it: install the Debian package hey")
		return nil
	}
	duration := scaled(5, scale)
	phases := []phase{{Rate: offered}}
	for _, st := range []stage{
		{Name: "naive", Phases: phases},
		{Name: "pool", Pool: true, Phases: phases},
		{Name: "side by side", SideBySide: true, Phases: phases},
		{Name: "cache", Cache: true, Phases: phases},
		{Name: "limiter", Limited: true, Phases: phases},
		{Name: "together", Pool: true, SideBySide: true, Cache: true, Limited: true, Phases: phases},
	} {
		h, err := heyOnce(st, res.Places, duration)
		if err != nil {
			return fmt.Errorf("hey, %s: %w", st.Name, err)
		}
		res.Hey = append(res.Hey, h)
	}
	return nil
}

func heyOnce(st stage, places int, duration time.Duration) (h heyRow, err error) {
	s, err := newSetup(st, places)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	began := time.Now()
	out, err := exec.Command("hey", "-z", duration.String(), "-c", strconv.Itoa(heyClients), "-o", "csv", "http://"+s.address+"/page/1").Output()
	if err != nil {
		return h, err
	}
	h, err = readHey(strings.NewReader(string(out)), time.Since(began))
	h.Stage, h.Clients = st.Name, heyClients
	return h, err
}

// readHey reads hey's CSV: a line for each request, its time in seconds in the
// first column and its status in the seventh.
func readHey(r io.Reader, took time.Duration) (h heyRow, err error) {
	lines, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return h, fmt.Errorf("hey's CSV: %w", err)
	}
	var times []time.Duration
	for _, line := range lines[min(1, len(lines)):] { // the first has the names
		if len(line) < 7 {
			return h, fmt.Errorf("hey's CSV: %q", line)
		}
		seconds, err := strconv.ParseFloat(line[0], 64)
		if err != nil {
			return h, fmt.Errorf("hey's CSV: %w", err)
		}
		h.All++
		if line[6] == "200" {
			h.Good++
			times = append(times, time.Duration(seconds*float64(time.Second)))
		}
	}
	if len(times) == 0 {
		return h, nil
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[int(q*float64(len(times)-1))] }
	h.PerSecond, h.P50, h.P95, h.P99 = float64(h.Good)/took.Seconds(), at(.5), at(.95), at(.99)
	return h, nil
}
