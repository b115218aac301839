package guard

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

func explode() { panic(io.EOF) }

func TestDoReturnsNilForWhatReturns(t *testing.T) {
	ran := false
	if c := Do(func() { ran = true }); c != nil || !ran {
		t.Errorf("got %v, ran %v", c, ran)
	}
}

func TestDoMakesAPanicAValue(t *testing.T) {
	c := Do(explode)
	if c == nil || c.Value != io.EOF || !errors.Is(c, io.EOF) || c.Error() != "panicked: EOF" {
		t.Fatalf("got %+v", c)
	}
	if !strings.Contains(string(c.Stack), "guard.explode") {
		t.Errorf("the stack does not say who panicked:\n%s", c.Stack)
	}
}

func TestDoSurvivesGoexit(t *testing.T) {
	c := Do(runtime.Goexit)
	if c == nil || c.Value != nil || c.Error() != "called runtime.Goexit" {
		t.Errorf("got %+v", c)
	}
}

func TestACrashThatIsHandedOnKeepsItsStack(t *testing.T) {
	first := Do(explode)
	if c := Do(func() { panic(first) }); c != first {
		t.Errorf("got %+v", c)
	}
	if c := Do(first.Raise); c.Value != io.EOF {
		t.Errorf("raised %v", c.Value)
	}
	if c := Do(Do(runtime.Goexit).Raise); c == nil || c.Value != nil {
		t.Errorf("raised %+v", c)
	}
}

func TestCallTellsTheEndOnEveryWay(t *testing.T) {
	for name, f := range map[string]func(){"return": func() {}, "panic": explode, "Goexit": runtime.Goexit} {
		told := 0
		Do(func() { Call(f, func(*Crash) { told++ }) })
		if told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
	}
}
