package guard

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

func explode() { panic(io.EOF) }

func TestRunReturnsNilForWhatReturns(t *testing.T) {
	ran := false
	if c := Run(func() { ran = true }); c != nil || !ran {
		t.Errorf("got %v, ran %v", c, ran)
	}
}

func TestRunMakesAPanicAValue(t *testing.T) {
	c := Run(explode)
	if c == nil || c.Value != io.EOF || !errors.Is(c, io.EOF) || c.Error() != "panicked: EOF" {
		t.Fatalf("got %+v", c)
	}
	if !strings.Contains(string(c.Stack), "guard.explode") {
		t.Errorf("the stack does not say who panicked:\n%s", c.Stack)
	}
}

func TestRunSurvivesGoexit(t *testing.T) {
	c := Run(runtime.Goexit)
	if c == nil || c.Value != nil || c.Error() != "called runtime.Goexit" {
		t.Fatalf("got %+v", c)
	}
	if !strings.Contains(string(c.Stack), "guard.Catch") {
		t.Errorf("the stack does not say who ended:\n%s", c.Stack)
	}
}

func TestACrashThatIsHandedOnKeepsItsStack(t *testing.T) {
	first := Run(explode)
	if c := Run(func() { panic(first) }); c != first {
		t.Errorf("got %+v", c)
	}
	if c := Run(first.Raise); c.Value != io.EOF {
		t.Errorf("raised %v", c.Value)
	}
	if c := Run(Run(runtime.Goexit).Raise); c == nil || c.Value != nil {
		t.Errorf("raised %+v", c)
	}
}

func TestCatchTellsTheEndOnEveryWay(t *testing.T) {
	for name, f := range map[string]func(){"return": func() {}, "panic": explode, "Goexit": runtime.Goexit} {
		told := 0
		Run(func() { Catch(f, func(*Crash) { told++ }) })
		if told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
	}
}
