package cachefetch

import (
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestOptionsErrorsNameFieldAndValue(t *testing.T) {
	for _, tt := range []struct {
		field, value string
		o            Options[string]
	}{
		{"MaxBytes", "0", Options[string]{}},
		{"MaxBytes", "1023", Options[string]{MaxBytes: 1023}},
		{"Jitter", "1.5", Options[string]{Jitter: 1.5}},
		{"Jitter", "-0.1", Options[string]{Jitter: -0.1}},
		{"Jitter", "NaN", Options[string]{Jitter: math.NaN()}},
		{"TTL", "-1s", Options[string]{TTL: -time.Second}},
		{"StaleWhileRevalidate", "-1s", Options[string]{StaleWhileRevalidate: -time.Second}},
		{"StaleIfError", "-1s", Options[string]{StaleIfError: -time.Second}},
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
			if want := fmt.Sprintf("cachefetch: Options.%s: %s: ", tt.field, tt.value); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q...", err, want)
			}
		})
	}
	if _, err := New(Options[string]{TTL: -1, Jitter: 2}); strings.Count(fmt.Sprint(err), "Options.") != 3 {
		t.Errorf("three bad fields, got %v", err)
	}
}

// Aliases at one address are not taken for each other.
func TestEstimateSeesThroughAliases(t *testing.T) {
	type cursor struct {
		First *string
		All   []string
	}
	all := []string{"a", strings.Repeat("x", 1000)}
	if got := estimate(cursor{&all[0], all}); got < 1000 {
		t.Errorf("%d bytes, of which one string has 1000", got)
	}
	if got := estimate([][]string{all[:1], all}); got < 1000 {
		t.Errorf("%d bytes behind a prefix, want 1000", got)
	}
	type node struct{ Next *node }
	ring := &node{}
	ring.Next = ring
	if got := estimate(ring); got > 100 {
		t.Errorf("a ring of one node: %d bytes", got)
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add("text", []byte{1, 2}, 3)
	f.Fuzz(func(t *testing.T, s string, b []byte, depth int) {
		var v any = s
		for i := range max(0, min(depth, 50)) {
			switch i % 4 {
			case 0:
				v = map[string]any{s: v, "": nil}
			case 1:
				v = []any{v, b, nil}
			case 2:
				inner := v
				v = &inner
			case 3:
				v = struct{ a any }{v}
			}
		}
		if got := estimate(v); got < int64(len(s)) {
			t.Errorf("%d bytes, a string within has %d", got, len(s))
		}
	})
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
