// Package guard runs functions of others so that no way in which they can end
// is lost: a panic and runtime.Goexit become a value.
package guard

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A Crash says how a function ended that did not return: by a panic, or by
// runtime.Goexit. A function that panics with a *Crash ends as that one did,
// with its stack, so that a crash can be handed on from goroutine to goroutine.
type Crash struct {
	Value any    // the panic's value; nil after Goexit
	Stack []byte // of the goroutine when it ended
}

// Error implements error. It leaves out the stack.
func (c *Crash) Error() string {
	if c.Value == nil {
		return "called runtime.Goexit"
	}
	return fmt.Sprintf("panicked: %v", c.Value)
}

// Unwrap returns the panic's value if that is an error.
func (c *Crash) Unwrap() error {
	err, _ := c.Value.(error)
	return err
}

// Raise does to the calling goroutine what the function did to its own.
func (c *Crash) Raise() {
	if c.Value == nil {
		runtime.Goexit()
	}
	panic(c.Value)
}

// Catch calls f, and then ended with the way in which f ended: nil if it
// returned. A panic goes no further. Goexit cannot be stopped: after ended has
// returned, the calling goroutine ends. A caller that has to go on uses [Run].
func Catch(f func(), ended func(*Crash)) {
	returned := false
	defer func() {
		if returned {
			ended(nil)
			return
		}
		value := recover() // nil after Goexit: panic(nil) has a value since Go 1.21
		crash, handed := value.(*Crash)
		if !handed {
			crash = &Crash{Value: value, Stack: debug.Stack()}
		}
		ended(crash)
	}()
	f()
	returned = true
}

// Run calls f on a goroutine of its own and waits until it has ended. It returns
// nil if f returned.
func Run(f func()) (crash *Crash) {
	over := make(chan struct{})
	go Catch(f, func(c *Crash) {
		crash = c
		close(over)
	})
	<-over
	return crash
}
