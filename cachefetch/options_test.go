package cachefetch

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOptionsErrorsNameFieldAndValue(t *testing.T) {
	for _, tt := range []struct {
		field, value string
		o            Options[string]
	}{
		{"MaxBytes", "-1", Options[string]{MaxBytes: -1}},
		{"MaxBytes", "1023", Options[string]{MaxBytes: 1023}},
		{"Jitter", "1.5", Options[string]{Jitter: 1.5}},
		{"Jitter", "-0.1", Options[string]{Jitter: -0.1}},
		{"Jitter", "NaN", Options[string]{Jitter: math.NaN()}},
		{"TTL", "-1s", Options[string]{TTL: -time.Second}},
		{"StaleWhileRevalidate", "-1s", Options[string]{StaleWhileRevalidate: -time.Second}},
		{"StaleIfError", "-1s", Options[string]{StaleIfError: -time.Second}},
		{"FailureTTL", "-1s", Options[string]{FailureTTL: -time.Second}},
		{"BatchSize", "-1", Options[string]{BatchSize: -1}},
		{"NegativeTTL", "-1s", Options[string]{NegativeTTL: -time.Second}},
		{"SoftTimeout", "-1s", Options[string]{SoftTimeout: -time.Second}},
		{"SoftTimeout", "1s", Options[string]{SoftTimeout: time.Second}},
		{"SoftTimeout", "1m0s", Options[string]{SoftTimeout: time.Minute, StaleIfError: time.Hour}},
		{"LoadTimeout", "-1s", Options[string]{LoadTimeout: -time.Second}},
		{"WaitTimeout", "-1s", Options[string]{WaitTimeout: -time.Second}},
		{"RefreshWorkers", "-1", Options[string]{RefreshWorkers: -1}},
		{"RefreshBackoff", "-1s", Options[string]{RefreshBackoff: -time.Second}},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			if tt.field != "MaxBytes" {
				tt.o.MaxBytes = 1 << 20
			}
			_, err := New(tt.o)
			if told := tt.o.Validate(); fmt.Sprint(told) != fmt.Sprint(err) {
				t.Errorf("Validate tells %v", told)
			}
			if want := fmt.Sprintf("cachefetch: Options.%s: %s: ", tt.field, tt.value); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q...", err, want)
			}
		})
	}
	if _, err := New(Options[string]{MaxBytes: 1, TTL: -1, Jitter: 2}); strings.Count(fmt.Sprint(err), "Options.") != 3 {
		t.Errorf("three bad fields, got %v", err)
	}
}

func TestOptionsZeroValueWorks(t *testing.T) {
	c := newTest(t, Options[string]{})
	o := Options[string]{}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if c, err := New(o); err != nil {
		t.Error(err)
	} else if got := c.Stats().MaxBytes; got != 64<<20 {
		t.Errorf("MaxBytes %d, want 64 MiB", got)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
	set(t, c, "key", "v")
	wantGet(t, c, "key", "v")
}

// Who reads options from elsewhere finds the field, and what it is compared
// with, without looking into a text.
func TestOptionErrorIsAValue(t *testing.T) {
	var e *OptionError
	err := Options[string]{StaleIfError: 1, SoftTimeout: time.Minute}.Validate()
	if !errors.As(err, &e) || e.Field != "SoftTimeout" || e.Value != time.Minute || !slices.Equal(e.Refers, []string{"LoadTimeout"}) {
		t.Errorf("%+v", e)
	}
}

// FuzzCacheModel compares with a plain map. Nothing has to make room.
func FuzzCacheModel(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, ops []byte) {
		bubble(t, Options[string]{TTL: 10 * time.Second, MaxBytes: 8 << 20}, func(t *testing.T, c *Cache[string]) {
			type known struct {
				v     string
				until time.Time
			}
			model := map[string]known{}
			for i, op := range ops[:min(len(ops), 200)] {
				key, v := fmt.Sprint(op>>3), fmt.Sprint("v", i)
				k := model[key]
				if !time.Now().Before(k.until) {
					k = known{}
				}
				switch op & 7 {
				case 0, 1:
					set(t, c, key, v)
					model[key] = known{v, time.Now().Add(10 * time.Second)}
				case 2:
					if err := c.Delete(t.Context(), key); err != nil {
						t.Fatal(err)
					}
					delete(model, key)
				case 3:
					time.Sleep(time.Duration(op>>3) * time.Second)
				case 4:
					var l loader
					want := k.v
					if want == "" {
						want, model[key] = v, known{v, time.Now().Add(10 * time.Second)}
					}
					wantFetch(t, c, key, l.returns(v, nil, 0), want, nil)
				default:
					wantGet(t, c, key, k.v)
				}
			}
		})
	})
}

func TestLimitMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	const budget = 1 << 30
	c, err := New(Options[string]{MaxBytes: budget, LimitMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := debug.SetMemoryLimit(-1); got < budget*5/4 || got > 2*budget {
		t.Errorf("a limit of %d MiB", got>>20)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("after Close, a limit of %d MiB", got>>20)
	}
}
