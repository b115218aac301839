package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const upstreamURL = "http://upstream.test/"

// slow answers "ok" after a second.
func slow(w http.ResponseWriter, r *http.Request) {
	wait(r, time.Second)
	io.WriteString(w, "ok")
}

// What waits has a place in a bounded queue, and a deadline of its own.
func TestQueueIsBoundedInLengthAndTime(t *testing.T) {
	o := Options{MaxConnsPerHost: 2, MaxInFlight: 2, MaxQueue: 3, QueueTimeout: 1500 * time.Millisecond}
	withServer(t, o, slow, func(t *testing.T, tr *Transport) {
		begin := time.Now()
		type answer struct {
			at  time.Duration
			err error
		}
		answers := make(chan answer, 10)
		for range 7 {
			go func() {
				_, err := get(context.Background(), tr, upstreamURL)
				answers <- answer{time.Since(begin), err}
			}()
			synctest.Wait() // so that they come in order
		}
		if s := tr.Stats(); s.InFlight != 2 || s.Queued != 3 {
			t.Errorf("%d in flight, %d queued, want 2 and 3", s.InFlight, s.Queued)
		}
		// Two find the queue full; two are served at once, two a second
		// later, and one has waited long enough by then.
		for i, want := range []struct {
			at      time.Duration
			refused string
		}{
			{0, RefusedQueueFull}, {0, RefusedQueueFull}, {time.Second, ""}, {time.Second, ""},
			{1500 * time.Millisecond, RefusedQueueTimeout}, {2 * time.Second, ""}, {2 * time.Second, ""},
		} {
			got := <-answers
			if got.at != want.at {
				t.Errorf("answer %d after %v, want %v", i, got.at, want.at)
			}
			if want.refused != "" {
				wantRefused(t, got.err, want.refused)
			} else if got.err != nil {
				t.Errorf("answer %d: %v", i, got.err)
			}
		}
		if s := tr.Stats(); s.InFlight != 0 || s.Queued != 0 || s.Refused != 3 || s.Failed != 0 || s.Requests != 7 {
			t.Errorf("at the end %+v", s)
		}
	})
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	withServer(t, Options{MaxInFlight: 1, QueueTimeout: 20 * time.Second, MaxQueue: 10}, slow, func(t *testing.T, tr *Transport) {
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if _, err := get(context.Background(), tr, upstreamURL); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			})
			synctest.Wait()
		}
		all.Wait()
		if got := fmt.Sprint(order); got != "[0 1 2 3 4 5 6 7]" {
			t.Errorf("served in the order %s", got)
		}
	})
}

// A caller that leaves frees its place in the queue at once.
func TestQueueRespectsTheCallersContext(t *testing.T) {
	withServer(t, Options{MaxInFlight: 1, MaxQueue: 1, QueueTimeout: 5 * time.Second}, slow, func(t *testing.T, tr *Transport) {
		go get(context.Background(), tr, upstreamURL)
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan error)
		go func() {
			_, err := get(ctx, tr, upstreamURL)
			left <- err
		}()
		synctest.Wait()
		_, err := get(context.Background(), tr, upstreamURL)
		wantRefused(t, err, RefusedQueueFull)
		cancel()
		if err := <-left; err != context.Canceled {
			t.Errorf("the one who left got %v", err)
		}
		if v, err := get(context.Background(), tr, upstreamURL); v != "ok" || err != nil {
			t.Errorf("in its place: %q, %v", v, err)
		}
	})
}

// Hosts do not take each other's places.
func TestLimitIsPerHost(t *testing.T) {
	withServer(t, Options{MaxInFlight: 1, MaxQueue: -1}, slow, func(t *testing.T, tr *Transport) {
		errs := make(chan error)
		for _, host := range []string{"http://a.test/", "http://b.test/", "http://A.test:80/x"} {
			go func() {
				_, err := get(context.Background(), tr, host)
				errs <- err
			}()
			synctest.Wait()
		}
		wantRefused(t, <-errs, RefusedQueueFull) // A.test:80 is a.test
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := len(tr.hosts.byName); n != 0 {
			t.Errorf("%d hosts are remembered after the last request", n)
		}
	})
}

// A place is held until the body has been read or closed, not only until the
// header.
func TestPlaceIsHeldForTheBody(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first")
		http.NewResponseController(w).Flush()
		wait(r, time.Second)
		io.WriteString(w, "last")
	}
	withServer(t, Options{MaxInFlight: 1, MaxQueue: -1}, h, func(t *testing.T, tr *Transport) {
		r, _ := http.NewRequest("GET", upstreamURL, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = get(context.Background(), tr, upstreamURL)
		wantRefused(t, err, RefusedQueueFull)
		if b, err := io.ReadAll(resp.Body); string(b) != "firstlast" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
		if _, err := get(context.Background(), tr, upstreamURL); err != nil { // read, though not yet closed
			t.Error(err)
		}
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("reading on: %v", err)
		}
	})
}

// Requests with a place wait for a connection no longer than ConnTimeout.
func TestConnTimeout(t *testing.T) {
	o := Options{MaxConnsPerHost: 1, MaxInFlight: 2, ConnTimeout: 400 * time.Millisecond}
	withServer(t, o, slow, func(t *testing.T, tr *Transport) {
		go get(context.Background(), tr, upstreamURL)
		synctest.Wait()
		begin := time.Now()
		_, err := get(context.Background(), tr, upstreamURL)
		wantRefused(t, err, RefusedConnTimeout)
		if took := time.Since(begin); took != 400*time.Millisecond {
			t.Errorf("after %v", took)
		}
	})
}

// For a minute at four times what the upstream can carry, everyone is answered
// in bounded time, with a bounded number of requests upstream, goroutines and
// bytes.
func TestOverloadForAMinuteIsFlat(t *testing.T) {
	const conns, inFlight, queue = 4, 8, 8
	const offered = 4 * conns * 10 // a second; a connection carries ten
	var now, most atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		wait(r, 100*time.Millisecond)
	}
	o := Options{MaxConnsPerHost: conns, MaxInFlight: inFlight, MaxQueue: queue, QueueTimeout: 250 * time.Millisecond}
	withServer(t, o, h, func(t *testing.T, tr *Transport) {
		var good, refused atomic.Int64
		idle := goroutines()
		var before, after runtime.MemStats
		for i := range 60 * offered {
			go func() {
				begin := time.Now()
				_, err := get(context.Background(), tr, upstreamURL)
				switch {
				case err == nil:
					good.Add(1)
				case errors.Is(err, ErrRefused):
					refused.Add(1)
				default:
					t.Error(err)
				}
				if took := time.Since(begin); took > 550*time.Millisecond {
					t.Errorf("answered after %v", took) // queue 250 ms, connection 200 ms, upstream 100 ms
				}
			}()
			time.Sleep(time.Second / offered)
			synctest.Wait() // for those who were woken at the same time
			// One for each client, and both ends of the connections.
			if n := goroutines() - idle; n > inFlight+queue+8*conns {
				t.Fatalf("%d goroutines", n)
			}
			if i == 15*offered {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 512<<10 {
			t.Errorf("the heap grew by %d bytes in 45 seconds", grown)
		}
		time.Sleep(time.Second)
		if n := most.Load(); n > conns {
			t.Errorf("%d at once upstream", n)
		}
		if g, r := good.Load(), refused.Load(); g < 60*conns*10*9/10 || g+r != 60*offered {
			t.Errorf("%d good, %d refused, of %d", g, r, 60*offered)
		}
	})
}

// goroutines counts goroutines while the world is stopped, which a profile with
// too little room does. runtime.NumGoroutine adds up lists that change
// meanwhile, and can be off by dozens.
func goroutines() int {
	n, _ := runtime.GoroutineProfile(make([]runtime.StackRecord, 1))
	return n
}
