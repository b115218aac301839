//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A child is a process of this program in one of its roles. It says one line
// when it is ready, answers each line with one, and ends with its standard
// input, so none outlives the program that started it.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// start runs a role and reads what it says when it is ready.
func start(role string, config, ready any) (*child, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	c := &child{cmd: exec.Command(self, role, string(text))}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	c.lines = bufio.NewReader(out)
	if err := c.read(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", role, err), c.stop())
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) read(into any) error {
	line, err := c.lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// ask gets the numbers that a role has.
func (c *child) ask(into any) error {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return err
	}
	return c.read(into)
}

// stop has the process end, and ends it if it does not.
func (c *child) stop() error {
	_ = c.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	return c.cmd.Wait()
}

// answer is the other end, in the role: it says ready, and the numbers as
// often as it is asked.
func answer(ready any, numbers func() any) error {
	out := json.NewEncoder(os.Stdout) // a line for each
	if err := out.Encode(ready); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return nil // the end
		}
		if err := out.Encode(numbers()); err != nil {
			return err
		}
	}
}
