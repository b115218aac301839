//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// A machine is where and of what numbers were taken.
type machine struct {
	When, Commit, Go, CPU, Kernel string
	Cores                         int
	LoadBefore, LoadAfter         string // of one, five and fifteen minutes
}

func thisMachine() machine {
	m := machine{
		When:       time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		Commit:     output("git", "rev-parse", "--short=12", "HEAD"),
		Go:         runtime.Version(),
		Cores:      runtime.NumCPU(),
		Kernel:     output("uname", "-sr"),
		LoadBefore: loadAverage(),
	}
	if output("git", "status", "--porcelain", "--untracked-files=no") != "" {
		m.Commit += " with changes"
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, commit %s, %s", m.CPU, m.Cores, m.Kernel, m.Go, m.Commit, m.When)
}

// output is what a command prints, or nothing if it fails.
func output(name string, args ...string) string {
	text, _ := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(text))
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
