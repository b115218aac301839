package middleware

import (
	"errors"
	"math"
	"runtime/debug"
	"strings"
	"testing"
)

func TestOptionsErrors(t *testing.T) {
	for _, row := range []struct {
		name    string
		options Options
		want    []string // in the error
	}{
		{"too small", Options{MaxBytes: 1}, []string{"middleware: Options.MaxBytes: 1: ", "at least 65536 bytes"}},
		{"negative", Options{MaxBytes: -1}, []string{"Options.MaxBytes: -1: "}},
		{"one byte short", Options{MaxBytes: minBytes - 1}, []string{"Options.MaxBytes: 65535: "}},
		{"workers", Options{MaxBytes: minBytes, RefreshWorkers: -3}, []string{"middleware: Options.RefreshWorkers: -3: "}},
		{"every error is told", Options{MaxBytes: 2, RefreshWorkers: -3}, []string{"Options.MaxBytes: 2: ", "Options.RefreshWorkers: -3: "}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := New(row.options)
			if err == nil || c != nil {
				t.Fatalf("got %v, %v", c, err)
			}
			var e *OptionError
			if told := row.options.Validate(); told == nil || told.Error() != err.Error() || !errors.As(told, &e) {
				t.Errorf("Validate tells %v", told)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not contain %q", err, want)
				}
			}
		})
	}
}

func TestOptionsZeroValueWorks(t *testing.T) {
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Stats().MaxBytes; got != 64<<20 {
		t.Errorf("MaxBytes %d, want 64 MiB", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A name is one cache's: metrics of two could not be told apart.
func TestOptionsNameTaken(t *testing.T) {
	first := newCache(t, Options{Name: "one"})
	if c, err := New(Options{MaxBytes: minBytes, Name: "one"}); err == nil || c != nil || !strings.Contains(err.Error(), `Options.Name: "one": `) {
		t.Errorf("got %v, %v", c, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	newCache(t, Options{Name: "one"})
}

func metricsOf(c *Cache) string {
	var b strings.Builder
	c.WriteMetrics(&b)
	return b.String()
}

func TestOptionsDefaults(t *testing.T) {
	c := newCache(t, Options{MaxBytes: minBytes})
	if c.opts.RefreshWorkers != 16 || !strings.Contains(metricsOf(c), `cache="default"`) || c.opts.Logger == nil {
		t.Errorf("%+v", c.opts)
	}
	if got := c.Stats().MaxBytes; got != minBytes {
		t.Errorf("MaxBytes %d", got)
	}
}

func TestOptionsClosed(t *testing.T) {
	c := newCache(t, Options{})
	var calls int
	h := c.Handler(Policy{})(keysEcho(&calls))
	get(h, "/")
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if w := get(h, "/"); w.Code != 200 || keysHit(w) {
			t.Errorf("%d %q", w.Code, w.Header())
		}
	}
	if err := c.PurgeURL(t.Context(), "http://example.com/", Hard); err != ErrClosed {
		t.Errorf("Purge: %v", err)
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

func TestOptionsLimitMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	const budget = 1 << 30
	c := newCache(t, Options{MaxBytes: budget, LimitMemory: true})
	if got := debug.SetMemoryLimit(-1); got < budget*5/4 || got > 2*budget {
		t.Errorf("a limit of %d MiB", got>>20)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("after Close, a limit of %d MiB", got>>20)
	}
	newCache(t, Options{MaxBytes: budget})
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("where none was asked for, a limit of %d MiB", got>>20)
	}
}
