// Package proc reads what Linux says of a process.
package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Usage is what a process has used so far.
type Usage struct {
	CPU     time.Duration // user and system, of all its threads
	RSS     int64         // bytes of memory it holds now
	PeakRSS int64         // bytes it held at most, since ResetPeak or its start
}

// Read returns the usage of a process.
func Read(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("proc: %w", err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("proc: %w", err)
	}
	return parse(string(stat), string(status))
}

// ResetPeak makes PeakRSS begin anew.
func ResetPeak(pid int) error {
	// 5 is for the peak alone; see proc(5), clear_refs.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	return nil
}

// tick is a unit of CPU time in /proc. It is 1/100 s for user space on all
// platforms that Go runs on, whatever the kernel's own is.
const tick = time.Second / 100

// parse reads /proc/PID/stat and /proc/PID/status.
func parse(stat, status string) (Usage, error) {
	var u Usage
	// The name, in parentheses, may hold spaces and parentheses itself.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, fmt.Errorf("proc: stat: %q", stat)
	}
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("proc: stat: %w", err)
		}
		u.CPU += time.Duration(n) * tick
	}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &u.RSS
		case "VmHWM":
			into = &u.PeakRSS
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return u, fmt.Errorf("proc: status: %w", err)
		}
		*into = kib << 10
	}
	return u, nil
}
