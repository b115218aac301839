package guard

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

var errTest = errors.New("test")

func fails() { panic(errTest) }

func TestRun(t *testing.T) {
	shared := &Crash{Value: "shared", Stack: []byte("where it was")}
	for _, tt := range []struct {
		name  string
		f     func()
		value any
		stack string // what it names
		error string // "" if f returns
	}{
		{"returns", func() {}, nil, "", ""},
		{"panics", fails, errTest, "guard.fails", "panicked: test"},
		{"exits", runtime.Goexit, nil, "guard.Catch", "ended its goroutine"},
		{"panics with a crash", func() { panic(shared) }, "shared", "where it was", "panicked: shared"},
	} {
		c := Run(tt.f)
		switch {
		case tt.error == "" && c != nil:
			t.Errorf("%s: %v", tt.name, c)
		case tt.error == "":
		case c == nil:
			t.Errorf("%s: told as if it had returned", tt.name)
		case c.Value != tt.value || c.Error() != tt.error || !strings.Contains(string(c.Stack), tt.stack):
			t.Errorf("%s: %v, value %v, stack %s", tt.name, c, c.Value, c.Stack)
		}
	}
}

// A crash that is raised is the same again.
func TestRaise(t *testing.T) {
	for _, f := range []func(){fails, runtime.Goexit} {
		first := Run(f)
		if again := Run(first.Raise); again == nil || again.Value != first.Value {
			t.Errorf("%v was raised as %v", first, again)
		}
	}
}

// The end is told on the goroutine of the call, once.
func TestCatch(t *testing.T) {
	told := 0
	Catch(fails, func(c *Crash) { told++ })
	Catch(func() {}, func(c *Crash) {
		if told++; c != nil {
			t.Errorf("told %v of what has returned", c)
		}
	})
	if told != 2 {
		t.Errorf("told %d times, want 2", told)
	}
}
