// Package backendtest proves implementations of [backend.Backend], and
// helps to test programs that use one: [Memory] is a backend in memory, for as
// many caches as a test needs, and [Faulty] makes any backend misbehave.
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.Backend {
//			return redisl2.New(...) // empty, or with keys of its own
//		})
//	}
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// patience is how long one call may take, and one message. It is long, so
// that a test fails only if something never comes.
const patience = 10 * time.Second

// Run tests the obligations of a [backend.Backend], and those of
// [backend.Many], [backend.Versions], [backend.Invalidations] and [backend.Lease] if
// the backends that open returns implement them. open is called for each
// subtest; what it returns must be empty, closed by t.Cleanup, and share
// nothing with the others. Tests of lifetimes take some seconds, outside of a
// synctest bubble.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, tt := range []struct {
		name  string
		needs func(b backend.Backend) bool // the capability that is tested, nil for none
		test  func(s *suite)
	}{
		{"Missing", nil, (*suite).missing},
		{"RoundTrip", nil, (*suite).roundTrip},
		{"Keys", nil, (*suite).keys},
		{"Slices", nil, (*suite).slices},
		{"TTL", nil, (*suite).ttl},
		{"Context", nil, (*suite).context},
		{"Concurrent", nil, (*suite).concurrent},
		{"Many", has[backend.Many], (*suite).many},
		{"Versions", has[backend.Versions], (*suite).newestWins},
		{"VersionsAfterDelete", has[backend.Versions], (*suite).lateWrites},
		{"VersionsConcurrent", has[backend.Versions], (*suite).versionsConcurrent},
		{"Invalidations", has[backend.Invalidations], (*suite).messages},
		{"InvalidationsEnd", has[backend.Invalidations], (*suite).messagesEnd},
		{"Lease", has[backend.Lease], (*suite).lease},
		{"LeaseTTL", has[backend.Lease], (*suite).leaseTTL},
		{"LeaseConcurrent", has[backend.Lease], (*suite).leaseConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t)
			if tt.needs != nil && !tt.needs(b) {
				t.Log("the backend does not have this capability, which is optional")
				return
			}
			tt.test(&suite{t, b})
		})
	}
}

// has reports whether b has the capability C.
func has[C any](b backend.Backend) bool {
	_, ok := b.(C)
	return ok
}

// A suite is one subtest with its backend.
type suite struct {
	*testing.T
	b backend.Backend
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) set(key string, value []byte, ttl time.Duration) {
	s.Helper()
	if err := s.b.Set(s.ctx(), key, value, ttl); err != nil {
		s.Fatalf("Set(%.40q): %v", key, err)
	}
}

func (s *suite) delete(key string) {
	s.Helper()
	if err := s.b.Delete(s.ctx(), key); err != nil {
		s.Fatalf("Delete(%.40q): %v", key, err)
	}
}

func (s *suite) want(key string, want []byte) {
	s.Helper()
	got, err := s.b.Get(s.ctx(), key)
	if err != nil || !bytes.Equal(got, want) {
		s.Errorf("Get(%.40q) = %.40q, %v, want %.40q", key, got, err, want)
	}
}

func (s *suite) wantMiss(key string) {
	s.Helper()
	if got, err := s.b.Get(s.ctx(), key); !errors.Is(err, backend.ErrMiss) {
		s.Errorf("Get(%.40q) = %.40q, %v, want ErrMiss", key, got, err)
	}
}

func (s *suite) missing() {
	s.wantMiss("a")
	s.delete("a") // no error
	s.set("a", []byte("Alice"), time.Minute)
	s.wantMiss("b")
	s.delete("a")
	s.wantMiss("a")
}

func (s *suite) roundTrip() {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, value := range [][]byte{
		{}, {0}, all, []byte("\r\n$-1\r\n"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16),
	} {
		s.set("a", value, time.Minute) // in place of the one before
		s.want("a", value)
	}
	s.set("nil", nil, time.Minute)
	s.want("nil", nil)
}

// keys stores a value under each of many nasty keys and looks whether each has
// its own.
func (s *suite) keys() {
	keys := []string{
		"", " ", "a", "A", "a ", " a", "a\x00", "\x00", "a\n", "a b", "a/b", "a//b", "a/../b", "a:b", "a%2Fb",
		"{a}", "*", "a*", "?", "ä", "a\u0308", "\xff\xfe", strings.Repeat("k", 4<<10), strings.Repeat("k", 4<<10) + "2",
	}
	for i, key := range keys {
		s.set(key, fmt.Appendf(nil, "value %d", i), time.Minute)
	}
	for i, key := range keys {
		s.want(key, fmt.Appendf(nil, "value %d", i))
	}
	for i, key := range keys {
		s.delete(key)
		s.wantMiss(key)
		if i+1 < len(keys) {
			s.want(keys[i+1], fmt.Appendf(nil, "value %d", i+1))
		}
	}
}

// slices looks whether the backend keeps or gives out memory that is shared.
func (s *suite) slices() {
	value := append(make([]byte, 0, 100), "Alice"...)
	s.set("a", value, time.Minute)
	if string(value[:cap(value)][:7]) != "Alice\x00\x00" {
		s.Errorf("Set has written to its argument: %q", value[:cap(value)])
	}
	copy(value, "XXXXX")
	s.want("a", []byte("Alice"))
	got, err := s.b.Get(s.ctx(), "a")
	if err != nil {
		s.Fatal(err)
	}
	other, err := s.b.Get(s.ctx(), "a")
	if err != nil {
		s.Fatal(err)
	}
	clear(got)
	_ = append(got, "more"...)
	if string(other) != "Alice" {
		s.Errorf("two Gets share memory: one reads %q after the other was changed", other)
	}
	s.want("a", []byte("Alice"))
}

func (s *suite) ttl() {
	const short = 600 * time.Millisecond
	s.set("none", []byte("v"), time.Nanosecond)
	s.set("odd", []byte("v"), time.Hour+time.Nanosecond)
	s.set("long", []byte("v"), 365*24*time.Hour)
	s.set("shortened", []byte("v"), time.Hour)
	s.set("lengthened", []byte("v"), short)
	// How long a call takes is not known, so a value may be gone early by
	// that much. It is asked for long before, and long after.
	start := time.Now()
	s.set("short", []byte("v"), short)
	s.set("shortened", []byte("v"), short)
	s.set("lengthened", []byte("v"), time.Hour)
	for _, key := range []string{"short", "shortened"} {
		_, err := s.b.Get(s.ctx(), key)
		if time.Since(start) < short && err != nil {
			s.Errorf("Get(%q) before its time is over: %v", key, err)
		}
	}
	time.Sleep(short + time.Second + 100*time.Millisecond) // may be rounded up to a second more
	for _, key := range []string{"none", "short", "shortened"} {
		s.wantMiss(key)
	}
	for _, key := range []string{"odd", "long", "lengthened"} {
		s.want(key, []byte("v"))
	}
}

// context looks whether a call returns soon when its context has ended. What
// it has done by then is left open.
func (s *suite) context() {
	s.set("a", []byte("Alice"), time.Minute)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.b.Get(ctx, "a")
		s.b.Set(ctx, "b", []byte("Bob"), time.Minute)
		s.b.Delete(ctx, "c")
	}()
	s.wantSoon(ended, "calls with an ended context")
	if got, err := s.b.Get(ctx, "a"); err == nil && string(got) != "Alice" {
		s.Errorf("Get with an ended context = %q without an error", got)
	} else if errors.Is(err, backend.ErrMiss) {
		s.Errorf("Get with an ended context says that there is no value: %v", err)
	}
	if got, err := s.b.Get(s.ctx(), "b"); err == nil && string(got) != "Bob" {
		s.Errorf("a Set with an ended context has stored %q", got)
	}
	s.want("a", []byte("Alice"))
}

func (s *suite) wantSoon(ended <-chan struct{}, what string) {
	s.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		s.Fatalf("%s: no end after %v", what, patience)
	}
}

// concurrent makes many calls at once. Each value names its key and repeats
// one letter, so that a mix of two can be seen.
func (s *suite) concurrent() {
	ctx := s.ctx()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprint("key", (g+i)%4)
				value := []byte(key + strings.Repeat(string(rune('a'+g)), 100+i))
				var err error
				switch i % 4 {
				case 0:
					err = s.b.Set(ctx, key, value, time.Minute)
				case 3:
					if g == 0 {
						err = s.b.Delete(ctx, key)
						break
					}
					fallthrough
				default:
					var got []byte
					if got, err = s.b.Get(ctx, key); err == nil && !isWhole(key, got) {
						s.Errorf("Get(%q) = %q, which nobody has set", key, got)
					}
				}
				if err != nil && !errors.Is(err, backend.ErrMiss) {
					s.Errorf("key %q: %v", key, err)
				}
			}
		})
	}
	wg.Wait()
}

func isWhole(key string, value []byte) bool {
	rest, ok := bytes.CutPrefix(value, []byte(key))
	return ok && len(rest) > 0 && len(bytes.Trim(rest, string(rest[:1]))) == 0
}
