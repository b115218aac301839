package server

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

var errSize = errors.New("not a size such as 256MiB, 1.5GB or 1048576")

// ParseSize reads a number of bytes: plain, or with one of the units B, KB,
// MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024). A number
// with a unit may have a fraction.
func ParseSize(s string) (int64, error) {
	number, unit := s, int64(0)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = strings.TrimRight(n, " "), u.bytes
			break
		}
	}
	// ParseFloat also takes signs, exponents, hexadecimals and "inf".
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, errSize
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		unit = max(unit, 1)
		if n > math.MaxInt64/unit {
			return 0, errors.New("too large")
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || unit <= 1 && strings.Contains(number, ".") {
		return 0, errSize
	}
	if f *= float64(max(unit, 1)); f >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	return int64(f), nil
}
