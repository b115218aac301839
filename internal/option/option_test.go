package option

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestErrorIsToldInTheWordsOfWhoReadsIt(t *testing.T) {
	l := Of("pkg: Options")
	l.Add("SoftTimeout", time.Minute, "must not exceed {LoadTimeout}, 30s, of {LoadTimeout} {} {Other}", "LoadTimeout")
	var e *Error
	if !errors.As(l.Err(), &e) {
		t.Fatal(l.Err())
	}
	if want := "pkg: Options.SoftTimeout: 1m0s: must not exceed LoadTimeout, 30s, of LoadTimeout {} {Other}"; e.Error() != want {
		t.Errorf("%q, want %q", e.Error(), want)
	}
	if got := e.Because(strings.ToLower); !strings.HasPrefix(got, "must not exceed loadtimeout, 30s") {
		t.Errorf("%q", got)
	}
}

func TestGiven(t *testing.T) {
	for want, v := range map[string]any{"5": 5, `"5"`: "5", "set": Set, "<nil>": nil, "[a b]": []string{"a", "b"}} {
		if got := (&Error{Value: v}).Given(); got != want {
			t.Errorf("%#v: %q, want %q", v, got, want)
		}
	}
}

func TestDefault(t *testing.T) {
	l := Of("o")
	zero, negative, given := 0, -1, 7
	Default(l, "Zero", &zero, 5)
	Default(l, "Negative", &negative, 5)
	Default(l, "Given", &given, 5)
	if zero != 5 || given != 7 || l.Err() == nil || l.Err().Error() != "o.Negative: -1: must not be negative" {
		t.Errorf("%d, %d, %v", zero, given, l.Err())
	}
}
