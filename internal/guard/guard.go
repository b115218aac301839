// Package guard runs the code of others: codecs, backends, loads, observers.
// However such code ends, its end is a value here.
package guard

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A Crash is the end of a function that did not return: by a panic, or by
// runtime.Goexit. A function that panics with a *Crash ends as that one did,
// with its stack: so does work that several share.
type Crash struct {
	Value any    // the panic's value; nil after Goexit
	Stack []byte // of the goroutine that ended
}

// Error says how the function ended, without the stack.
func (c *Crash) Error() string {
	if c.Value == nil {
		return "ended its goroutine"
	}
	return fmt.Sprintf("panicked: %v", c.Value)
}

// Raise does to the calling goroutine what the function did to its own.
func (c *Crash) Raise() {
	if c.Value == nil {
		runtime.Goexit()
	}
	panic(c.Value)
}

// Catch calls f and then end, which is told how f ended: nil if it returned. A
// panic goes no further. Goexit cannot be stopped: it ends the goroutine once
// end has returned.
func Catch(f func(), end func(*Crash)) {
	returned := false
	defer func() {
		if returned {
			end(nil)
			return
		}
		value := recover() // nil after Goexit: panic(nil) has a value since Go 1.21
		crash, handed := value.(*Crash)
		if !handed {
			crash = &Crash{Value: value, Stack: debug.Stack()}
		}
		end(crash)
	}()
	f()
	returned = true
}

// Run calls f on a goroutine of its own, waits for its end, and returns how f
// ended: nil if it returned. The caller goes on in any case.
func Run(f func()) (crash *Crash) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Catch(f, func(c *Crash) { crash = c })
	}()
	<-ended
	return crash
}
