package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// many reads several keys at once, of which some have no value or an empty one.
func (s *suite) many() {
	m := s.b.(backend.Many)
	values := map[string][]byte{"empty": {}}
	keys := []string{"missing", "empty", "deleted"}
	s.set("empty", nil, time.Minute)
	s.set("deleted", []byte("v"), time.Minute)
	s.delete("deleted")
	for i := len(keys); i < 256; i++ {
		key := fmt.Sprintf("key %d\x00\xff", i)
		keys = append(keys, key)
		values[key] = fmt.Appendf(nil, "value %d", i)
		s.set(key, values[key], time.Minute)
	}
	for _, n := range []int{1, 2, len(keys)} {
		got, err := m.GetMany(s.ctx(), keys[len(keys)-n:])
		if err != nil {
			s.Fatalf("GetMany of %d keys: %v", n, err)
		}
		for _, key := range keys[len(keys)-n:] {
			value, ok := got[key]
			if want, there := values[key]; ok != there || !bytes.Equal(value, want) {
				s.Errorf("GetMany of %d keys: %q has %q, %v, want %q, %v", n, key, value, ok, want, there)
			}
		}
		if len(got) > n {
			s.Errorf("GetMany of %d keys: %d values", n, len(got))
		}
		for _, value := range got { // they are the caller's
			clear(value)
		}
	}
	s.want(keys[len(keys)-1], values[keys[len(keys)-1]])
	ended, cancel := context.WithCancel(s.Context())
	cancel()
	if got, err := m.GetMany(ended, keys); err == nil && len(got) < len(values) {
		s.Errorf("GetMany with an ended context says that %d of %d keys have no value", len(keys)-len(got), len(keys))
	}
}

func (s *suite) versions() backend.Versions { return s.b.(backend.Versions) }

func (s *suite) setVersion(v backend.Versions, key, value string, version int64) {
	s.Helper()
	if err := v.SetVersion(s.ctx(), key, []byte(value), time.Minute, version); err != nil {
		s.Fatalf("SetVersion(%q, %q, %d): %v", key, value, version, err)
	}
}

func (s *suite) deleteVersion(v backend.Versions, key string, version int64) {
	s.Helper()
	if err := v.DeleteVersion(s.ctx(), key, version); err != nil {
		s.Fatalf("DeleteVersion(%q, %d): %v", key, version, err)
	}
}

func (s *suite) newestWins() {
	v := s.versions()
	// As they are in use: around 1.8e18, too much for a float64 to tell apart.
	now := time.Now().UnixNano()
	s.setVersion(v, "a", "second", now+1)
	s.setVersion(v, "a", "first", now)
	s.want("a", []byte("second"))
	s.setVersion(v, "a", "third", now+2)
	s.want("a", []byte("third"))
	s.setVersion(v, "a", "third again", now+2)
	s.want("a", []byte("third again"))
	s.setVersion(v, "b", "old", 9)
	s.setVersion(v, "b", "new", 10) // not by the order of digits
	s.want("b", []byte("new"))
	s.setVersion(v, "b", "", 11)
	s.want("b", nil)
}

func (s *suite) lateWrites() {
	v := s.versions()
	now := time.Now().UnixNano()
	s.setVersion(v, "a", "old", now)
	s.deleteVersion(v, "a", now+1)
	s.wantMiss("a")
	s.setVersion(v, "a", "late", now)
	s.wantMiss("a")
	s.setVersion(v, "a", "new", now+2)
	s.want("a", []byte("new"))
	s.deleteVersion(v, "a", now+1) // late itself: removes all the same
	s.wantMiss("a")
	s.setVersion(v, "a", "older than the removed", now+1)
	s.wantMiss("a")
	s.setVersion(v, "a", "newest", now+3)
	s.want("a", []byte("newest"))
	s.deleteVersion(v, "nothing there", now)
	s.setVersion(v, "nothing there", "late", now-1)
	s.wantMiss("nothing there")
	s.setVersion(v, "nothing there", "new", now+1)
	s.want("nothing there", []byte("new"))
}

func (s *suite) versionsConcurrent() {
	v, ctx := s.versions(), s.ctx()
	var wg sync.WaitGroup
	for g := range int64(8) {
		wg.Go(func() {
			for i := range int64(25) {
				version := 1 + i*8 + g
				if err := v.SetVersion(ctx, "a", fmt.Append(nil, version), time.Minute, version); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.want("a", []byte("200"))
}

func (s *suite) invalidations() backend.Invalidations { return s.b.(backend.Invalidations) }

// A subscription collects what one Subscribe receives.
type subscription struct {
	connected chan struct{}
	messages  chan []byte
	cancel    context.CancelFunc
	ended     chan struct{}
	calls     atomic.Int32 // of receive, under way
}

func (s *suite) subscribe(v backend.Invalidations) *subscription {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	sub := &subscription{
		connected: make(chan struct{}, 1),
		messages:  make(chan []byte, 1000),
		cancel:    cancel,
		ended:     make(chan struct{}),
	}
	go func() {
		defer close(sub.ended)
		v.Subscribe(ctx, func(message []byte) {
			if sub.calls.Add(1) > 1 {
				s.Error("two calls of receive at once")
			}
			sub.messages <- message
			sub.calls.Add(-1)
		}, func() {
			select {
			case sub.connected <- struct{}{}:
			default:
			}
		})
	}()
	s.Cleanup(func() {
		cancel()
		select {
		case <-sub.ended:
		case <-time.After(patience):
			s.Errorf("Subscribe goes on %v after its context has ended", patience)
		}
	})
	s.wantSoon(sub.connected, "Subscribe: connected")
	return sub
}

// next returns the next message.
func (s *suite) next(sub *subscription) string {
	s.Helper()
	select {
	case m := <-sub.messages:
		return string(m)
	case <-time.After(patience):
		s.Fatalf("no message after %v", patience)
		return ""
	}
}

func (s *suite) messages() {
	v := s.invalidations()
	first, second := s.subscribe(v), s.subscribe(v)
	nasty := string([]byte{0, 0xff, '\r', '\n', 0x80})
	sent := []string{"one", nasty, strings.Repeat("m", 4<<10), "last"}
	for _, m := range sent {
		b := []byte(m)
		if err := v.Publish(s.ctx(), b); err != nil {
			s.Fatalf("Publish(%.40q): %v", m, err)
		}
		clear(b) // Publish has returned
	}
	for _, sub := range []*subscription{first, second} {
		var got []string
		for range sent {
			got = append(got, s.next(sub))
		}
		if !slices.Equal(sorted(got), sorted(sent)) {
			s.Errorf("received %.40q, want %.40q", got, sent)
		}
	}
	first.cancel()
	s.wantSoon(first.ended, "Subscribe after its context has ended")
	if err := v.Publish(s.ctx(), []byte("after")); err != nil {
		s.Fatal(err)
	}
	if got := s.next(second); got != "after" {
		s.Errorf("after another left: received %q", got)
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// messagesEnd looks whether a subscriber can leave while messages come, and
// whether publishing goes on without any.
func (s *suite) messagesEnd() {
	v, ctx := s.invalidations(), s.ctx()
	sub := s.subscribe(v)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if err := v.Publish(ctx, []byte("m")); err != nil {
					s.Error(err)
				}
			}
		})
	}
	s.next(sub)
	sub.cancel()
	s.wantSoon(sub.ended, "Subscribe after its context has ended")
	wg.Wait()
	ended, cancel := context.WithCancel(s.Context())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.Subscribe(ended, func([]byte) {}, func() {})
	}()
	s.wantSoon(done, "Subscribe with an ended context")
}

func (s *suite) leases() backend.Lease { return s.b.(backend.Lease) }

func (s *suite) acquire(v backend.Lease, key string, ttl time.Duration) string {
	s.Helper()
	token, err := v.Acquire(s.ctx(), key, ttl)
	if err != nil {
		s.Fatalf("Acquire(%q): %v", key, err)
	}
	return token
}

func (s *suite) wantLease(v backend.Lease, key string, want bool) string {
	s.Helper()
	token := s.acquire(v, key, time.Minute)
	if (token != "") != want {
		s.Errorf("Acquire(%q) = %q, want it held: %v", key, token, want)
	}
	return token
}

func (s *suite) release(v backend.Lease, key, token string) {
	s.Helper()
	if err := v.Release(s.ctx(), key, token); err != nil {
		s.Errorf("Release(%q): %v", key, err)
	}
}

func (s *suite) lease() {
	v := s.leases()
	first := s.wantLease(v, "a", true)
	s.wantLease(v, "a", false)
	s.wantLease(v, "b", true)
	s.wantMiss("a") // a lease is no value
	s.set("a", []byte("Alice"), time.Minute)
	s.wantLease(v, "a", false) // nor a value a lease
	s.release(v, "a", "another token")
	s.release(v, "nobody holds it", first)
	s.wantLease(v, "a", false)
	s.release(v, "a", first)
	s.want("a", []byte("Alice"))
	second := s.wantLease(v, "a", true)
	if second == first {
		s.Errorf("the token %q was given twice", first)
	}
	s.release(v, "a", first) // late: it is another's now
	s.wantLease(v, "a", false)
	s.delete("a")
	s.wantLease(v, "a", false)
}

func (s *suite) leaseTTL() {
	v := s.leases()
	const short = 500 * time.Millisecond
	old := s.acquire(v, "a", short)
	if old == "" {
		s.Fatal("Acquire of a lease that nobody holds failed")
	}
	time.Sleep(short + time.Second + 100*time.Millisecond) // may be rounded up, like a value's
	s.wantLease(v, "a", true)
	s.release(v, "a", old)
	s.wantLease(v, "a", false)
}

func (s *suite) leaseConcurrent() {
	v, ctx := s.leases(), s.ctx()
	var held atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			token, err := v.Acquire(ctx, "a", time.Minute)
			if err != nil && !errors.Is(err, context.Canceled) {
				s.Error(err)
			}
			if token != "" {
				held.Add(1)
			}
		})
	}
	wg.Wait()
	if n := held.Load(); n != 1 {
		s.Errorf("%d hold the lease, want one", n)
	}
}
