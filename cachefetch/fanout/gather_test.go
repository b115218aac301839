package fanout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

// One budget from the inbound deadline, a limit per call, what is missing
// is marked, and the first hard error cancels.
func TestPartsAreMarkedMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbound, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		g := NewGather(inbound, GatherOptions{Budget: time.Minute, Reserve: 200 * time.Millisecond, PartTimeout: 500 * time.Millisecond})
		user := Require(g, "user", after(300*time.Millisecond, "Alice", nil))
		prefs := Allow(g, "preferences", after(400*time.Millisecond, 7, nil))
		ads := Allow(g, "ads", after(600*time.Millisecond, "ads", nil)) // over its own limit
		news := Allow(g, "news", after(0, "", errUpstream))
		deaf := Allow(g, "deaf", func(context.Context) (string, error) { time.Sleep(2 * time.Second); return "late", nil })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 800*time.Millisecond { // the inbound second, less the reserve
			t.Errorf("took %v", took)
		}
		if user.Value() != "Alice" || user.Err() != nil || prefs.Value() != 7 || prefs.Err() != nil {
			t.Errorf("user %q, %v; preferences %d, %v", user.Value(), user.Err(), prefs.Value(), prefs.Err())
		}
		if news.Err() != errUpstream {
			t.Errorf("news: %v", news.Err())
		}
		for _, p := range []*Part[string]{ads, deaf} {
			if err := p.Err(); !errors.Is(err, ErrMissing) || !errors.Is(err, context.DeadlineExceeded) || p.Value() != "" {
				t.Errorf("%q, %v", p.Value(), err)
			}
		}
		if got := fmt.Sprint(g.Missing()); got != "[ads news deaf]" {
			t.Errorf("missing %s", got)
		}
		time.Sleep(2 * time.Second) // what comes late changes nothing
		synctest.Wait()
		if deaf.Value() != "" || deaf.Err() == nil {
			t.Errorf("later: %q, %v", deaf.Value(), deaf.Err())
		}
	})
}

func TestGatherRequiredPartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{})
		Require(g, "user", after(time.Second, "", errUpstream))
		ended := time.Duration(0)
		Allow(g, "ads", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			ended = time.Since(begin)
			return 0, ctx.Err()
		})
		if err := g.Wait(); err != errUpstream {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if ended != time.Second || time.Since(begin) != time.Second {
			t.Errorf("the other part was told after %v", ended)
		}
	})
}

func TestGatherRequiredPartIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{})
		Require(g, "user", after(time.Hour, "", nil))
		if err := g.Wait(); !errors.Is(err, ErrMissing) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != defaultGatherBudget {
			t.Errorf("took %v", took)
		}
	})
}

func TestGatherClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := NewGather(ctx, GatherOptions{})
		Allow(g, "ads", after(time.Hour, 1, nil))
		time.AfterFunc(time.Second, cancel)
		if err := g.Wait(); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

func TestGatherLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{Limit: 2, Budget: 2500 * time.Millisecond})
		for i := range 6 {
			Allow(g, fmt.Sprint(i), after(time.Second, i, nil))
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 2500*time.Millisecond || len(g.Missing()) != 2 {
			t.Errorf("took %v, missing %v", took, g.Missing())
		}
	})
}

// A part that is given up says who gave it up, and not that it was late.
func TestGivenUpIsNotLate(t *testing.T) {
	slowly := after(time.Second, 1, nil)
	deaf := func(context.Context) (int, error) { time.Sleep(time.Second); return 1, nil }
	own := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, errors.New("of its own") }
	ctxOf := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, context.Cause(ctx) }
	for name, tt := range map[string]struct {
		end  func(g *Gather, leave func())
		says string
	}{
		"a required part fails": {func(g *Gather, _ func()) { Require(g, "user", after(time.Millisecond, 0, errUpstream)) }, `required part "user" failed: ` + errUpstream.Error()},
		"a required part is late itself": {func(g *Gather, _ func()) {
			Require(g, "user", after(time.Millisecond, 0, context.DeadlineExceeded))
		}, `required part "user" failed`},
		"a required part panics": {func(g *Gather, _ func()) { Require(g, "user", boom) }, `required part "user" failed`},
		"the client leaves":      {func(_ *Gather, leave func()) { time.AfterFunc(time.Millisecond, leave) }, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				g := NewGather(ctx, GatherOptions{Budget: time.Minute, PartTimeout: time.Second, Limit: 6})
				var parts []*Part[int]
				for _, f := range []func(context.Context) (int, error){slowly, deaf, own, ctxOf} {
					parts = append(parts, Allow(g, "part", f))
				}
				tt.end(g, leave)
				parts = append(parts, Allow(g, "part", deaf), Allow(g, "part", slowly)) // the last one gets no turn
				if err := g.Wait(); err == nil || errors.Is(err, ErrPartCancelled) {
					t.Errorf("Wait: %v", err)
				}
				parts = append(parts, Allow(g, "part", deaf)) // after it, which is wrong, and harmless
				for i, p := range parts[:6] {
					err := p.Err()
					if !errors.Is(err, ErrPartCancelled) || !errors.Is(err, context.Canceled) || !strings.Contains(fmt.Sprint(err), tt.says) ||
						errors.Is(err, ErrMissing) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errUpstream) {
						t.Errorf("part %d: %v", i, err)
					}
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// With a limit, parts get their turn in the order in which they were begun, and
// none when all is over.
func TestGatherTurns(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			g := NewGather(t.Context(), GatherOptions{Budget: 10 * time.Second, Limit: 1})
			var order []int
			for i := range 32 {
				Allow(g, fmt.Sprint(i), func(ctx context.Context) (int, error) {
					order = append(order, i) // one at a time
					return after(600*time.Millisecond, i, nil)(ctx)
				})
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			for i, n := range order {
				if i != n {
					t.Fatalf("order %v", order)
				}
			}
			if len(order) != 17 {
				t.Errorf("%d were begun, there was time for 17", len(order))
			}
		})
	}
}

// A gather inside of a load has the time of the request that the load was begun
// for, though the load itself has more.
func TestGatherInsideOfALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := cachefetch.New(cachefetch.Options[int]{MaxBytes: 1 << 20, TTL: time.Second, StaleWhileRevalidate: time.Hour, LoadTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var took time.Duration
		load := func(ctx context.Context) (int, error) {
			begin := time.Now()
			g := NewGather(ctx, GatherOptions{Reserve: 100 * time.Millisecond})
			p := Allow(g, "slow", after(5*time.Second, 1, nil))
			err := g.Wait()
			took = time.Since(begin)
			return p.Value(), err
		}
		inbound := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		if v, err := c.Fetch(inbound(), "key", load); v != 0 || err != nil || took != 900*time.Millisecond {
			t.Errorf("%d, %v after %v", v, err, took)
		}
		time.Sleep(2 * time.Second)
		if v, err := c.Fetch(inbound(), "key", load); v != 0 || err != nil { // stale, and refreshed behind
			t.Errorf("%d, %v", v, err)
		}
		time.Sleep(5500 * time.Millisecond)
		if v, _ := c.Get("key"); v != 1 || took != 5*time.Second {
			t.Errorf("a refresh has brought %d, and took %v", v, took)
		}
	})
}

func TestGatherOptionsErrorsNameFieldAndValue(t *testing.T) {
	for want, o := range map[string]GatherOptions{
		"GatherOptions.Budget: -1s: ":      {Budget: -time.Second},
		"GatherOptions.Reserve: -1s: ":     {Reserve: -time.Second},
		"GatherOptions.PartTimeout: -1s: ": {PartTimeout: -time.Second},
		"GatherOptions.Limit: -1: ":        {Limit: -1},
	} {
		g := NewGather(t.Context(), o)
		called := false
		p := Allow(g, "part", func(context.Context) (int, error) { called = true; return 1, nil })
		if err := g.Wait(); !strings.Contains(fmt.Sprint(err), want) || called || !strings.Contains(fmt.Sprint(p.Err()), want) {
			t.Errorf("%v, called: %v, %v, want %s", err, called, p.Err(), want)
		}
	}
}
